import { BUSY } from "./client.js";
import { duration, h, lineOf, newId, say, size } from "./dom.js";
import { Log } from "./log.js";

/** @typedef {import("./client.js").Bottle} Bottle */
/** @typedef {import("./client.js").Client} Client */

// Milliseconds in which a second click confirms the first one.
const SURE = 4000;
// Bytes of earlier output that one click loads.
const EARLIER = 900_000;

/** One bottle in the list; unfolded, it shows the output, the requests, and buttons. */
export class Row {
  /** @param {Bottle} bottle @param {Client} client @param {((bottle: Bottle) => void) | null} open */
  constructor(bottle, client, open) {
    this.bottle = bottle;
    this.client = client;
    this.open = open;
    this.over = false;
    const body = newId();
    this.name = h("b");
    this.facts = h("span", { class: "bb-faint" });
    this.last = h("div", { class: "bb-last bb-code" });
    this.dot = h("span", { class: "bb-dot", "aria-hidden": "true" });
    this.head = h("button", { type: "button", class: "bb-head", "aria-expanded": "false", "aria-controls": body,
      onclick: () => this.toggle() },
      h("div", { class: "bb-line" }, this.dot, this.name, " ", this.facts), this.last);
    this.body = h("div", { id: body, class: "bb-body", hidden: true });
    this.element = h("li", { class: "bb-row" }, this.head, this.body);
    this.update(bottle);
  }

  get expanded() {
    return !this.body.hidden;
  }

  /** @param {Bottle} bottle */
  update(bottle) {
    this.bottle = bottle;
    say(this.name, bottle.name);
    say(this.last, lineOf(bottle.last));
    this.dot.classList.toggle("bb-bad", bottle.state !== "running" || !bottle.attached);
    if (this.go) this.go.hidden = !this.open || !bottle.kernel;
    this.tick();
  }

  /** Update the facts that change with time. */
  tick() {
    const { agent, bottle, backend, created, state, attached, cpu, memory } = this.bottle;
    if (this.over) return say(this.facts, "ended");
    const facts = [[agent, bottle].filter(Boolean).join(" in "), backend, duration(Date.now() / 1000 - created)];
    facts.push(cpu === null ? "CPU –" : `${Math.round(cpu * 100)} % CPU`, memory === null ? "memory –" : size(memory));
    if (state !== "running") facts.push(state);
    if (!attached) facts.push("no kernel is attached");
    say(this.facts, facts.filter(Boolean).join(" · "));
  }

  /** Show whether the bottle has ended.  @param {boolean} yes */
  end(yes) {
    if (yes === this.over) return;
    this.over = yes;
    this.dot.classList.toggle("bb-bad", yes);
    this.stopper?.toggleAttribute("disabled", yes);
    this.tick();
  }

  toggle() {
    this.body.hidden = !this.body.hidden;
    this.head.setAttribute("aria-expanded", String(this.expanded));
    if (this.expanded && !this.log) this.unfold();
    if (this.expanded) void this.changed(true, true);
  }

  unfold() {
    this.next = -1;
    this.run = 0;
    this.log = new Log(`Output of ${this.bottle.name}`);
    this.earlier = h("button", { type: "button", hidden: true, onclick: () => void this.loadEarlier() }, "Earlier output");
    this.egress = h("div", { class: "bb-egress" });
    this.host = h("input", { type: "text", class: "bb-grow", placeholder: "Host", "aria-label": "Host to allow", maxlength: "300",
      onkeydown: event => this.key(/** @type {KeyboardEvent} */ (event)) });
    this.status = h("div", { class: "bb-status", role: "status" });
    this.go = h("button", { type: "button", onclick: () => this.open?.(this.bottle) }, "Open notebook");
    this.go.hidden = !this.open || !this.bottle.kernel;
    this.stopper = h("button", { type: "button", class: "bb-no", onclick: () => void this.stop() }, "Stop");
    this.body.append(
      h("div", { class: "bb-bar" }, this.go, this.stopper, h("span", { class: "bb-faint" }, this.bottle.owner)),
      this.status, this.earlier, this.log.element,
      h("h4", {}, "Requests"), this.egress,
      h("div", { class: "bb-bar" }, this.host,
        h("button", { type: "button", onclick: () => void this.allow(this.host?.value ?? "") }, "Allow host")));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    event.stopPropagation();
    if (event.key === "Enter") void this.allow(this.host?.value ?? "");
  }

