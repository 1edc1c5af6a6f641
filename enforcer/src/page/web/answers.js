// The documents `explain`, `describe` and `diff` as elements, in the words of the command line.

import { button, count, h } from "./dom.js";

const SIGNS = { allowed: "✓", denied: "✕", partly: "◐" };

/** A verdict, as sign and word. */
export function badge(verdict) {
  const word = verdict === true ? "allowed" : verdict === false ? "denied" : verdict;
  return h("span", { class: `badge ${word}` }, h("span", { "aria-hidden": "true" }, SIGNS[word] ?? "•"), ` ${word}`);
}

/** A policy's name, which opens its description. */
function policyLink(name, links) {
  return links ? button(name, () => links.policy(name), { class: "link" }) : h("b", null, name);
}

function joined(list) {
  return list.flatMap((it, at) => (at > 0 ? [", ", it] : [it]));
}

function place(it, links, word) {
  const ports = it.port_path ? `, ${it.port_path.split(".").pop()}` : "";
  return h("div", { class: "place" },
    h("div", null, word && h("span", { class: "word" }, `${word} `), policyLink(it.policy, links), " ", h("code", null, it.path + ports)),
    it.file && h("div", { class: "file" }, `${it.file}:${it.line}`),
    it.differences?.length > 0 && h("ul", { class: "differences" }, it.differences.map((text) => h("li", null, text))));
}

function reason(end, links) {
  const isolated = () => joined(end.isolated_by.map((it) => policyLink(it, links)));
  switch (end.reason) {
    case "itself": return "the other end is the pod itself";
    case "own-node": return "the other end is the pod's own node";
    case "not-isolated": return `no policy isolates the pod for ${end.direction}`;
    default: return ["isolated by ", isolated()];
  }
}

function endAnswer(end, links) {
  const rules = end.rules ?? [];
  return h("div", { class: `end ${end.allowed ? "allowed" : "denied"}` },
    h("h4", null, badge(end.allowed), ` ${end.direction} of `, h("span", { class: "name" }, end.pod)),
    h("p", null, reason(end, links), " ", h("span", { class: "rule", title: "The rule in ARCHITECTURE.md" }, end.semantics)),
    end.allowed_by.map((it) => place(it, links, "allowed by")),
    end.nearest && [h("p", { class: "word" }, "Nearest miss: this rule would allow it, if"), place(end.nearest, links)],
    !end.nearest && end.reason === "no-rule" && h("p", null, "No rule could allow it."),
    rules.length > 0 && h("details", { open: true }, h("summary", null, count(rules.length, "rule")),
      rules.map((it) => place(it, links, it.outcome))));
}

/** What the connection goes to, with port and protocol. */
function target(it) {
  if (!it.port) return `${it.to}, protocols without ports`;
  const [name, kind] = it.to.split(" (");
  const port = name.includes("::") ? ` port ${it.port}/${it.protocol}` : `:${it.port}/${it.protocol}`;
  return name + port + (kind ? ` (${kind}` : "");
}

/** A document of the kind `explain`. */
export function explanation(answer, links) {
  return h("div", { class: "explanation" },
    answer.connections.map((it) => h("section", { class: "connection" },
      h("h3", null, h("span", { class: "name" }, `${it.from} → ${target(it)}`)),
      it.service && h("p", { class: "word" }, `by Service ${it.service}`),
      h("p", null, badge(it.allowed), it.pairs > 1 && h("span", { class: "word" },
        ` ${count(it.pairs, "pair")}, for example ${it.from_address} → ${it.to_address}`)),
      it.ends.map((end) => endAnswer(end, links)),
      it.ends.length === 0 && h("p", null, "No pod at either end: no policy applies."))),
    answer.notes.length > 0 && h("ul", { class: "notes" }, answer.notes.map((it) => h("li", null, it))));
}

function isolation(direction, policies, links) {
  return h("p", null, h("b", null, `${direction}: `), policies.length === 0
    ? "⚠ not isolated, everything is allowed"
    : ["isolated by ", joined(policies.map((it) => policyLink(it, links)))]);
}

/** A document of the kind `describe`. */
export function description(answer, links) {
  const list = (items) => items.length === 0 ? "none" : items.join(", ");
  return h("div", { class: "description" },
    answer.namespaces?.map((it) => h("section", null,
      h("h3", null, "Namespace ", h("span", { class: "name" }, it.namespace)),
      h("p", null, `${count(it.policies, "policy")}, ${count(it.pods, "pod")}; isolated for ingress ` +
        `${it.ingress_isolated}, for egress ${it.egress_isolated}`),
      it.unprotected.length > 0 && h("p", null, `⚠ unprotected: ${it.unprotected.join(", ")}`),
      it.exempt.length > 0 && h("p", null, `no policy applies to ${it.exempt.join(", ")}`))),
    answer.pods?.map((it) => h("section", null,
      h("h3", null, "Pod ", h("span", { class: "name" }, it.pod)),
      it.workload !== it.pod && h("p", null, `of ${it.workload}`),
      h("p", null, h("b", null, "addresses: "), list(it.addresses)),
      h("p", null, h("b", null, "labels: "), list(it.labels)),
      it.exempt && h("p", null, `no policy applies to it: ${it.exempt}`),
      isolation("ingress", it.ingress, links), isolation("egress", it.egress, links))),
    answer.policies?.map((it) => h("section", null,
      h("h3", null, "Policy ", policyLink(it.policy, links)),
      it.file && h("p", { class: "file" }, `${it.file}:${it.line}`),
      h("ul", null, it.sentences.map((text) => h("li", null, text))),
      h("p", null, h("b", null, "Selected pods: "), list(it.pods)))),
    answer.without_effect?.length > 0 && h("section", null, h("h3", null, "⚠ Without effect at present"),
      h("ul", null, answer.without_effect.map((it) => h("li", null, it)))));
}

function changes(title, sign, list, links) {
  if (list.length === 0) return null;
  return h("section", null, h("h3", null, `${sign} ${title}: ${list.length}`),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, h("table", null,
      h("thead", null, h("tr", null, ["From", "To", "Traffic", "Pairs", ""].map((it) => h("th", { scope: "col" }, it || h("span", { class: "visually-hidden" }, "Explanation"))))),
      h("tbody", null, list.map((it) => h("tr", null,
        h("td", null, it.from), h("td", null, it.to), h("td", null, it.traffic),
        h("td", { class: "number" }, `${it.pairs} of ${it.of}`),
        h("td", null, links.explain(it))))))));
}

/** A document of the kind `diff`. */
export function difference(answer, links) {
  const none = answer.opened.length + answer.closed.length === 0;
  const listed = (word, names) => names.length > 0 && h("li", null,
    `${word} workloads, whose connections are not listed: ${names.join(", ")}`);
  return h("div", { class: "difference" },
    none && h("div", { class: "empty" }, h("h2", null, "✓ No connection changes"),
      h("p", null, "Every pod may send and receive what it may send and receive now.")),
    changes("Closed connections", "✕", answer.closed, links),
    changes("Opened connections", "✓", answer.opened, links),
    h("ul", { class: "notes" }, listed("added", answer.added_workloads), listed("removed", answer.removed_workloads),
      answer.notes.map((it) => h("li", null, it))));
}
