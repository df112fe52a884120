import { BUSY } from "./client.js";
import { duration, h, newId, say, size } from "./dom.js";

/** @typedef {import("./client.js").Approval} Approval */

/** @type {Record<string, (content: Record<string, any>) => string>} */
const TITLES = {
  egress: content => `wants to reach ${content.host}`,
  push: content => `wants to push to ${content.alias}`,
  question: content => `asks: ${content.question}`,
  "copy-out": content => `offers the file ${content.path}`,
};

// Where the mouse was when it last moved; an element hears that it was entered before anybody hears of the movement.
let mouse = "";
globalThis.document?.addEventListener("pointermove", event => (mouse = place(event)), { capture: true, passive: true });

/** @param {MouseEvent} event */
function place({ screenX, screenY }) {
  return `${screenX} ${screenY}`;
}

/** Return what a proposal is about, in a few words.  @param {Approval} approval */
export function title(approval) {
  const words = TITLES[approval.kind]?.(approval.content) ?? `asks for ${approval.kind}`;
  return `${approval.bottle} ${words}`.slice(0, 200);
}

/** What a bottle asks, exactly, with the buttons that answer it. */
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
    /** @type {HTMLInputElement[]} */
    this.refs = [];
    this.answer = "";
    this.actions = h("div", { class: "bb-bar", role: "group", "aria-label": "Decide" }, this.why, ...this.buttons());
    this.element = h("article", { class: "bb-card", "aria-labelledby": head, tabindex: "-1" },
      h("h4", { id: head }, `${approval.id}. ${approval.kind === "question" ? `${approval.bottle} asks` : title(approval)}`),
      this.when,
      ...this.content(), this.actions, this.status);
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

  buttons() {
    const choices = this.approval.kind === "question" ? this.choices() : [];
    const yes = choices.length || this.approval.kind === "question" ? [] : [this.button("Approve", "approved", "bb-yes")];
    return [...choices, ...yes, this.button(this.approval.kind === "question" ? "Decline" : "Deny", "denied", "bb-no")];
  }

  /** A question is answered by one of its choices, or by words. */
  choices() {
    const given = list(this.approval.content.choices);
    if (!given.length) {
      this.why.placeholder = "Answer";
      this.why.setAttribute("aria-label", "Answer");
      return [h("button", { class: "bb-yes", type: "button", onclick: () => this.send("approved", this.why.value) }, "Answer")];
    }
    return given.map(choice => h("button", { class: "bb-yes", type: "button",
      onclick: () => this.send("approved", String(choice)) }, String(choice)));
  }

  /** @param {string} text @param {string} verdict @param {string} kind */
  button(text, verdict, kind) {
    return h("button", { class: kind, type: "button", onclick: () => this.send(verdict, "") }, text);
  }

  /** @param {string} verdict @param {string} answer */
  async send(verdict, answer) {
    if (this.element.contains(document.activeElement)) this.element.focus({ preventScroll: true });
    this.enable(false);
    this.sending = true;
    say(this.status, "…");
    const refs = this.refs.filter(box => box.checked).map(box => box.value);
    try {
      this.settle(await this.decide({ verdict, token: this.approval.token, answer,
        why: answer && answer === this.why.value ? "" : this.why.value,
        ...(verdict === "approved" && this.refs.length && refs.length < this.refs.length ? { refs } : {}),
      }, () => say(this.status, BUSY)));
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

  /** Show what was decided, here or elsewhere; a push that upstream refused waits on.  @param {Approval} approval */
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

  /** @returns {Node[]} */
  content() {
    const content = this.approval.content;
    if (this.approval.kind === "egress") {
      return [facts({ route: content.route ?? content.host, methods: list(content.methods).join(", "),
        paths: list(content.paths).join(", "), reason: content.reason })];
    }
    if (this.approval.kind === "push") return this.push(content);
    if (this.approval.kind === "question") return [h("p", { class: "bb-words" }, String(content.question))];
    if (this.approval.kind === "copy-out") {
      return [facts({ path: content.path, reason: content.reason, size: size(Number(content.size) || 0) }),
        ...list(content.files).map(file => h("div", { class: "bb-code" }, `${file.path} ${size(Number(file.size) || 0)}`)),
        ...(content.text ? [h("pre", {}, String(content.text))] : [])];
    }
    return [h("pre", {}, JSON.stringify(content, null, 1))];
  }

  /** @param {Record<string, any>} content */
  push(content) {
    this.refs = list(content.refs).map(ref => h("input", { type: "checkbox", checked: true, value: String(ref.name) }));
    const refs = list(content.refs).map((ref, at) => h("label", { class: "bb-code", title: `${ref.old} → ${ref.new}` },
      this.refs[at], ` ${ref.name} ${short(ref.old)} → ${short(ref.new)}${ref.kind ? ` (${ref.kind})` : ""}`));
    const findings = list(content.findings).map(({ path, line, where, rule }) => h("div", { class: "bb-alert" },
      [path && `${path}${line ? `:${line}` : ""}`, where].filter(Boolean).join(" in "), `: ${rule}`));
    const commits = list(content.commits).map(({ sha, subject, author, body }) => h("li", { title: String(sha) },
      h("span", { class: "bb-code" }, short(sha)), ` ${subject} — ${author}`, ...(body ? [h("p", { class: "bb-words" }, body)] : [])));
    const files = list(content.files).map(({ path, status, added, deleted, binary }) => h("li", { class: "bb-code" },
      `${status} ${path} ${binary ? "binary" : `+${added} −${deleted}`}`));
    return [facts({ to: content.url }), ...refs, ...findings, h("ul", { "aria-label": "Commits" }, ...commits),
      h("ul", { "aria-label": "Files" }, ...files), diff(String(content.diff ?? "")),
      ...(content.truncated ? [h("div", { class: "bb-alert" }, "This is more than can be shown: git has all of it.")] : [])];
  }
}

/** A diff that is drawn when somebody unfolds it.  @param {string} text */
function diff(text) {
  const kinds = /** @type {Record<string, string>} */ ({ "+": "bb-plus", "-": "bb-minus", "@": "bb-faint" });
  const pre = h("pre", { class: "bb-diff", tabindex: "0", "aria-label": "Diff" });
  const draw = () => {
    if (pre.firstChild) return;
    pre.append(...text.trimEnd().split("\n").map(line => h("div", kinds[line[0]] ? { class: kinds[line[0]] } : {}, line || " ")));
  };
  return h("details", { ontoggle: draw }, h("summary", {}, "Diff"), pre);
}

/** @param {Record<string, unknown>} pairs */
function facts(pairs) {
  return h("dl", {}, ...Object.entries(pairs).filter(([, value]) => value).flatMap(([name, value]) => [
    h("dt", {}, name), h("dd", {}, String(value))]));
}

/** @param {unknown} value @returns {any[]} */
function list(value) {
  return Array.isArray(value) ? value : [];
}

/** @param {unknown} sha */
function short(sha) {
  const text = String(sha ?? "");
  return /^0*$/.test(text) ? "nothing" : text.slice(0, 10);
}
