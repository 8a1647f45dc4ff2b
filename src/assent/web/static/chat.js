// The chat: the server has the conversation; this shows it, sends messages, and keeps a vote until the server has it.

import { anyOpen, byId, close, onDeed, toggle } from "./dialogs.js";
import * as keys from "./keys.js";
import { Compare } from "./kinds.js";
import { call, newKey } from "./net.js";
import { Outbox } from "./outbox.js";
import { Timing } from "./timing.js";

const sentences = byId("sentences").dataset;
const timing = new Timing();
let chat = null, choice = null, sending = null, asking = false, starting = null;

const outbox = new Outbox(`${document.body.dataset.person}.chat`, send, (n) => {
  byId("kept").textContent = n ? sentences.kept : "";
});

async function send(entry) {
  const { status, body } = await call("POST", "/api/chat/vote", entry);
  if (status === 200) return take(body), "sent";
  if (status === 0 || status >= 500 || status === 429) return say("offline"), "later";
  if (status === 401) return say("signedOut"), "later";
  await load();
  say(body.state === "answered" ? "answered" : "over");
  return "refused";
}

function say(name, message) {
  byId("said").textContent = message || sentences[name] || "";
}

async function load() {
  const { status, body } = await call("GET", "/api/chat");
  if (status === 401) return location.assign("/sign-in");
  if (status !== 200) return view("server");
  take(body);
  if (chat?.waiting && !asking) {
    sending = chat.waiting; // a reload, or a lost connection, in the middle of a message
    await post();
  }
}

function take(body) {
  chat = body.chat;
  draw();
}

function view(name) {
  for (const part of document.querySelectorAll("[data-state]")) part.hidden = part.dataset.state !== name;
}

function draw() {
  byId("controls").hidden = !chat?.answers.length;
  byId("stop").hidden = !chat;
  view(chat ? "talk" : "start");
  choice = null;
  if (!chat) return;
  byId("red").hidden = chat.mode !== "red_team";
  byId("turns").replaceChildren(...chat.turns.map(turn));
  byId("answers").replaceChildren();
  byId("problem").hidden = true;
  byId("asking").hidden = !asking;
  byId("talk").hidden = asking || chat.answers.length > 0 || chat.full;
  byId("full").hidden = !chat.full || chat.answers.length > 0;
  say(chat.answers.length || chat.waiting ? "" : chat.outcome);
  if (chat.answers.length) {
    choice = new Compare({ answers: chat.answers }, refresh);
    choice.draw(byId("answers"));
    refresh();
    timing.start();
    document.activeElement?.blur?.(); // the number keys are for the vote now
  } else if (!byId("talk").hidden) {
    byId("text").focus();
  }
  byId("turns").lastElementChild?.scrollIntoView({ block: "nearest" });
}

// The HTML was made and cleaned by the server (markdown.py); the page's policy runs no script in it.
function turn({ who, role, html, text: plain }) {
  const box = document.createElement("div");
  box.className = `turn ${role}`;
  const name = document.createElement("div");
  name.className = "who";
  name.textContent = who;
  const text = document.createElement("div");
  text.className = "prose";
  if (html === undefined) text.textContent = plain;
  else text.innerHTML = html;
  box.append(name, text);
  return box;
}

function refresh() {
  choice.show();
  byId("submit").disabled = !choice.ready();
}

async function begin() {
  const mode = new FormData(byId("start")).get("mode");
  if (starting?.mode !== mode) starting = { key: newKey(), mode };
  const { status, body } = await call("POST", "/api/chat/start", starting);
  byId("changed").hidden = body.state !== "guideline";
  if (status !== 200) return say("offline", body.message);
  starting = null;
  take(body);
}

function write() {
  const text = byId("text").value;
  if (asking || !chat || !text.trim()) return;
  // The same message again, after a lost connection, has the same key: it is said once.
  if (sending?.text !== text) sending = { key: newKey(), text };
  post();
}

async function post() {
  const { id } = chat;
  asking = true;
  byId("talk").hidden = true;
  byId("asking").hidden = false;
  byId("problem").hidden = true;
  byId("changed").hidden = true;
  if (!chat.waiting) byId("turns").append(turn({ who: sentences.user, role: "user", text: sending.text }));
  say("");
  const { status, body } = await call("POST", "/api/chat/say", { chat: id, ...sending });
  asking = false;
  if (chat?.id !== id) return; // stopped meanwhile
  if (status === 200) {
    sending = null;
    byId("text").value = "";
    return take(body);
  }
  if (status === 401) return location.assign("/sign-in");
  if (status === 404) return load();
  byId("text").value = sending.text;
  chat = { ...chat, turns: chat.waiting ? chat.turns.slice(0, -1) : chat.turns, waiting: null };
  draw();
  byId("changed").hidden = body.state !== "guideline";
  byId("problem").textContent = body.message || sentences.offline;
  byId("problem").hidden = false;
}

function vote() {
  if (!choice?.ready()) return;
  const { outcome, tiers, strength } = choice.verdict();
  const verdict = { outcome, tiers, strength, ...timing.read() };
  byId("controls").hidden = true;
  choice = null;
  outbox.add({ key: newKey(), chat: chat.id, turn: chat.turn, verdict });
}

async function stop() {
  await outbox.flush(); // a vote on its way counts
  if (!chat) return;
  const { status, body } = await call("POST", "/api/chat/stop", { chat: chat.id });
  if (status !== 200 && status !== 404) return say("offline", body.message);
  asking = false;
  sending = null;
  byId("text").value = "";
  take({ chat: null });
  say("over");
}

const title = document.title;
function panic() {
  const on = byId("panic").hidden;
  byId("panic").hidden = !on;
  byId("page").hidden = on;
  timing.set("panic", on);
  document.title = on ? byId("panic").dataset.title : title;
}

const DEEDS = {
  vote, stop, panic,
  strength: (value) => choice && (timing.touch(), choice.press(value)),
  guideline: () => toggle("guideline"),
  reload: () => location.reload(),
};

keys.listen((name, event) => {
  if (!byId("panic").hidden) return name === "Escape" && (panic(), true);
  const open = anyOpen();
  if (open) return (name === "Escape" || name === "g") && (close(open), true);
  if (name === "Escape") return panic(), true;
  if (event.target === byId("text")) return name === "Enter" && (write(), true);
  if (choice?.takes(name)) return DEEDS.strength(name), true;
  if (name === "Enter" && choice) return vote(), true;
  if (name === "g") return toggle("guideline"), true;
  return false;
});

byId("start").addEventListener("submit", (event) => (event.preventDefault(), begin()));
byId("talk").addEventListener("submit", (event) => (event.preventDefault(), write()));
onDeed((deed, value) => DEEDS[deed]?.(value));
outbox.changed(outbox.entries().length);
outbox.flush().then(load);
