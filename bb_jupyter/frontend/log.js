import { h, lineOf, say } from "./dom.js";

// Height of a line in pixels, as in the style sheet, and most lines to keep.
const HEIGHT = 18;
const MOST = 200_000;

/** A log of any length; only the visible lines are elements.  It follows its end until the user scrolls up. */
export class Log {
  /** @param {string} label */
  constructor(label) {
    /** @type {string[]} */
    this.lines = [];
    this.partial = "";
    this.found = -1;
    this.follows = true;
    this.top = h("div", { class: "bb-log-window" });
    this.sheet = h("div", { class: "bb-log-sheet" }, this.top);
    this.view = h("div", { class: "bb-log", role: "log", "aria-live": "off", "aria-label": label, tabindex: "0",
      onscroll: () => this.scrolled() }, this.sheet);
    this.hits = h("span", { class: "bb-faint", role: "status" });
    this.query = h("input", { type: "search", placeholder: "Search the log", "aria-label": "Search the log",
      oninput: () => this.search(0), onkeydown: event => this.key(/** @type {KeyboardEvent} */ (event)) });
    this.element = h("div", { class: "bb-log-box" }, h("div", { class: "bb-bar" }, this.query, this.hits), this.view);
    this.size = new ResizeObserver(() => this.draw());
    this.size.observe(this.view);
  }

  /**
   * @param {string} text what comes next
   * @param {string | null} partial the last line, which comes again; null when the end of `text` is the last line
   */
  add(text, partial) {
    const parts = ((partial === null ? this.partial : "") + text).split("\n");
    const last = parts.pop() ?? "";
    this.partial = (partial ?? last).slice(-(1 << 16));
    this.lines.push(...parts.map(lineOf));
    if (this.lines.length > MOST) this.lines.splice(0, this.lines.length - MOST);
    this.due();
  }

  clear() {
    this.lines = [];
    this.partial = "";
    this.found = -1;
    this.due();
  }

  /** Draw with the next frame, once for all changes until then. */
  due() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  get count() {
    return this.lines.length + (this.partial ? 1 : 0);
  }

  draw() {
    this.sheet.style.height = `${this.count * HEIGHT}px`;
    if (this.follows) this.view.scrollTop = this.count * HEIGHT;
    const first = Math.max(0, Math.floor(this.view.scrollTop / HEIGHT) - 5);
    const last = Math.min(this.count, first + Math.ceil(this.view.clientHeight / HEIGHT) + 10);
    const drawn = [];
    for (let at = first; at < last; at++) {
      const text = at < this.lines.length ? this.lines[at] : lineOf(this.partial.split("\n", 1)[0]);
      drawn.push(h("div", at === this.found ? { class: "bb-found" } : {}, text.slice(0, 4000) || " "));
    }
    this.top.style.transform = `translateY(${first * HEIGHT}px)`;
    this.top.replaceChildren(...drawn);
  }

  scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.view;
    this.follows = scrollTop + clientHeight >= scrollHeight - HEIGHT;
    this.due();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key === "Enter") this.search(event.shiftKey ? -1 : 1);
    event.stopPropagation();
  }

  /** Go to the next line that contains the query; with 0, stay at a line that contains it.  @param {-1 | 0 | 1} step */
  search(step) {
    const wanted = this.query.value.toLowerCase();
    if (!wanted) {
      this.found = -1;
      say(this.hits, "");
      return this.draw();
    }
    const at = this.lines.flatMap((line, number) => (line.toLowerCase().includes(wanted) ? [number] : []));
    let hit = at.findIndex(number => number >= this.found);
    if (step) hit = (at.indexOf(this.found) + step + at.length) % at.length;
    this.found = at.length ? at[Math.max(0, hit)] : -1;
    say(this.hits, at.length ? `${at.indexOf(this.found) + 1} of ${at.length}` : "not found");
    if (this.found >= 0) {
      this.follows = false;
      this.view.scrollTop = Math.max(0, this.found * HEIGHT - this.view.clientHeight / 2);
    }
    this.draw();
  }

  dispose() {
    this.size.disconnect();
    if (this.frame) cancelAnimationFrame(this.frame);
  }
}
