// A calm word after so many minutes of work in view. The number is a person's own and stays on this device; 0: never.

const TICK_MS = 10_000;
const REST_MS = 5 * 60_000; // so long out of view is a break already
const WORKED = "assent.worked";
const name = (owner) => `assent.breaks.${owner}`;

export const minutes = (owner) => Number(localStorage.getItem(name(owner))) || 0;

export function setMinutes(owner, value) {
  const n = Math.min(480, Math.max(0, Math.round(Number(value) || 0)));
  n ? localStorage.setItem(name(owner), String(n)) : localStorage.removeItem(name(owner));
  return n;
}

// Counts in sessionStorage, so that a reload goes on counting. Says "assent:break" when the dialog opens and closes.
export function watch(dialog) {
  const limit = minutes(dialog.dataset.person) * 60_000;
  if (!limit) return;
  let before = Date.now();
  let hidden = 0;
  const tell = () => document.dispatchEvent(new CustomEvent("assent:break", { detail: dialog.open }));
  const rested = () => sessionStorage.setItem(WORKED, "0");
  dialog.addEventListener("close", () => (rested(), tell()));
  setInterval(() => {
    const passed = Date.now() - before;
    before = Date.now();
    const away = document.hidden || document.getElementById("page").hidden || dialog.open;
    hidden = away ? hidden + passed : passed > REST_MS ? passed : 0; // a device that slept ticks late
    if (hidden >= REST_MS) rested();
    if (away || hidden) return;
    const worked = Number(sessionStorage.getItem(WORKED) || 0) + passed;
    sessionStorage.setItem(WORKED, String(worked));
    if (worked >= limit && !document.querySelector("dialog[open]")) dialog.showModal(), rested(), tell();
  }, TICK_MS);
}

const dialog = document.getElementById("break");
if (dialog) watch(dialog);

const field = document.getElementById("break-minutes");
if (field) {
  const owner = field.dataset.person;
  const show = (n) => (field.value = n || "");
  show(minutes(owner));
  field.addEventListener("change", () => {
    show(setMinutes(owner, field.value));
    const kept = document.getElementById("break-kept");
    kept.textContent = kept.dataset.text;
  });
}
