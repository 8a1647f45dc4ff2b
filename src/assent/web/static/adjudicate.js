// Settling one item: the verdict of the rating screen, over a page that shows who said what.

import { byId, onDeed } from "./dialogs.js";
import * as keys from "./keys.js";
import { Compare, Rank } from "./kinds.js";
import { call, newKey } from "./net.js";
import { Timing } from "./timing.js";

const page = document.body.dataset;
const REASON_KEYS = "qwertyu";
const timing = new Timing();
const reasons = new Set();
// One word, one key: sent again after a lost connection it is the same word. Another verdict gets another key.
let key = newKey(), sending = false;

for (const part of document.querySelectorAll("[data-for]")) part.hidden = !part.dataset.for.includes(page.kind);
const answers = [...document.querySelectorAll("#answers .prose")].map((text) => ({ html: text.innerHTML, text: text.textContent }));
const choice = new { compare: Compare, rank: Rank }[page.kind]({ answers }, refresh);
choice.draw(byId("answers"));

function refresh() {
  choice.show();
  for (const chip of document.querySelectorAll("[data-deed=reason]"))
    chip.setAttribute("aria-pressed", String(reasons.has(chip.dataset.value)));
  byId("submit").disabled = sending || !choice.ready();
}

async function submit() {
  if (sending || !choice.ready()) return;
  sending = true;
  refresh();
  const verdict = { ...choice.verdict(), reasons: [...reasons], note: byId("note").value, ...timing.read() };
  const { status, body } = await call("POST", "/api/adjudicate", { key, group: page.group, verdict });
  if (status === 200) return location.assign(body.next ? `/lead/adjudicate/case?group=${encodeURIComponent(body.next)}` : "/lead/adjudicate");
  if (status === 401) return location.assign("/sign-in");
  sending = false;
  const said = byId("said");
  said.textContent = status ? body.message || said.dataset.refused : said.dataset.offline;
  refresh();
}

const has = (set, value) => (set.has(value) ? set.delete(value) : set.add(value));
const DEEDS = {
  submit,
  strength: (value) => choice.press(value),
  bad: () => choice.press("0"),
  place: (value) => choice.press(value),
  tie: () => choice.press("="),
  back: () => choice.press("Backspace"),
  reason: (value) => { has(reasons, value); refresh(); },
  note: () => byId("note").focus(),
};
const NAMED = { Enter: "submit", n: "note" };

function act(deed, value) {
  timing.touch();
  if (deed !== "submit" && !sending) key = newKey();
  DEEDS[deed]?.(value);
}

byId("note").addEventListener("input", () => { key = newKey(); });

keys.listen((name) => {
  if (choice.takes(name)) return act("place", name), true;
  const plain = name.replace("Shift+", "");
  const reason = byId("reasons").children[REASON_KEYS.indexOf(plain)];
  if (plain.length === 1 && REASON_KEYS.includes(plain) && reason) return act("reason", reason.dataset.value), true;
  if (NAMED[plain]) return act(NAMED[plain]), true;
  return false;
});

onDeed(act);
timing.start();
refresh();
