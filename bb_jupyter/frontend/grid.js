import { h, say } from "./dom.js";

/**
 * @typedef {{label: string, cells: string[][]}} Line
 * @typedef {{get: (name: string) => any, on: (event: string, hear: (message: any) => void) => void,
 *   off: (event: string, hear: (message: any) => void) => void}} Model
 */

/** @type {Record<string, string>} a state by the letter that stands for it */
const STATES = { w: "waiting", r: "running", p: "passed", f: "failed", s: "stopped" };
/** @type {Map<string, Map<string, string[]>>} experiment → run → its latest lines, also those from before the grid was drawn */
const latest = new Map();

/** The runs of an experiment, a square each; a click on a square shows the steps of its run. */
class Grid {
  /** @param {Model} model */
  constructor(model) {
    this.model = model;
    this.selected = "";
    /** @type {Map<string, HTMLButtonElement>} */
    this.squares = new Map();
    this.note = h("div", { class: "bb-grid-note", role: "status" });
    this.title = h("b");
    this.text = h("pre", { class: "bb-grid-text", tabindex: "0" });
    this.pane = h("section", { hidden: true, "aria-label": "Transcript" }, this.title, this.text);
    this.element = h("div", { class: "bb-grid" }, this.note, this.table(), this.pane);
    this.ids = /** @type {string[]} */ (model.get("ids"));
    this.update();
  }

  table() {
    const columns = /** @type {string[]} */ (this.model.get("columns"));
    const lines = /** @type {Line[]} */ (this.model.get("lines"));
    const head = h("tr", {}, h("th"), ...columns.map(label => h("th", { scope: "col" }, label)));
    const rows = lines.map(({ label, cells }) => h("tr", {}, h("th", { scope: "row" }, label),
      ...cells.map(ids => h("td", {}, ...ids.map(id => this.square(id))))));
    return h("table", {}, head, ...rows);
  }

  /** @param {string} id */
  square(id) {
    const square = h("button", { type: "button", onclick: () => this.select(id) });
    this.squares.set(id, square);
    return square;
  }

  update() {
    say(this.note, this.model.get("note"));
    [...this.model.get("states")].forEach((letter, at) => {
      const id = this.ids[at];
      const square = this.squares.get(id);
      if (!square || square.dataset.state === letter) return;
      square.dataset.state = letter;
      square.title = `run ${id}: ${STATES[letter]}`;
      square.setAttribute("aria-label", square.title);
      if (id === this.selected) this.show();
    });
  }

  /** @param {string} id */
  select(id) {
    this.squares.get(this.selected)?.removeAttribute("aria-pressed");
    this.selected = this.selected === id ? "" : id;
    this.squares.get(this.selected)?.setAttribute("aria-pressed", "true");
    this.show();
  }

  show() {
    this.pane.hidden = !this.selected;
    if (!this.selected) return;
    say(this.title, this.squares.get(this.selected)?.title ?? "");
    say(this.text, (latest.get(this.model.get("key"))?.get(this.selected) ?? ["nothing yet"]).join("\n"));
    this.text.scrollTop = this.text.scrollHeight;
  }
}

export default {
  /** @param {{model: Model}} given */
  initialize({ model }) {
    /** @type {Map<string, string[]>} */
    const all = new Map();
    latest.set(model.get("key"), all);
    const hear = () => Object.entries(model.get("news")).forEach(([id, lines]) => all.set(id, lines));
    model.on("change:news", hear);
    hear();
  },
  /** @param {{model: Model, el: HTMLElement}} given */
  render({ model, el }) {
    const grid = new Grid(model);
    const update = () => grid.update();
    const hear = () => grid.show();
    model.on("change:states", update);
    model.on("change:note", update);
    model.on("change:news", hear);
    el.append(grid.element);
    return () => {
      model.off("change:states", update);
      model.off("change:note", update);
      model.off("change:news", hear);
    };
  },
};
