// One table from key to deed. No single-letter key acts while a text field has focus, or where keys are switched off.

const SETTING = "assent.keys";

export const enabled = () => localStorage.getItem(SETTING) !== "off";
export const setEnabled = (on) => localStorage.setItem(SETTING, on ? "on" : "off");

const writing = (target) => target instanceof Element && target.closest("input, textarea, select, [contenteditable]");

// handle(name, event) returns true when the key meant something. Names: "a", "Shift+a", "Enter", "Escape", "=".
export function listen(handle) {
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.ctrlKey && event.key !== "Enter" || event.metaKey || event.altKey) return;
    const field = writing(event.target);
    if (field) {
      if (event.key === "Escape") field.blur(), event.preventDefault(), event.stopPropagation();
      else if (event.key === "Enter" && event.ctrlKey && handle("Enter", event)) event.preventDefault();
      return;
    }
    if (event.ctrlKey) return;
    const letter = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    // Escape (the neutral screen) always works; Enter and Space on a button press that button.
    if (letter === "Enter" && event.target instanceof Element && event.target.closest("button, a, summary")) return;
    if (!enabled() && letter !== "Escape") return;
    const shifted = event.shiftKey && /^[a-z]$/.test(letter);
    if (handle(shifted ? `Shift+${letter}` : letter, event)) event.preventDefault();
  });
}
