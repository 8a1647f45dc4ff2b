// The rating screen: asks for items ahead, shows one, keeps the answer until the server has it.

import { anyOpen, byId, close, onDeed, toggle } from "./dialogs.js";
import { show as showDiff } from "./diff.js";
import * as drafts from "./drafts.js";
import * as keys from "./keys.js";
import { call, newKey } from "./net.js";
import { Outbox } from "./outbox.js";
import { fill } from "./texts.js";
import { Timing } from "./timing.js";
import { Explanations, goOn } from "./explained.js";
import { Compare, Rank, turn, Write } from "./kinds.js";

const page = document.body.dataset;
const sentences = byId("sentences").dataset;
const AHEAD = 4;
const REASON_KEYS = "qwertyu";
const KINDS = { compare: Compare, rank: Rank, write: Write };
const timing = new Timing();
const queue = [];
const done = []; // {key, item, counted} of what was answered in this tab, newest last: for undo
let judged = Number(page.done), item = null, choice = null, flagged = false, reasons = new Set(), asking = false, askAgain = false, undos = 0, undoing = 0, state = "loading", retry = 0;

const outbox = new Outbox(page.person, send, (n) => {
  byId("kept").textContent = n ? fill(n === 1 ? sentences.keptOne : sentences.keptMany, { n }) : "";
});

async function send({ undo, ...entry }) {
  const { status, body } = undo
    ? await call("POST", "/api/undo", { key: entry.key, held: [], of: undo })
    : await call("POST", "/api/submit", entry);
  if (status === 200) {
    if (body.explained) explanations.add(body.explained, done.find((each) => each.key === entry.key)?.item);
    ask(); // a lease is free again, so that there may be one more item to fetch
    return "sent";
  }
  if (status === 0 || status >= 500 || status === 429) return say(status ? "server" : "offline"), "later";
  if (status === 401) return say("signedOut"), "later";
  say(body.state === "expired" ? "expired" : body.state === "answered" ? "answered" : "refused", body.message);
  ask(); // nor does it hold a lease any more
  return "refused"; // the server will never take it; the sentence above says why
}

const untouched = () => timing.first === null && !anyOpen() && byId("panic").hidden;
const explanations = new Explanations(() => state !== "item" || untouched(), (on) => timing.set("explained", on));

function say(name, detail) {
  byId("said").textContent = detail || sentences[name] || "";
}

const inHand = () => [...queue, ...(item ? [item] : [])].map((each) => each.id);
const holding = () => [...inHand(), ...outbox.entries().flatMap((entry) => entry.assignment ?? [])];

async function ask() {
  if (asking) return void (askAgain = true);
  if (undoing) return; // an undo is under way: the item it brings would come twice; it asks when it is done
  if (queue.length >= AHEAD) return;
  asking = true;
  askAgain = false;
  const undone = undos;
  clearTimeout(retry);
  const held = holding();
  const { status, body } = await call("POST", "/api/next", { held });
  asking = false;
  if (undone !== undos) return ask(); // an undo crossed it: the item it brings may be the one taken back
  if (status === 200 && (body.guideline !== page.guideline || body.wait === "guideline")) {
    if (!item) return view("changed");
    say("guideline");
    byId("changed").hidden = false;
    return;
  }
  if (status === 200 && body.item) {
    if ([sentences.offline, sentences.server].includes(byId("said").textContent)) say("nothing");
    // Nothing new, then; an answer to it that is on its way asks when it has arrived.
    if (held.includes(body.item.id)) return (askAgain || !holding().includes(body.item.id)) && ask();
    queue.push(body.item);
    if (!item) advance();
    return ask();
  }
  if (status === 200 && item) return;
  // "Nothing" may be older than a lease that was freed meanwhile, or that an answer on its way will free.
  if (status === 200 && askAgain) return ask();
  if (status === 200 && body.wait === "nothing" && outbox.entries().length) return;
  if (status === 200) return empty(body.wait, body.detail);
  if (status === 401) return location.assign("/sign-in");
  say(status ? "server" : "offline");
  if (!item) view(status ? "server" : "offline");
  retry = setTimeout(ask, 5000);
}

