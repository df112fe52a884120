import { addKind } from "../approval.js";
import { duration, facts, h } from "../dom.js";

/** Return an amount for people.  @param {string} resource @param {number} amount */
function shownAmount(resource, amount) {
  if (resource === "money") return `$${amount.toFixed(2)}`;
  return resource === "time" ? duration(amount) : `${amount.toLocaleString("en")} ${resource}`;
}

addKind("budget", {
  title: ({ resource, amount, run }) => `wants ${shownAmount(resource, Number(amount))} more${run ? ` for ${run}` : ""}`,
  draw: ({ resource, amount, spent, limit, reason }) => {
    const used = `${shownAmount(resource, Number(spent))} of ${shownAmount(resource, Number(limit))}`;
    const granted = h("input", { type: "text", value: String(amount), "aria-label": "Granted",
      onkeydown: event => event.stopPropagation() });
    const unit = /** @type {Record<string, string>} */ ({ money: "US dollars", time: "seconds" })[resource] ?? String(resource);
    return {
      body: [facts({ "used so far": used, reason }), h("label", {}, "Grant ", granted, ` ${unit}`)],
      options: () => ({ granted: granted.value }),
    };
  },
});