  /** Load new output and requests; one load at a time.  @param {boolean} output @param {boolean} egress */
  async changed(output, egress) {
    if (!this.expanded || !this.log) return;
    try {
      if (output) await this.loadOutput();
      if (egress) await this.loadEgress();
    } catch (error) {
      this.complain(error);
    }
  }

  async loadOutput() {
    if (this.loading) {
      this.again = true;
      return;
    }
    this.loading = true;
    try {
      do {
        this.again = false;
        const from = this.next < 0 ? "" : `&offset=${this.next}`;
        const path = `log?run=0&events=${this.bottle.agent ? 1 : 0}${from}`;
        const { run, offset, next, size, text, partial } = await this.ask("GET", path);
        if (run !== this.run && this.next >= 0) {
          this.log?.clear();
          this.next = 0;
          this.run = run;
          this.again = true;
          continue;
        }
        this.run = run;
        if (this.next < 0) this.begin(offset);
        this.next = next;
        this.log?.add(text, partial);
        this.again ||= next < size && text !== "";
      } while (this.again);
    } finally {
      this.loading = false;
    }
  }

  /** @param {number} offset where the log that is shown begins, in bytes */
  begin(offset) {
    this.first = offset;
    if (this.earlier) this.earlier.hidden = offset === 0;
  }

  async loadEarlier() {
    const from = Math.max(0, (this.first ?? 0) - EARLIER);
    this.log?.clear();
    this.next = from;
    this.begin(from);
    await this.changed(true, false);
  }

  async loadEgress() {
    const { requests, routes, left_out: leftOut } = await this.ask("GET", "egress");
    const rows = /** @type {import("./client.js").Request[]} */ (requests).slice(-50).reverse().map(request => this.request(request));
    const policy = routes.length ? `may reach ${routes.join(", ")}` : "may reach nothing";
    this.egress?.replaceChildren(h("div", { class: "bb-faint" }, policy),
      h("ul", { "aria-label": "Requests, the latest first" }, ...rows),
      ...(leftOut ? [h("div", { class: "bb-faint" }, `${leftOut} earlier requests`)] : []));
  }

  /** @param {import("./client.js").Request} request */
  request({ method, host, port, path, verdict, why, status, allow }) {
    const mark = { allowed: "✓", denied: "✗", failed: "!" }[verdict] ?? "";
    const where = `${host}${port && port !== 443 ? `:${port}` : ""}${path}`;
    const item = h("li", { class: verdict === "allowed" ? "" : "bb-alert" },
      `${mark} ${verdict} ${method} ${where} ${status || ""} `, h("span", { class: "bb-faint" }, why));
    if (allow) item.append(" ", h("button", { type: "button", onclick: () => void this.allow(allow) }, `Allow ${allow}`));
    return item;
  }

  /** @param {string} host */
  async allow(host) {
    if (!host.trim()) return;
    await this.act(`allowing ${host} …`, `${host} is allowed`, () => this.ask("POST", "allow", { host: host.trim() }));
    await this.changed(false, true);
  }

  async stop() {
    if (!this.sure || !this.stopper) {
      this.sure = true;
      if (this.stopper) say(this.stopper, "Really stop?");
      if (this.status) say(this.status, "Click again to remove the bottle and everything in it.");
      setTimeout(() => {
        this.sure = false;
        if (this.stopper) say(this.stopper, "Stop");
      }, SURE);
      return;
    }
    await this.act("stopping …", "stopped", () => this.ask("DELETE", ""));
  }

  /** @param {string} doing @param {string} done @param {() => Promise<any>} act */
  async act(doing, done, act) {
    if (this.status) say(this.status, doing);
    try {
      await act();
      if (this.status) say(this.status, done);
    } catch (error) {
      this.complain(error);
    }
  }

  /** @param {unknown} error */
  complain(error) {
    if (this.status) say(this.status, error instanceof Error ? error.message : String(error));
  }

  /** @param {string} method @param {string} what @param {object} [body] */
  async ask(method, what, body) {
    const path = ["bottles", this.bottle.slug, what].filter(Boolean).join("/");
    const answer = await this.client.ask(method, path, body, () => this.status && say(this.status, BUSY));
    if (this.status?.textContent === BUSY) say(this.status, "");
    return answer;
  }

  /** Remove this row unless it has the keyboard focus.  @returns {boolean} whether it was removed */
  leave() {
    if (this.element.querySelector(":focus-visible") || this.element.matches(":focus-visible")) return false;
    this.dispose();
    return true;
  }

  dispose() {
    this.log?.dispose();
    this.element.remove();
  }
}
