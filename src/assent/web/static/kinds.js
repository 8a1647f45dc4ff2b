// The three kinds of work. Answers are named by where they stand on the screen; only the server knows which is whose.

import { fill } from "./texts.js";

const LETTERS = "ABCDEFGHI";
const texts = document.getElementById("answer-texts").dataset;

export function card(answer, i, deed) {
  const box = document.createElement("section");
  box.className = "answer";
  const named = fill(texts.answer, { letter: LETTERS[i] });
  box.setAttribute("aria-label", named);
  const head = document.createElement("h2");
  const name = document.createElement(deed ? "button" : "span");
  name.textContent = deed ? fill(texts.put, { letter: LETTERS[i] }) : named;
  if (deed) (name.type = "button"), (name.dataset.deed = "place"), (name.dataset.value = LETTERS[i].toLowerCase());
  const place = document.createElement("span");
  place.className = "place";
  head.append(name, place);
  const text = document.createElement("div");
  text.className = "prose";
  text.innerHTML = answer.html; // cleaned by the server, see turn()
  box.append(head, text);
  return box;
}

// The HTML was made and cleaned by the server (markdown.py); the page's policy runs no script in it.
export function turn({ who, role, html }) {
  const box = document.createElement("div");
  box.className = `turn ${role}`;
  const name = document.createElement("div");
  name.className = "who";
  name.textContent = who;
  const text = document.createElement("div");
  text.className = "prose";
  text.innerHTML = html;
  box.append(name, text);
  return box;
}

export class Compare {
  constructor(item, changed) {
    Object.assign(this, { item, changed, value: null });
  }

  draw(target) {
    target.className = "answers";
    target.replaceChildren(...(this.cards = this.item.answers.map((answer, i) => card(answer, i))));
  }

  takes(name) {
    return /^[0-7]$/.test(name);
  }

  press(name) {
    this.value = Number(name);
    this.changed();
  }

  show() {
    for (const button of document.querySelectorAll("#strength [data-value]"))
      button.setAttribute("aria-pressed", String(Number(button.dataset.value) === this.value));
    this.cards[0].classList.toggle("better", this.value > 0 && this.value < 4);
    this.cards[1].classList.toggle("better", this.value > 4);
  }

  ready() {
    return this.value !== null;
  }

  draft() {
    return this.item.answers[this.value > 4 ? 1 : 0].text;
  }

  verdict() {
    if (this.value === 0) return { outcome: "both_bad", tiers: [], strength: null };
    const tiers = this.value === 4 ? [[0, 1]] : this.value < 4 ? [[0], [1]] : [[1], [0]];
    return { outcome: "ranked", tiers, strength: Math.abs(this.value - 4) };
  }
}

export class Rank {
  constructor(item, changed) {
    Object.assign(this, { item, changed, order: [], tie: false }); // order: [[place in the row of cards, tied with the one before]]
  }

  draw(target) {
    target.className = "answers rank";
    this.cards = this.item.answers.map((answer, i) => card(answer, i, true));
    this.cards.forEach((box, i) => this.draggable(box, i));
    target.replaceChildren(...this.cards);
  }

  draggable(box, i) {
    box.draggable = true;
    box.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/plain", LETTERS[i].toLowerCase()));
    const row = document.getElementById("order");
    row.ondragover = (event) => event.preventDefault();
    row.ondrop = (event) => {
      event.preventDefault();
      this.press(event.dataTransfer.getData("text/plain"));
    };
  }

  takes(name) {
    const at = LETTERS.toLowerCase().indexOf(name);
    return name === "=" || name === "Backspace" || name === "0" || (name.length === 1 && at >= 0 && at < this.item.answers.length);
  }

  press(name) {
    if (name === "0") this.bad = !this.bad;
    else if (name === "=") this.tie = this.order.length > 0 && !this.tie;
    else if (name === "Backspace") this.tie ? (this.tie = false) : this.order.pop();
    else this.put(LETTERS.toLowerCase().indexOf(name));
    this.changed();
  }

  put(i) {
    if (i < 0 || i >= this.cards.length || this.order.some(([placed]) => placed === i)) return;
    this.order.push([i, this.tie]);
    this.tie = false;
  }

  tiers() {
    const tiers = [];
    for (const [i, tied] of this.order) tied ? tiers.at(-1).push(i) : tiers.push([i]);
    return tiers;
  }

  show() {
    const tiers = this.tiers();
    this.cards.forEach((box, i) => {
      const place = tiers.findIndex((tier) => tier.includes(i));
      box.classList.toggle("placed", place >= 0);
      box.querySelector(".place").textContent = place >= 0 ? fill(texts.place, { n: place + 1 }) : "";
    });
    document.getElementById("all-bad").setAttribute("aria-pressed", String(!!this.bad));
    const parts = this.order.flatMap(([i, tied], n) => [...(n ? [span("sep", tied ? "=" : ">")] : []), span("slot", LETTERS[i])]);
    if (this.tie) parts.push(span("sep", "= …"));
    if (!parts.length) parts.push(span("sep", fill(texts.begin, { last: LETTERS[this.cards.length - 1] })));
    document.getElementById("order").replaceChildren(...parts);
  }

  ready() {
    return this.bad || this.order.length === this.cards.length;
  }

  draft() {
    return this.item.answers[this.order[0]?.[0] ?? 0].text;
  }

  verdict() {
    if (this.bad) return { outcome: "both_bad", tiers: [], strength: null };
    return { outcome: "ranked", tiers: this.tiers(), strength: null };
  }
}

function span(name, text) {
  const made = document.createElement("span");
  made.className = name;
  made.textContent = text;
  return made;
}

export class Write {
  constructor(item, changed) {
    Object.assign(this, { item, changed });
  }

  draw(target) {
    target.replaceChildren();
    document.getElementById("ideal").focus();
  }

  takes() {
    return false;
  }

  show() {}

  ready(text) {
    return text.trim() !== "";
  }

  draft() {
    return "";
  }

  verdict() {
    return { outcome: "ranked", tiers: [], strength: null };
  }
}