function advance() {
  item = queue.shift() || null;
  if (item) draw();
  else view(navigator.onLine ? "loading" : "offline");
  explanations.show();
  ask();
}

function view(name) {
  state = name;
  for (const part of document.querySelectorAll("[data-state]")) part.hidden = part.dataset.state !== name;
  byId("controls").hidden = name !== "item";
}

function draw() {
  flagged = false;
  reasons = new Set();
  for (const name of ["note", "ideal"]) byId(name).value = "";
  if (item.kind === "write") byId("ideal").value = drafts.load(page.person, item.id);
  byId("note-field").hidden = true;
  byId("ideal-field").hidden = item.kind !== "write";
  for (const part of document.querySelectorAll("[data-for]")) part.hidden = !part.dataset.for.includes(item.kind);
  blur(item.category);
  byId("ideal-diff").hidden = true;
  byId("turns").replaceChildren(...item.turns.map(turn));
  view("item"); // first: a field that is hidden takes no focus
  choice = new KINDS[item.kind](item, refresh);
  choice.draw(byId("answers"));
  refresh();
  scrollTo(0, 0);
  timing.start();
  timing.set("panic", !byId("panic").hidden);
  timing.set("explained", byId("explained").open);
}

function empty(why, more) {
  for (const part of [byId("why"), byId("why-detail")]) part.textContent = part.dataset[why] ?? part.dataset.nothing;
  byId("quiz-detail").hidden = !more;
  byId("quiz-right").textContent = more || "";
  view("empty");
}

function blur(category) {
  byId("sensitive").hidden = !category;
  byId("category").textContent = category || "";
  byId("content").classList.toggle("blurred", !!category);
  byId("content").inert = !!category;
}

function refresh() {
  choice.show();
  for (const chip of document.querySelectorAll("[data-deed=reason]"))
    chip.setAttribute("aria-pressed", String(reasons.has(chip.dataset.value)));
  byId("flag").setAttribute("aria-pressed", String(flagged));
  byId("submit").disabled = !ready();
}

const ready = () => state === "item" && choice.ready(byId("ideal").value);

function submit() {
  if (!ready()) return;
  const ideal = byId("ideal-field").hidden ? "" : byId("ideal").value;
  finish({ ...choice.verdict(), ideal: ideal && ideal !== choice.draft() ? ideal : null });
}

function skip(reason) {
  close(byId("skip"));
  finish({ outcome: "skip", tiers: [], strength: null, ideal: null }, [`skip:${reason}`]);
}

function count(more) {
  judged = Math.max(0, judged + more);
  byId("done").textContent = fill(sentences.done, { n: judged });
}

function finish(verdict, more = []) {
  const chosen = [...reasons, ...(flagged ? ["flagged"] : []), ...more];
  const entry = {
    key: newKey(),
    assignment: item.id,
    verdict: { ...verdict, reasons: chosen, note: byId("note").value, ...timing.read() },
  };
  const counted = verdict.outcome !== "skip";
  try {
    outbox.add(entry);
  } catch {
    return say("full");
  }
  drafts.clear(page.person, item.id);
  done.push({ key: entry.key, item, counted });
  if (counted) count(1);
  advance();
}

// An answer that the server may have without having said so is taken back by an entry behind it in the outbox.
async function undo() {
  await outbox.flush(); // the server takes back the last act it has: one still on its way must arrive first
  const last = done.at(-1);
  if (!last || !outbox.has(last.key)) return undoThere(last);
  if (!outbox.takeBack(last.key)) outbox.add({ key: newKey(), undo: last.key });
  takenBack();
  again(last.item);
}

async function undoThere(last) {
  undos += 1; // before and after: whichever of the two the server saw first
  undoing += 1;
  const { status, body } = await call("POST", "/api/undo", { key: newKey(), held: inHand(), of: last?.key ?? null });
  undos += 1;
  undoing -= 1;
  if (status === 200) {
    takenBack();
    body.item ? again(body.item) : say("undone");
  } else say(status ? "refused" : "offline", body.message);
  ask();
}

