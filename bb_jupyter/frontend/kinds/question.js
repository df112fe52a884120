import { addKind } from "../approval.js";
import { h, list } from "../dom.js";

/** @typedef {import("../approval.js").Card} Card */

/** A question is answered by one of its choices, or by words.  @param {unknown} choices @param {Card} card */
function buttons(choices, card) {
  const given = list(choices).map(String);
  if (given.length) return given.map(choice => card.button(choice, "bb-yes", () => card.approve({ answer: choice })));
  card.why.placeholder = "Answer";
  card.why.setAttribute("aria-label", "Answer");
  return [card.button("Answer", "bb-yes", () => card.approve({ answer: card.why.value }, ""))];
}

addKind("question", {
  title: content => `asks: ${content.question}`,
  heading: () => "asks",
  draw: ({ question, choices }, card) => ({
    body: [h("p", { class: "bb-words" }, String(question))],
    buttons: buttons(choices, card),
    no: "Decline",
  }),
});
