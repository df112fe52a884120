import { BUSY } from "./client.js";
import { duration, h, newId, say } from "./dom.js";

/** @typedef {import("./client.js").Approval} Approval */

/** @typedef {Record<string, any>} Content plain JSON, by kind; its texts are hostile: `h` and `say` make them visible */

/**
 * What a card shows of a request, and what it says beside yes.
 *
 * @typedef {object} Drawing
 * @property {Node[]} body
 * @property {Node[]} [buttons] approve it; by default one, "Approve"
 * @property {string} [no] on the button that denies it
 * @property {() => object} [options] what an approval says beside yes, by the names of the kind's options
 */

/**
 * How a kind of request is drawn: one file in `kinds/` each, which calls `addKind`.
 *
 * @typedef {object} KindPart
 * @property {(content: Content) => string} title goes on after the bottle's name
 * @property {(content: Content) => string} [heading] the same above the body, where that shows the rest
 * @property {(content: Content, card: Card) => Drawing} draw
 */

/** @type {Map<string, KindPart>} */
const KINDS = new Map();

/** @type {KindPart} a kind that this page does not have: what it asks for, as it is */
const UNKNOWN = {
  title: () => "asks for something that this page cannot draw",
  draw: content => ({ body: [h("pre", {}, JSON.stringify(content, null, 1))] }),
};

/** Let cards show a kind of request.  @param {string} name @param {KindPart} part */
export function addKind(name, part) {
  KINDS.set(name, part);
}

/** @param {Approval} approval */
function kindOf(approval) {
  return KINDS.get(approval.kind) ?? { ...UNKNOWN, title: () => `asks for ${approval.kind}` };
}

// Where the mouse was when it last moved; an element hears that it was entered before anybody hears of the movement.
let mouse = "";
globalThis.document?.addEventListener("pointermove", event => (mouse = place(event)), { capture: true, passive: true });

/** @param {MouseEvent} event */
function place({ screenX, screenY }) {
  return `${screenX} ${screenY}`;
}

/** Return what a proposal is about, in a few words.  @param {Approval} approval */
export function title(approval) {
  return `${approval.bottle} ${kindOf(approval).title(approval.content)}`.slice(0, 200);
}

/** Shows exactly what a bottle asks for, with the buttons that decide it. */
export class Card {
  /**
   * @param {Approval} approval
   * @param {(body: object, waits: () => void) => Promise<Approval>} decide
   */
  constructor(approval, decide) {
    this.approval = approval;
    this.decide = decide;
    this.over = false;
    this.sending = false;
    const head = newId();
    this.status = h("div", { class: "bb-status", role: "status" });
    this.when = h("div", { class: "bb-faint" }, this.age());
    this.why = h("input", { type: "text", class: "bb-grow", placeholder: "Reason (the agent reads it)",
      "aria-label": "Reason", maxlength: "4000", onkeydown: event => event.stopPropagation() });
    const part = kindOf(approval);
    const { body, buttons, no = "Deny", options } = part.draw(approval.content, this);
    const yes = buttons ?? [this.button("Approve", "bb-yes", () => this.approve(options?.() ?? {}))];
    this.actions = h("div", { class: "bb-bar", role: "group", "aria-label": "Decide" }, this.why, ...yes,
      this.button(no, "bb-no", () => this.send("denied", {}, this.why.value)));
    const heading = part.heading ? `${approval.bottle} ${part.heading(approval.content)}` : title(approval);
    this.element = h("article", { class: "bb-card", "aria-labelledby": head, tabindex: "-1" },
      h("h4", { id: head }, `${approval.id}. ${heading}`), this.when, ...body, this.actions, this.status);
    this.guard();
  }

  /** Take no click of a mouse that rests where the card came to it: it was meant for what was there before. */
  guard() {
    let came = "";
    this.element.addEventListener("pointerenter", event => {
      came = event.pointerType === "mouse" && place(event) === mouse ? mouse : "";
    });
    this.actions.addEventListener("click", event => {
      if (!came || event.detail === 0 || mouse !== came) return;
      event.stopPropagation();
      say(this.status, "This has just moved under the pointer: click again if it is meant.");
      came = "";
    }, { capture: true });
  }

  /** Say what changes with time alone. */
  tick() {
    say(this.when, this.age());
  }

  age() {
    const { created, expires, state } = this.approval;
    const now = Date.now() / 1000;
    const left = expires && state === "pending" ? `, denied by itself in ${duration(expires - now)}` : "";
    return `asked ${duration(now - created)} ago${left}`;
  }

  /** @param {string} text @param {string} style @param {() => void} onclick */
  button(text, style, onclick) {
    return h("button", { class: style, type: "button", onclick }, text);
  }

  /** Approve it.  @param {object} options what is said beside yes @param {string} [why] */
  approve(options, why = this.why.value) {
    void this.send("approved", options, why);
  }

  /** @param {string} verdict @param {object} options @param {string} why */
  async send(verdict, options, why) {
    if (this.element.contains(document.activeElement)) this.element.focus({ preventScroll: true });
    this.enable(false);
    this.sending = true;
    say(this.status, "…");
    try {
      this.settle(await this.decide({ ...options, verdict, token: this.approval.token, why },
        () => say(this.status, BUSY)));
    } catch (error) {
      say(this.status, error instanceof Error ? error.message : String(error));
      this.enable(true);
    } finally {
      this.sending = false;
    }
  }

  /** @param {boolean} yes */
  enable(yes) {
    for (const part of this.element.querySelectorAll("button, input")) part.toggleAttribute("disabled", !yes);
  }

  /** Show what was decided, here or elsewhere; an approval that failed may leave it pending.  @param {Approval} approval */
  settle(approval) {
    this.approval = approval;
    const { state, why, answer, outcome } = approval;
    if (state !== "pending") {
      this.element.style.minHeight = `${this.element.getBoundingClientRect().height}px`;
      say(this.status, [answer ? `${state}: ${answer}` : state, why && `(${why})`, outcome?.text].filter(Boolean).join(" "));
    } else if (outcome && !this.sending) {
      say(this.status, outcome.text);
      this.enable(true);
    }
    this.actions.hidden = state !== "pending";
    this.tick();
  }

  /** Go, unless the keyboard is here.  @returns {boolean} whether it went */
  leave() {
    if (this.element.querySelector(":focus-visible") || this.element.matches(":focus-visible")) return false;
    this.element.remove();
    return true;
  }
}
