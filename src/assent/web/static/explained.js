// What was known of a check item, shown once the server has the answer: at once where the rater has not begun the next
// item, else before the one after it. A dialog, so that no text moves and no key of the item below acts.

import { byId, close } from "./dialogs.js";
import { card, turn } from "./kinds.js";

const dialog = byId("explained");

export class Explanations {
  constructor(calm, paused) {
    Object.assign(this, { calm, waiting: [] });
    dialog.addEventListener("close", () => {
      paused(false);
      this.show();
    });
    // An Enter that is held down from the answer before closes nothing unseen.
    dialog.addEventListener("keydown", (event) => event.repeat && event.preventDefault());
    this.paused = paused;
  }

  // told: what the server said; item: what was shown, where this tab still has it.
  add(told, item) {
    this.waiting.push({ told, item });
    if (this.calm()) this.show();
  }

  show() {
    if (dialog.open || !this.waiting.length) return;
    const { told, item } = this.waiting.shift();
    draw(told, item);
    this.paused(true);
    dialog.showModal();
  }
}

function draw(told, item) {
  byId("explained-title").textContent = told.right ? dialog.dataset.right : dialog.dataset.wrong;
  dialog.querySelector("[data-quiz]").hidden = !told.quiz;
  dialog.querySelector("[data-check]").hidden = told.quiz;
  byId("explained-order").textContent = told.order;
  byId("explained-why").innerHTML = told.html; // cleaned by the server, see kinds.js
  byId("explained-contest").hidden = told.right;
  const again = byId("explained-item");
  again.hidden = !item;
  if (!item) return;
  again.open = !told.right;
  byId("explained-turns").replaceChildren(...item.turns.map(turn));
  const cards = item.answers.map((answer, i) => card(answer, i));
  for (const place of told.known[0]) if (told.known.length > 1) cards[place].classList.add("better");
  byId("explained-answers").replaceChildren(...cards);
}

export const goOn = () => close(dialog);
