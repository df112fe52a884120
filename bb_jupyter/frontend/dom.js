// Elements and text.  All text from a bottle passes `block` or `oneLine` and becomes a text node, never HTML.

// The rules are those of bb_jupyter/text/visible.py; tests/unit/text/visible.json holds cases that both pass.
const INVISIBLE = "\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f" +
  "\\u3164\\ufe00-\\ufe0e\\ufeff\\uffa0\\ufff0-\\ufffb\\u{1bca0}-\\u{1bca3}\\u{1d173}-\\u{1d17a}\\u{e0000}-\\u{e0fff}";
const SUSPECT = new RegExp(`[\\u0000-\\u001f\\u007f-\\u009f\\ud800-\\udfff${INVISIBLE}]`, "gu");
// Colours and erased lines: the panel shows text alone.
const COLOURS = /\u001b\[[0-9;:]{0,64}m|\u001b\[[0-2]?K/g;

/** Return a text on one line; every control and invisible character is named.  @param {string} text */
export function oneLine(text) {
  return text.replace(SUSPECT, named);
}

/** Return a text with its lines; a tab is four spaces, and the rest is as in a line.  @param {string} text */
export function block(text) {
  return text.replaceAll("\r\n", "\n").replaceAll("\t", "    ").split("\n").map(oneLine).join("\n");
}

/** Return a line of output without its colours; of a line that was written over, its last state.  @param {string} line */
export function lineOf(line) {
  const plain = line.replace(COLOURS, "").replace(/\r+$/, "").replaceAll("\t", "    ");
  return oneLine(plain.slice(plain.lastIndexOf("\r") + 1));
}

/** @param {string} character */
function named(character) {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  const hex = (/** @type {number} */ value, /** @type {number} */ width) => value.toString(16).toUpperCase().padStart(width, "0");
  return code >= 0xdc80 && code <= 0xdcff ? `<0x${hex(code - 0xdc00, 2)}>` : `<U+${hex(code, 4)}>`;
}

/**
 * Make an element.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | boolean | ((event: Event) => void)>} attributes functions listen to events: `onclick`
 * @param {(Node | string)[]} children invisible characters in texts are named
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false) element.setAttribute(name, oneLine(value));
  }
  element.append(...children.map(child => (typeof child === "string" ? block(child) : child)));
  return element;
}

/** Set the text of an element, if it differs.  @param {Element} element @param {string} text */
export function say(element, text) {
  const visible = block(text);
  if (element.textContent !== visible) element.textContent = visible;
}

/** Return a list of named values; empty ones are left out.  @param {Record<string, unknown>} pairs */
export function facts(pairs) {
  return h("dl", {}, ...Object.entries(pairs).filter(([, value]) => value).flatMap(([name, value]) => [
    h("dt", {}, name), h("dd", {}, String(value))]));
}

/** Return *value* if it is an array, else an empty one.  @param {unknown} value @returns {any[]} */
export function list(value) {
  return Array.isArray(value) ? value : [];
}

/** Return a duration in words.  @param {number} seconds */
export function duration(seconds) {
  const units = /** @type {[string, number][]} */ ([["d", 86400], ["h", 3600], ["min", 60]]);
  const unit = units.find(([, size]) => seconds >= size);
  return unit ? `${Math.floor(seconds / unit[1])} ${unit[0]}` : `${Math.max(0, Math.floor(seconds))} s`;
}

/** Return a number of bytes in words.  @param {number} bytes */
export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  for (; bytes >= 1000 && at < units.length - 1; at++) bytes /= 1000;
  return `${bytes < 10 && at ? bytes.toFixed(1) : Math.round(bytes)} ${units[at]}`;
}

let numbers = 0;

/** Return an id that no other element of this page has. */
export function newId() {
  return `bb-${Math.random().toString(36).slice(2, 8)}-${numbers++}`;
}
