// Run by `node --test` on what tsc wrote.
import assert from "node:assert/strict";
import test from "node:test";
import { duration, lineOf, shown, size } from "../lib/bb_jupyter/frontend/dom.js";

test("controls, bidi and invisible characters are named", () => {
  assert.equal(shown("a\u202eb\u200bc\u0007d\u009be\u{e0041}"), "a<U+202E>b<U+200B>c␇d<U+009B>e<U+E0041>");
});

test("letters, emoji and line ends pass", () => {
  assert.equal(shown("Zoë 😀 ﷽\n\tok"), "Zoë 😀 ﷽\n\tok");
});

test("half a surrogate pair is replaced", () => {
  assert.equal(shown("a\ud83d b\udc00"), "a\ufffd b\ufffd");
});

test("a line of output has no colours, and shows what was written last over itself", () => {
  assert.equal(lineOf("\u001b[31mred\u001b[0m \u001b[Kend"), "red end");
  assert.equal(lineOf("10 %\r20 %\r100 %\r"), "100 %");
  assert.equal(lineOf("\u001b]8;;http://evil\u0007click"), "␛]8;;http://evil␇click");
});

test("durations and sizes are short", () => {
  assert.deepEqual([0, 59, 61, 7300, 90000].map(duration), ["0 s", "59 s", "1 min", "2 h", "1 d"]);
  assert.deepEqual([0, 999, 1500, 16_000_000].map(size), ["0 B", "999 B", "1.5 kB", "16 MB"]);
});
