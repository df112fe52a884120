import assert from "node:assert/strict";
import test from "node:test";
import { title } from "../lib/bb_jupyter/frontend/approval.js";
import { Refused, unwrap } from "../lib/bb_jupyter/frontend/client.js";
import { News } from "../lib/labextension/src/news.js";

test("a title says who wants what, whatever the kind", () => {
  assert.equal(title({ bottle: "b", kind: "egress", content: { host: "h.example" } }), "b wants to reach h.example");
  assert.equal(title({ bottle: "b", kind: "new", content: {} }), "b asks for new");
});

test("each proposal is told once, and taken back when it is decided", () => {
  const said = [];
  const news = new News(({ token }) => said.push(`tell ${token}`) && token, id => said.push(`dismiss ${id}`));
  news.update([{ token: "a" }, { token: "b" }]);
  news.update([{ token: "b" }, { token: "c" }]);
  assert.deepEqual(said, ["tell a", "tell b", "dismiss a", "tell c"]);
});

test("a refusal is an error with the other side's words", () => {
  assert.deepEqual(unwrap({ status: 200, body: { a: 1 } }), { a: 1 });
  assert.throws(() => unwrap({ status: 409, body: { message: "no", hint: "because" } }), new Refused(409, { message: "no", hint: "because" }));
});
