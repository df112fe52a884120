// Elements and text.  Everything that came from a bottle passes `shown` and becomes a text node, never HTML.

// Controls but tab and newline, and what turns, hides or joins text (bidi controls: CVE-2021-42574; UTR #36).
const INVISIBLE =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb\u{e0000}-\u{e0fff}]/gu;
// Colours and erased lines: the console shows text alone.
const COLOURS = /\u001b\[[0-9;:]{0,64}m|\u001b\[[0-2]?K/g;
const LONE_SURROGATES = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** Return a text fit to be shown: every control or invisible character by its name.  @param {string} text */
export function shown(text) {
  return text.replace(LONE_SURROGATES, "\ufffd").replace(INVISIBLE, named);
}

/** Return a line of output without its colours; of a line that was written over, its last state.  @param {string} line */
export function lineOf(line) {
  const plain = line.replace(COLOURS, "").replace(/\r+$/, "");
  return shown(plain.slice(plain.lastIndexOf("\r") + 1));
}

/** @param {string} character */
function named(character) {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return `<U+${code.toString(16).toUpperCase().padStart(4, "0")}>`;
}

/**
 * Make an element.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | boolean | ((event: Event) => void)>} attributes functions listen to events: `onclick`
 * @param {(Node | string)[]} children texts are made fit to be shown
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false) element.setAttribute(name, shown(value));
  }
  element.append(...children.map(child => (typeof child === "string" ? shown(child) : child)));
  return element;
}

/** Let an element show *text*, if it does not yet.  @param {Element} element @param {string} text */
export function say(element, text) {
  const fit = shown(text);
  if (element.textContent !== fit) element.textContent = fit;
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
