// What an agent prints is a stream of JSON events, one a line; a log shows their words.

// Keys whose texts say what happens, in the events of the agents we know and likely in those of others.
const SAYING = new Set(["text", "thinking", "name", "command", "question", "path", "file_path", "pattern", "content", "output",
  "aggregated_output", "result", "message", "error"]);
// Events that are about the run, not about the work.
const SILENT = new Set(["system", "usage", "rate_limit_event", "thread.started", "turn.started", "turn.completed"]);
// The beginning of such a text in a line that was cut.
const CUT = /"(?:text|thinking|command|output|result|message)":\s?"((?:[^"\\]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*)/;

/** Return the words of an event; of anything else the line as it is.  @param {string} line */
export function words(line) {
  if (!line.startsWith("{")) return line;
  try {
    const event = JSON.parse(line);
    if (typeof event.type !== "string") return line;
    if (SILENT.has(event.type)) return `· ${event.type}`;
    const said = [...texts(event, "")];
    return said.length ? said.join(" ") : `· ${event.type}`;
  } catch {
    const found = CUT.exec(line);
    return found ? String(JSON.parse(`"${found[1]}"`)) : line;
  }
}

/**
 * @param {unknown} value
 * @param {string} key
 * @returns {Generator<string>}
 */
function* texts(value, key) {
  if (typeof value === "string") {
    if (SAYING.has(key) && value.trim()) yield value.trimEnd();
  } else if (Array.isArray(value)) {
    for (const item of value) yield* texts(item, key);
  } else if (value && typeof value === "object") {
    for (const [name, item] of Object.entries(value)) yield* texts(item, name);
  }
}
