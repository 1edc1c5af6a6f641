// Coverage: which pods policies protect, and which policies have no effect.

import { button, count, empty, h, s, show } from "./dom.js";

function bar(value, of, label) {
  const share = of > 0 ? value / of : 0;
  return h("span", { class: "bar" },
    s("svg", { width: 80, height: 10, role: "img", "aria-label": `${label}: ${value} of ${of}` },
      s("rect", { class: "track", width: 80, height: 10, rx: 2 }), s("rect", { class: "fill", width: (80 * share).toFixed(1), height: 10, rx: 2 })),
    h("span", { class: "number" }, ` ${value} / ${of}`));
}

/** The view: `context.namespace(name)`, `context.describe(node)`. */
export function coverageView(context) {
  const element = h("section", { class: "coverage page", "aria-label": "Coverage" });

  function update(model) {
    const { document } = model;
    const spaces = [...document.namespaces].sort((a, b) => b.unprotected.length - a.unprotected.length || a.namespace.localeCompare(b.namespace));
    if (spaces.length === 0) {
      show(element, empty("No namespaces", "The source has no namespaces."));
      return;
    }
    const unprotected = spaces.reduce((sum, it) => sum + it.unprotected.length, 0);
    show(element,
      h("h2", null, unprotected === 0 ? "✓ Every pod is isolated in at least one direction" : `⚠ ${count(unprotected, "pod")} isolated in no direction`),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Namespaces" }, h("table", null,
        h("thead", null, h("tr", null, ["Namespace", "Policies", "Ingress isolated", "Egress isolated", "Unprotected", "Exempt"].map((it) => h("th", { scope: "col" }, it)))),
        h("tbody", null, spaces.map((it) => h("tr", null,
          h("td", null, button(it.namespace, () => context.namespace(it.namespace), { class: "link" })),
          h("td", { class: "number" }, String(it.policies)),
          h("td", null, bar(it.ingress_isolated, it.pods, "ingress isolated")),
          h("td", null, bar(it.egress_isolated, it.pods, "egress isolated")),
          h("td", null, it.unprotected.length === 0 ? "✓ none" : details(`⚠ ${it.unprotected.length}`, it.unprotected)),
          h("td", null, it.exempt.length === 0 ? "none" : details(String(it.exempt.length), it.exempt))))))),
      h("h2", null, "Without effect at present"),
      document.without_effect.length === 0 ? h("p", null, "✓ Every policy selects a pod, and every peer matches one.")
        : h("ul", { class: "plain" }, document.without_effect.map((it) => h("li", null, `⚠ ${it}`))),
      document.notes.length > 0 && [h("h2", null, "Notes"), h("ul", { class: "plain" }, document.notes.map((it) => h("li", null, it)))]);
  }

  function details(summary, list) {
    return h("details", null, h("summary", null, summary), h("ul", { class: "plain" }, list.map((it) => h("li", null, it))));
  }

  return { element, update, shown() {} };
}
