// My work: drafts on this device.

import { all, clear } from "./drafts.js";

const section = document.getElementById("drafts");
const list = section.querySelector("ul");
const pattern = section.querySelector("template").content.firstElementChild;

function line({ id, text, at }) {
  const made = pattern.cloneNode(true);
  const when = made.querySelector("time");
  when.dateTime = new Date(at).toISOString();
  when.textContent = when.dateTime.slice(0, 16).replace("T", " ");
  made.querySelector(".excerpt").textContent = text.length > 200 ? `${text.slice(0, 200)} …` : text;
  made.querySelector("button").addEventListener("click", () => {
    clear(section.dataset.person, id);
    draw();
  });
  return made;
}

function draw() {
  const drafts = all(section.dataset.person);
  list.replaceChildren(...drafts.map(line));
  section.querySelector(".none").hidden = drafts.length > 0;
}

draw();
