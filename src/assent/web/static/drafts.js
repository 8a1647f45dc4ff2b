// Texts that were begun stay on this device until they are sent or thrown away. One entry: {text, at}, at in ms.

const KEPT_MS = 30 * 24 * 3600 * 1000;
const name = (owner, id) => `assent.draft.${owner}.${id}`;

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

// An empty text is no draft. A full or forbidden storage loses the draft, never the work.
export function save(owner, id, text) {
  if (!text.trim()) return clear(owner, id);
  try {
    localStorage.setItem(name(owner, id), JSON.stringify({ text, at: Date.now() }));
  } catch {}
}

export function load(owner, id) {
  return read(name(owner, id))?.text ?? "";
}

export function clear(owner, id) {
  localStorage.removeItem(name(owner, id));
}

// [{id, text, at}] of this person, the latest first; those of long ago are thrown away.
export function all(owner) {
  const start = name(owner, "");
  const found = [];
  for (const key of Object.keys(localStorage).filter((each) => each.startsWith(start))) {
    const draft = read(key);
    if (!draft || Date.now() - draft.at > KEPT_MS) localStorage.removeItem(key);
    else found.push({ id: key.slice(start.length), ...draft });
  }
  return found.sort((a, b) => b.at - a.at);
}
