// How long an item was really in view: hidden tabs and the neutral screen do not count.

export class Timing {
  constructor() {
    this.start();
    document.addEventListener("visibilitychange", () => this.set("hidden", document.hidden));
  }

  start() {
    this.shown = Date.now() / 1000;
    this.first = null;
    this.total = 0;
    this.reasons = new Set(document.hidden ? ["hidden"] : []);
    this.since = performance.now();
  }

  set(reason, stopped) {
    const before = this.reasons.size;
    stopped ? this.reasons.add(reason) : this.reasons.delete(reason);
    if (!before && this.reasons.size) this.total += performance.now() - this.since;
    if (before && !this.reasons.size) this.since = performance.now();
  }

  touch() {
    this.first ??= Date.now() / 1000;
  }

  read() {
    const running = this.reasons.size ? 0 : performance.now() - this.since;
    const now = Date.now() / 1000;
    return {
      times: { shown: this.shown, first_input: this.first ?? now, submitted: now },
      visible_ms: Math.round(this.total + running),
    };
  }
}
