import { addKind } from "../approval.js";
import { facts, h, list } from "../dom.js";

addKind("push", {
  title: content => `wants to push to ${content.alias}`,
  draw: content => {
    const boxes = list(content.refs).map(ref => h("input", { type: "checkbox", checked: true, value: String(ref.name) }));
    const refs = list(content.refs).map((ref, at) => h("label", { class: "bb-code", title: `${ref.old} → ${ref.new}` },
      boxes[at], ` ${ref.name} ${short(ref.old)} → ${short(ref.new)}${ref.kind ? ` (${ref.kind})` : ""}`));
    const findings = list(content.findings).map(({ path, line, where, rule }) => h("div", { class: "bb-alert" },
      [path && `${path}${line ? `:${line}` : ""}`, where].filter(Boolean).join(" in "), `: ${rule}`));
    const commits = list(content.commits).map(({ sha, subject, author, body }) => h("li", { title: String(sha) },
      h("span", { class: "bb-code" }, short(sha)), ` ${subject} — ${author}`, ...(body ? [h("p", { class: "bb-words" }, body)] : [])));
    const files = list(content.files).map(({ path, status, added, deleted, binary }) => h("li", { class: "bb-code" },
      `${status} ${path} ${binary ? "binary" : `+${added} −${deleted}`}`));
    return {
      body: [facts({ to: content.url }), ...refs, ...findings, h("ul", { "aria-label": "Commits" }, ...commits),
        h("ul", { "aria-label": "Files" }, ...files), diff(String(content.diff ?? "")),
        ...(content.truncated ? [h("div", { class: "bb-alert" }, "This is more than can be shown: git has all of it.")] : [])],
      options: () => {
        const chosen = boxes.filter(box => box.checked).map(box => box.value);
        return chosen.length < boxes.length ? { refs: chosen } : {};
      },
    };
  },
});

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

/** @param {unknown} sha */
function short(sha) {
  const text = String(sha ?? "");
  return /^0*$/.test(text) ? "nothing" : text.slice(0, 10);
}