function takenBack() {
  if (done.pop()?.counted ?? true) count(-1);
}

function again(before) {
  if (item) queue.unshift(item);
  item = before;
  draw();
  say("undone");
}

function note() {
  byId("note-field").hidden = false;
  byId("note").focus();
}

function ideal() {
  if (item.kind === "write") return byId("ideal").focus();
  byId("ideal-field").hidden = false;
  if (!byId("ideal").value) byId("ideal").value = choice.draft();
  byId("ideal").focus();
}

byId("ideal").addEventListener("input", () => {
  if (item.kind === "write") drafts.save(page.person, item.id, byId("ideal").value);
  timing.touch();
  refresh();
  const before = choice.draft();
  byId("ideal-diff").hidden = item.kind === "write" || byId("ideal").value === before;
  if (!byId("ideal-diff").hidden) showDiff(byId("ideal-diff"), before, byId("ideal").value);
});

let title = document.title;
function panic() {
  const on = byId("panic").hidden;
  byId("panic").hidden = !on;
  byId("page").hidden = on;
  timing.set("panic", on);
  document.title = on ? byId("panic").dataset.title : title;
}

const has = (set, value) => (set.has(value) ? set.delete(value) : set.add(value));
const DEEDS = {
  submit, undo, note, ideal, panic,
  strength: (value) => choice.press(value),
  bad: () => choice.press("0"),
  place: (value) => choice.press(value),
  tie: () => choice.press("="),
  back: () => choice.press("Backspace"),
  skip: () => state === "item" && toggle("skip"),
  because: skip,
  reveal: () => blur(null),
  flag: () => { flagged = !flagged; refresh(); },
  reason: (value) => { has(reasons, value); refresh(); },
  guideline: () => toggle("guideline"),
  keys: () => toggle("keys"),
  "keys-off": () => { keys.setEnabled(!keys.enabled()); markKeys(); },
  reload: () => location.reload(),
};
const NAMED = { Enter: "submit", z: "undo", s: "skip", f: "flag", n: "note", i: "ideal", g: "guideline", b: "reveal", "?": "keys", "/": "keys" };

const EVERYWHERE = ["panic", "guideline", "keys", "keys-off", "reload", "undo"];

function act(deed, value) {
  if (!EVERYWHERE.includes(deed)) timing.touch();
  if (state === "item" || EVERYWHERE.includes(deed)) DEEDS[deed](value);
}

function markKeys() {
  byId("keys-off").setAttribute("aria-pressed", String(!keys.enabled()));
}

keys.listen((name) => {
  if (!byId("panic").hidden) return name === "Escape" && (panic(), true);
  const open = anyOpen();
  if (open) return inDialog(open, name);
  if (name === "Escape") return panic(), true;
  if (state === "item" && choice.takes(name)) return act("place", name), true;
  const plain = name.replace("Shift+", "");
  const reason = byId("reasons").children[REASON_KEYS.indexOf(plain)];
  if (state === "item" && plain.length === 1 && REASON_KEYS.includes(plain) && reason) return act("reason", reason.dataset.value), true;
  if (NAMED[plain]) return act(NAMED[plain]), true;
  return false;
});

function inDialog(dialog, name) {
  if (name === "Escape") return close(dialog), true;
  if (dialog.id === "explained" && name === "Enter") return goOn(), true;
  if (dialog.id === "skip" && /^[1-9]$/.test(name)) {
    dialog.querySelectorAll("[data-deed=because]")[Number(name) - 1]?.click();
    return true;
  }
  if ((dialog.id === "guideline" && name === "g") || (dialog.id === "keys" && (name === "?" || name === "/"))) return close(dialog), true;
  return false;
}

onDeed(act);
document.addEventListener("assent:break", (event) => timing.set("break", event.detail));
markKeys();
view("loading");
outbox.changed(outbox.entries().length);
outbox.flush();
addEventListener("online", ask);
ask();
