import { Board } from "./board.js";
import { rest, server, unwrap } from "./client.js";

/** @typedef {import("./client.js").Changed} Changed */
/**
 * @typedef {{get: (name: string) => any, send: (message: object) => void,
 *   on: (event: string, hear: (message: any) => void) => void, off: (event: string, hear: (message: any) => void) => void}}
 *   Model
 */

// Milliseconds without an answer after which the kernel counts as busy.
const LATE = 1500;

/** Calls the page's server if that sees the same bottles as the kernel, and else the kernel, which may be busy. */
class WidgetClient {
  /** @param {Model} model */
  constructor(model) {
    this.model = model;
    this.number = 0;
    /** @type {Map<number, (answer: import("./client.js").Answer) => void>} */
    this.waiting = new Map();
    /** @type {Set<(changed: Changed) => void>} */
    this.hearers = new Set();
    /** @type {Map<string, any>} state that the kernel sent without a call */
    this.pushed = new Map();
    this.at = this.findServer();
    this.hear = this.heard.bind(this);
    model.on("msg:custom", this.hear);
    void this.at.then(at => model.send({ follow: true, push: at === null }));
  }

  async findServer() {
    const at = server();
    try {
      return at && (await rest(at, "GET", "where")).place === this.model.get("place") ? at : null;
    } catch {
      return null;
    }
  }

  /** @param {string} method @param {string} path @param {object} [body] @param {() => void} [waits] */
  async ask(method, path, body, waits) {
    const at = await this.at;
    if (at) return rest(at, method, path, body);
    if (method === "GET" && this.pushed.has(path)) return this.take(path);
    const number = this.number++;
    const answer = new Promise(resolve => this.waiting.set(number, resolve));
    this.model.send({ number, method, path, body: body ?? {} });
    setTimeout(() => this.waiting.has(number) && waits?.(), LATE);
    return unwrap(/** @type {import("./client.js").Answer} */ (await answer));
  }

  /** @param {string} path */
  take(path) {
    const value = this.pushed.get(path);
    this.pushed.delete(path);
    return value;
  }

  /** @param {{changed?: Changed, pushed?: Record<string, any>, number?: number, status?: number, body?: any}} message */
  heard({ changed, pushed = {}, number, status = 0, body }) {
    if (number !== undefined) {
      this.waiting.get(number)?.({ status, body });
      this.waiting.delete(number);
    }
    for (const [path, value] of Object.entries(pushed)) this.pushed.set(path, value);
    if (changed) for (const hear of this.hearers) hear(changed);
  }

  /** @param {(changed: Changed) => void} hear */
  onChange(hear) {
    this.hearers.add(hear);
    return () => void this.hearers.delete(hear);
  }

  dispose() {
    this.model.off("msg:custom", this.hear);
  }
}

export default {
  /** @param {{model: Model, el: HTMLElement}} view */
  render({ model, el }) {
    const client = new WidgetClient(model);
    const board = new Board(client);
    el.classList.add("bb-ui");
    el.append(board.element);
    return () => {
      board.dispose();
      client.dispose();
    };
  },
};
