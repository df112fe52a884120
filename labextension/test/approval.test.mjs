import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { addKind, Card, title } from "../lib/bb_jupyter/frontend/approval.js";
import { Refused, unwrap } from "../lib/bb_jupyter/frontend/client.js";
import "../lib/labextension/src/kinds.js";
import { Notifications } from "../lib/labextension/src/notifications.js";

/** As much of an element as a card uses. */
class Element {
  constructor(tag) {
    Object.assign(this, { tag, attributes: {}, children: [], listeners: {}, style: {}, hidden: false });
  }
  setAttribute(name, value) {
    this.attributes[name] = value;
    if (["value", "placeholder"].includes(name)) this[name] = value;
    if (name === "checked") this.checked = true;
  }
  toggleAttribute() {}
  addEventListener(name, hear) {
    this.listeners[name] = hear;
  }
  append(...children) {
    this.children.push(...children);
  }
  contains() {
    return false;
  }
  getBoundingClientRect() {
    return { height: 0 };
  }
  get textContent() {
    return this.children.map(child => child.textContent ?? child).join("");
  }
  set textContent(text) {
    this.children = [text];
  }
  all(tag) {
    const found = this.children.filter(child => child instanceof Element).flatMap(child => child.all(tag));
    return this.tag === tag ? [this, ...found] : found;
  }
  querySelectorAll() {
    return [];
  }
}
globalThis.document = { createElement: tag => new Element(tag), addEventListener: () => {} };
for (const name of ["value", "placeholder"]) Object.defineProperty(Element.prototype, name, { value: "", writable: true });

/** Draw the card of a request; *click* returns what is sent. */
function draw(kind, content) {
  const approval = { id: 7, bottle: "b", kind, content, created: 0, expires: null, token: "t", state: "pending", outcome: null };
  const sent = [];
  const card = new Card(approval, async body => sent.push(body) && { ...approval, state: "approved" });
  const click = text => {
    card.element.all("button").find(button => button.textContent === text).listeners.click();
    return sent.at(-1);
  };
  return { card, click, text: card.element.textContent, inputs: card.element.all("input") };
}

test("a title says who wants what, whatever the kind", () => {
  assert.equal(title({ bottle: "b", kind: "egress", content: { host: "h.example" } }), "b wants to reach h.example");
  assert.equal(title({ bottle: "b", kind: "new", content: {} }), "b asks for new");
});

const HOSTILE = "a\u202e\u200b\u0007<b>";
const EVERYTHING = Object.fromEntries(["host", "route", "reason", "alias", "url", "question", "path", "text", "diff", "resource",
  "run"].map(name => [name, HOSTILE]));

for (const file of readdirSync(join(import.meta.dirname, "../lib/bb_jupyter/frontend/kinds"))) {
  const kind = file.replace(".js", "").replace("_", "-");
  test(`a card of ${kind} can be approved, and hostile text is visible in it`, () => {
    for (const content of [{}, EVERYTHING, { ...EVERYTHING, refs: [{ name: HOSTILE }], files: [{ path: HOSTILE }], choices: [HOSTILE] }]) {
      const { text, card } = draw(kind, content);
      assert.ok(card.element.all("button").length >= 2);
      assert.doesNotMatch(text, /[\u202e\u200b\u0007]/);
    }
    assert.notEqual(title({ bottle: "b", kind, content: {} }), `b asks for ${kind}`);
  });
}

test("a question is answered by a choice, or in words", () => {
  assert.deepEqual(draw("question", { question: "?", choices: ["yes", "no"] }).click("no"),
    { answer: "no", verdict: "approved", token: "t", why: "" });
  const { card, click } = draw("question", { question: "?", choices: [] });
  card.why.value = "blue";
  assert.deepEqual(click("Answer"), { answer: "blue", verdict: "approved", token: "t", why: "" });
  assert.deepEqual(click("Decline"), { verdict: "denied", token: "t", why: "blue" });
});

test("of a push all refs are approved, or those that are ticked", () => {
  const refs = ["refs/heads/main", "refs/heads/x"].map(name => ({ name, old: "0".repeat(40), new: "a".repeat(40) }));
  const { click, inputs } = draw("push", { refs, alias: "w" });
  assert.deepEqual(click("Approve"), { verdict: "approved", token: "t", why: "" });
  inputs.find(input => input.attributes.value === "refs/heads/x").checked = false;
  assert.deepEqual(click("Approve").refs, ["refs/heads/main"]);
});

test("of a budget as much is granted as is written in its card", () => {
  const { click, inputs, text } = draw("budget", { resource: "tokens", amount: 50000, spent: 1000, limit: 2000, run: "r" });
  assert.match(text, /b wants 50,000 tokens more for r.*1,000 tokens of 2,000 tokens/s);
  assert.equal(click("Approve").granted, "50000");
  inputs.find(input => input.attributes["aria-label"] === "Granted").value = "10";
  assert.equal(click("Approve").granted, "10");
});

test("a kind that is added is drawn by its part, and one that is unknown as it is", () => {
  addKind("tea", { title: () => "wants tea", draw: ({ sort }) => ({ body: [new Element("p")], options: () => ({ sort }) }) });
  assert.equal(title({ bottle: "b", kind: "tea", content: {} }), "b wants tea");
  assert.equal(draw("tea", { sort: "green" }).click("Approve").sort, "green");
  assert.match(draw("new", { a: HOSTILE }).text, /"a": "a<U\+202E>/);
});

test("each proposal is told once, and taken back when it is decided", () => {
  const said = [];
  const notifications = new Notifications(({ token }) => said.push(`tell ${token}`) && token, id => said.push(`dismiss ${id}`));
  notifications.update([{ token: "a" }, { token: "b" }]);
  notifications.update([{ token: "b" }, { token: "c" }]);
  assert.deepEqual(said, ["tell a", "tell b", "dismiss a", "tell c"]);
});

test("a refusal is an error with the other side's words", () => {
  assert.deepEqual(unwrap({ status: 200, body: { a: 1 } }), { a: 1 });
  assert.throws(() => unwrap({ status: 409, body: { message: "no", hint: "because" } }), new Refused(409, { message: "no", hint: "because" }));
});
