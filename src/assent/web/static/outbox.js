// Answers stay on this device until the server has them, in the order they were given. The key of an entry makes sending
// idempotent: a retry of what has arrived changes nothing. Each entry has a place of its own in the storage, so that two
// tabs never write over each other.

export class Outbox {
  // send(entry) gives "sent", "later" or "refused".
  constructor(owner, send, changed) {
    this.prefix = `assent.outbox/${owner}/`;
    this.send = send;
    this.changed = changed;
    this.running = null;
    this.tried = new Set(); // keys of what the server may have, though no reply came
    this.wait = 1000;
    this.timer = 0;
    addEventListener("online", () => this.flush());
    addEventListener("storage", (event) => event.key?.startsWith(this.prefix) && this.changed(this.entries().length));
  }

  entries() {
    const found = [];
    for (const name of Object.keys(localStorage).filter((each) => each.startsWith(this.prefix))) {
      try {
        found.push(JSON.parse(localStorage.getItem(name)));
      } catch {} // not ours
    }
    return found.sort((a, b) => a.at - b.at);
  }

  // Throws where the device keeps nothing more: then nothing was given either.
  add(entry) {
    const last = this.entries().at(-1)?.at ?? 0;
    localStorage.setItem(this.prefix + entry.key, JSON.stringify({ ...entry, at: Math.max(Date.now(), last + 1) }));
    this.changed(this.entries().length);
    return this.flush();
  }

  remove(key) {
    localStorage.removeItem(this.prefix + key);
    this.changed(this.entries().length);
  }

  has(key) {
    return localStorage.getItem(this.prefix + key) !== null;
  }

  // Takes back what the server cannot have; false where it may.
  takeBack(key) {
    if (this.tried.has(key) || !this.has(key)) return false;
    this.remove(key);
    return true;
  }

  // Sends in order, stops at the first failure of the line or of the server, and tries again later.
  // Asked while it sends, it gives the same promise: who waits for it knows that nothing is under way any more.
  flush() {
    return (this.running ??= this.drain().finally(() => {
      this.running = null;
      this.changed(this.entries().length);
    }));
  }

  async drain() {
    clearTimeout(this.timer);
    for (let entry = this.entries()[0]; entry; entry = this.entries()[0]) {
      const { at, ...given } = entry;
      this.tried.add(entry.key);
      if ((await this.send(given)) === "later") {
        this.timer = setTimeout(() => this.flush(), this.wait);
        this.wait = Math.min(this.wait * 2, 30000);
        return;
      }
      this.remove(entry.key);
      this.wait = 1000;
    }
  }
}
