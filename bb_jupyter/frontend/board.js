import { Card } from "./approval.js";
import { h, say } from "./dom.js";
import { Row } from "./row.js";

/** @typedef {import("./client.js").Approval} Approval */
/** @typedef {import("./client.js").Bottle} Bottle */
/** @typedef {import("./client.js").Changed} Changed */
/** @typedef {import("./client.js").Client} Client */

// Milliseconds between two loads without a change event, for bottles that died unnoticed; and between updates of times.
const SELDOM = 30_000;
const TICK = 5_000;
// Number of rows from which there is a search field.
const MANY = 8;

/**
 * The bottles of this user and their requests: the content of the panel and of the dashboard.
 *
 * Nothing moves under a pointer: an ended bottle keeps its place until the pointer has left, and a new one comes last.
 */
export class Board {
  /**
   * @param {Client} client
   * @param {{open?: (bottle: Bottle) => void, onPending?: (approvals: Approval[]) => void,
   *   onBottles?: (bottles: Bottle[]) => void}} [options]
   */
  constructor(client, options = {}) {
    this.client = client;
    this.options = options;
    /** @type {Map<string, Row>} */
    this.rows = new Map();
    /** @type {Map<string, Card>} by token: a card shows one content for ever */
    this.cards = new Map();
    this.asked = h("div", { class: "bb-cards" });
    this.askedBox = h("section", { "aria-label": "Approvals", hidden: true }, h("h3", {}, "Waiting for you"), this.asked);
    this.list = h("ul", { class: "bb-rows" });
    this.note = h("div", { class: "bb-faint", role: "status" }, "Loading …");
    this.filter = h("input", { type: "search", placeholder: "Search bottles", "aria-label": "Search bottles", hidden: true,
      oninput: () => this.choose(), onkeydown: event => event.stopPropagation() });
    this.element = h("div", { class: "bb-board", onpointerleave: () => this.sweep(),
      onfocusout: () => setTimeout(() => this.sweep()) }, this.askedBox,
      h("section", { "aria-label": "Bottles" }, h("h3", {}, "Bottles"), this.filter, this.note, this.list));
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.soon = undefined;
    this.stopHearing = client.onChange(changed => void this.changed(changed));
    this.timers = [setInterval(() => void this.load(), SELDOM), setInterval(() => this.tick(), TICK)];
    void this.load();
  }

  async load() {
    await Promise.all([this.loadBottles(), this.loadApprovals()]);
  }

  /** @param {Changed} changed */
  async changed({ bottles, approvals, output = [], egress = [] }) {
    if (approvals) void this.loadApprovals();
    if (bottles) void this.loadBottles();
    else if (output.length) this.soon ||= setTimeout(() => void this.loadBottles(), 1000);
    for (const slug of new Set([...output, ...egress])) {
      void this.rows.get(slug)?.changed(output.includes(slug), egress.includes(slug));
    }
  }

  async loadBottles() {
    clearTimeout(this.soon);
    this.soon = undefined;
    try {
      this.showBottles((await this.client.ask("GET", "bottles")).bottles);
    } catch (error) {
      say(this.note, error instanceof Error ? error.message : String(error));
    }
  }

  /** @param {Bottle[]} bottles */
  showBottles(bottles) {
    const live = new Set(bottles.map(bottle => bottle.slug));
    for (const [slug, row] of this.rows) row.end(!live.has(slug));
    for (const bottle of bottles) {
      const row = this.rows.get(bottle.slug);
      if (row) row.update(bottle);
      else this.add(new Row(bottle, this.client, this.options.open ?? null));
    }
    say(this.note, bottles.length ? "" : "No bottle is running. A cell with %%bottle NAME launches one.");
    this.filter.hidden = bottles.length < MANY;
    this.choose();
    this.sweep();
    this.options.onBottles?.(bottles);
  }

  /** @param {Row} row */
  add(row) {
    this.rows.set(row.bottle.slug, row);
    this.list.append(row.element);
  }

  choose() {
    const wanted = this.filter.hidden ? "" : this.filter.value.toLowerCase();
    for (const row of this.rows.values()) {
      const { name, agent, backend, last } = row.bottle;
      row.element.hidden = !`${name} ${agent} ${backend} ${last}`.toLowerCase().includes(wanted);
    }
  }

  async loadApprovals() {
    try {
      this.showApprovals((await this.client.ask("GET", "approvals")).approvals);
    } catch (error) {
      say(this.note, error instanceof Error ? error.message : String(error));
    }
  }

  /** @param {Approval[]} approvals */
  showApprovals(approvals) {
    const waiting = new Set(approvals.map(approval => approval.token));
    for (const [token, card] of this.cards) card.over = !waiting.has(token);
    for (const approval of approvals) (this.cards.get(approval.token) ?? this.ask(approval)).settle(approval);
    this.sweep();
    for (const card of this.cards.values()) if (card.over) void this.showEnd(card);
    this.options.onPending?.(approvals);
  }

  /** Show the decision on a card that was decided elsewhere and is still in view.  @param {Card} card */
  async showEnd(card) {
    if (card.approval.state !== "pending" || card.sending) return;
    card.settle({ ...card.approval, state: "withdrawn" });
    card.settle(await this.client.ask("GET", `approvals/${card.approval.id}`).catch(() => card.approval));
  }

  /** Remove ended bottles and decided requests, unless the pointer or the focus is on them. */
  sweep() {
    if (this.element.matches(":hover")) return;
    for (const found of [this.cards, this.rows]) {
      for (const [key, part] of found) if (part.over && part.leave()) found.delete(key);
    }
    this.askedBox.hidden = !this.cards.size;
  }

  /** @param {Approval} approval */
  ask(approval) {
    const card = new Card(approval, (body, waits) => this.client.ask("POST", `approvals/${approval.id}`, body, waits));
    this.cards.set(approval.token, card);
    this.asked.append(card.element);
    return card;
  }

  tick() {
    for (const part of [...this.rows.values(), ...this.cards.values()]) part.tick();
  }

  /** Focus the first waiting request, or else the first bottle. */
  focus() {
    const first = this.asked.querySelector("article") ?? this.list.querySelector("button");
    if (first instanceof HTMLElement) first.focus();
  }

  dispose() {
    this.stopHearing();
    this.timers.forEach(timer => clearInterval(timer));
    clearTimeout(this.soon);
    for (const row of this.rows.values()) row.dispose();
  }
}
