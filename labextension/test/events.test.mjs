import assert from "node:assert/strict";
import test from "node:test";
import { words } from "../lib/bb_jupyter/frontend/events.js";

test("an event is shown by its words, whichever agent printed it", () => {
  const lines = {
    '{"type":"thinking","text":"I see"}': "I see",
    '{"type":"tool_call","id":"1","name":"run","input":{"command":"ls -l"}}': "run ls -l",
    '{"type":"tool_result","id":"1","error":false,"output":"a\\nb\\n"}': "a\nb",
    '{"type":"assistant","message":{"role":"assistant","content":[{"type":"text","text":"Hi"},{"type":"tool_use","name":"Bash","input":{"command":"pwd"}}]}}':
      "Hi Bash pwd",
    '{"type":"item.completed","item":{"id":"x","type":"command_execution","command":"ls","aggregated_output":"a"}}': "ls a",
    '{"type":"system","subtype":"init","tools":[{"name":"Bash"}]}': "· system",
    '{"type":"usage","turns":3}': "· usage",
  };
  for (const [line, said] of Object.entries(lines)) assert.equal(words(line), said);
});

test("a line that was cut shows what there is of it", () => {
  assert.equal(words('{"type":"final","text":"a \\"long\\" ans'), 'a "long" ans');
  assert.equal(words('{"type":"final","text":"half \\u20'), "half ");
});

test("what is no event stays as it is", () => {
  for (const line of ["plain", "{", '{"a": 1}', "[1]", "", '{"type": 1}']) assert.equal(words(line), line);
});
