// Run by `node --test` on what tsc wrote.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { block, duration, lineOf, oneLine, size } from "../lib/bb_jupyter/frontend/dom.js";

// The same cases are tested in Python: tests/unit/text/test_visible.py.
const cases = JSON.parse(readFileSync(`${import.meta.dirname}/../../tests/unit/text/visible.json`, "utf-8"));

for (const [text, line, lines] of cases) {
  test(`invisible characters are named: ${line}`, () => assert.deepEqual([oneLine(text), block(text)], [line, lines]));
}

test("a line of output has no colours, and shows what was written last over itself", () => {
  assert.equal(lineOf("\u001b[31mred\u001b[0m \u001b[Kend"), "red end");
  assert.equal(lineOf("10 %\r20 %\r100 %\r"), "100 %");
  assert.equal(lineOf("\u001b]8;;http://evil\u0007click"), "␛]8;;http://evil␇click");
});

test("durations and sizes are short", () => {
  assert.deepEqual([0, 59, 61, 7300, 90000].map(duration), ["0 s", "59 s", "1 min", "2 h", "1 d"]);
  assert.deepEqual([0, 999, 1500, 16_000_000].map(size), ["0 B", "999 B", "1.5 kB", "16 MB"]);
});
