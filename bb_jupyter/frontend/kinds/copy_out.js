import { addKind } from "../approval.js";
import { facts, h, list, size } from "../dom.js";

addKind("copy-out", {
  title: content => `offers the file ${content.path}`,
  draw: content => ({
    body: [
      facts({ path: content.path, reason: content.reason, size: size(Number(content.size) || 0) }),
      ...list(content.files).map(file => h("div", { class: "bb-code" }, `${file.path} ${size(Number(file.size) || 0)}`)),
      ...(content.text ? [h("pre", {}, String(content.text))] : []),
    ],
  }),
});
