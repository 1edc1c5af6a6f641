// What if: policies to try, and the connections that they would open and close.

import { announce, button, count, empty, failure, h, show } from "./dom.js";
import { difference } from "./answers.js";

const EXAMPLE = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  namespace: NAMESPACE
  name: default-deny
spec:
  podSelector: {}
  policyTypes: [Ingress]
`;

/** The name of a workload or an address of a difference, as an end of a question. */
function end(model, name) {
  return model.byName.get(name)?.end ?? (name.startsWith("outside") ? "outside" : name);
}

/** The view: `context.api`, `context.explain(from, to, whatIf)`. */
export function whatIfView(context) {
  let model = null;
  const removed = new Set();
  const text = h("textarea", {
    id: "manifests", spellcheck: "false", autocomplete: "off", "aria-label": "Manifests",
    placeholder: "Paste or write NetworkPolicies, Pods or Namespaces.\nObjects of the same name are replaced.", onkeydown: keydown,
  });
  const load = h("select", { id: "load", onchange: () => edit() });
  const remove = h("select", { id: "remove", onchange: () => drop() });
  const chips = h("ul", { class: "chips", "aria-label": "Policies to remove" });
  const result = h("div", { class: "result", id: "what-if-result", role: "region", "aria-label": "Result", tabindex: "-1" });
  const compare = h("button", { type: "submit", class: "primary", id: "compare", title: "Ctrl+Enter" }, "Compare");
  const form = h("form", { class: "editor", onsubmit: (event) => { event.preventDefault(); ask(); } },
    h("div", { class: "toolbar" }, h("label", null, "Edit ", load), h("label", null, "Remove ", remove),
      button("Default deny", () => append(EXAMPLE.replace("NAMESPACE", model?.roots[0]?.name ?? "default"))),
      button("Clear", () => { text.value = ""; removed.clear(); draw(); idle(); })),
    chips, text, h("div", { class: "actions" }, compare, h("span", { class: "hint" }, "Nothing is changed in the cluster.")));
  const element = h("section", { class: "what-if", "aria-label": "What if" }, context.api.live ? [form, result] :
    empty("A report can't compare", "It is one moment of a cluster. To try policies:", h("pre", { tabindex: "0" }, "enforcer ui\nenforcer diff cluster ./policies")));
  idle();

  function idle() {
    show(result, empty("What would change?", "Write policies, or load one and edit it; then compare. The result lists every connection that they open and close, before anything is applied."));
  }

  function update(next) {
    if (next === model) return;
    model = next;
    const names = model.document.policies.map((it) => it.name);
    const options = (word) => [h("option", { value: "" }, word), names.map((it) => h("option", { value: it }, it))];
    show(load, options("a policy…"));
    show(remove, options("a policy…"));
    for (const it of removed) if (!names.includes(it)) removed.delete(it);
    draw();
  }

  function draw() {
    chips.hidden = removed.size === 0;
    show(chips, [...removed].map((name) => h("li", null, `− ${name} `,
      button("✕", () => { removed.delete(name); draw(); }, { class: "quiet", "aria-label": `Keep ${name}` }))));
  }

  function append(more) {
    const before = text.value.trimEnd();
    text.value = before ? `${before}\n---\n${more}` : more;
    text.focus();
  }

  async function edit() {
    const name = load.value;
    load.value = "";
    if (!name) return;
    try {
      const { manifest } = await context.api.policy(name);
      append(manifest);
      announce(`${name} is in the editor`);
    } catch (error) {
      show(result, failure(error));
    }
  }

  function drop() {
    if (remove.value) removed.add(remove.value);
    announce(`${remove.value} is removed`);
    remove.value = "";
    draw();
  }

  function keydown(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      ask();
    }
  }

  async function ask() {
    const change = { manifests: text.value, remove: [...removed] };
    if (!change.manifests.trim() && change.remove.length === 0) return idle();
    show(result, h("p", { class: "loading" }, "Comparing…"));
    try {
      const answer = await context.api.diff(change);
      const explain = (it) => button("Explain", () => context.explain(end(model, it.from), end(model, it.to), change), {
        class: "link", "aria-label": `Explain ${it.from} to ${it.to}`,
      });
      show(result, difference(answer, { explain }));
      announce(`${count(answer.closed.length, "connection")} closed, ${answer.opened.length} opened`);
    } catch (error) {
      show(result, failure(error), lines(error.message));
    }
  }

  // Buttons to the lines that an error names.
  function lines(message) {
    const found = [...new Set([...message.matchAll(/what-if:(\d+)/g)].map((it) => Number(it[1])))];
    return found.length > 0 && h("div", { class: "actions" }, found.slice(0, 5).map((line) => button(`Line ${line}`, () => goTo(line))));
  }

  function goTo(line) {
    const before = text.value.split("\n").slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    const length = text.value.slice(before).split("\n")[0].length;
    text.focus();
    text.setSelectionRange(before, before + length);
    text.scrollTop = Math.max(0, (line - 5) * 20);
  }

  return { element, update, shown() { if (context.api.live) text.focus(); }, set: append };
}
