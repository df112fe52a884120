import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { words } from "../lib/bb_jupyter/frontend/events.js";

// The same lines are tested where the notebook's text has them: tests/unit/console/test_events.py.
const lines = JSON.parse(readFileSync(`${import.meta.dirname}/events.json`, "utf-8"));

for (const [line, said] of Object.entries(lines)) {
  test(`a line shows its words: ${line}`, () => assert.equal(words(line), said));
}
