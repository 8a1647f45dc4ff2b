// Small helpers for the <dialog> elements of the page.

export const byId = (id) => document.getElementById(id);
export const anyOpen = () => document.querySelector("dialog[open]");

for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest("[data-close]")) close(dialog);
  });
}

// The browser gives the focus back where there was one; else it would stay on a button that nobody sees.
export function close(dialog) {
  dialog.close();
  if (dialog.contains(document.activeElement)) document.activeElement.blur();
}

export function toggle(id) {
  const dialog = byId(id);
  dialog.open ? close(dialog) : dialog.showModal();
}

// Every element with data-deed acts through one function, by mouse as by key.
export function onDeed(act) {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-deed]");
    if (button && !button.disabled) act(button.dataset.deed, button.dataset.value);
  });
}
