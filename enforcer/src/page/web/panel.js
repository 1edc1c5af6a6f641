// The panel at the side: an explanation, or a description.

import { announce, button, copier, failure, h, show } from "./dom.js";
import { badge, description, explanation } from "./answers.js";

function quoted(word) {
  return /^[\w./:[\]-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** The panel: `context.api`, `context.model()`, `context.show(node)`. */
export function sidePanel(context) {
  const element = document.getElementById("panel");
  let before = null;
  let asked = 0;

  function open(title, ...content) {
    const closing = button("✕ Close", close, { class: "quiet", title: "Close (Escape)" });
    show(element, h("div", { class: "panel-head" }, h("h2", { tabindex: "-1", id: "panel-title" }, title), closing), content);
    if (element.hidden) before = document.activeElement;
    element.hidden = false;
    document.body.classList.add("with-panel");
    document.getElementById("panel-title").focus();
    element.scrollTop = 0;
  }

  function close() {
    if (element.hidden) return;
    element.hidden = true;
    document.body.classList.remove("with-panel");
    if (before?.isConnected) before.focus();
    else document.getElementById("main").focus();
  }

  // Only the newest question's answer is shown.
  async function fillIn(place, work) {
    asked += 1;
    const own = asked;
    show(place, h("p", { class: "loading" }, "Asking…"));
    try {
      const content = await work();
      if (own === asked) show(place, content);
    } catch (error) {
      if (own === asked) show(place, failure(error));
    }
  }

  // A report knows workloads only.
  function answered(end) {
    const node = context.model()?.byEnd.get(end);
    return !context.api.live && node?.type === "pod" ? node.parent.end : end;
  }

  function explain(from, to, whatIf) {
    const inputs = {
      from: h("input", { value: from, name: "from", required: true, spellcheck: "false", autocomplete: "off" }),
      to: h("input", { value: to, name: "to", required: true, spellcheck: "false", autocomplete: "off" }),
      all: h("input", { type: "checkbox", name: "all" }),
    };
    const place = h("div", { class: "answer" });
    const command = h("div", { class: "command" });
    const ask = () => fillIn(place, async () => {
      const [sender, receiver, all] = [inputs.from.value.trim(), inputs.to.value.trim(), inputs.all.checked];
      const line = `enforcer explain ${quoted(sender)} ${quoted(receiver)}${all ? " --all" : ""}`;
      show(command, h("code", null, line), copier(line, "Copy"));
      const question = { from: answered(sender), to: answered(receiver), all };
      if (whatIf) question.what_if = whatIf;
      const answer = await context.api.explain(question);
      announce(`${sender} to ${receiver}: ${answer.verdict}`);
      return [h("p", { class: "verdict" }, badge(answer.verdict), whatIf && h("span", { class: "word" }, " with the change")),
        explanation(answer, { policy: (name) => describePolicy(name) })];
    });
    const swap = button("⇄ Swap", () => {
      [inputs.from.value, inputs.to.value] = [inputs.to.value, inputs.from.value];
      ask();
    });
    inputs.all.addEventListener("change", ask);
    open("Explain",
      h("form", { class: "question", onsubmit: (event) => { event.preventDefault(); ask(); } },
        h("label", null, "From", inputs.from),
        h("label", null, "To", inputs.to, h("span", { class: "hint" }, ":PORT or :PORT/UDP at the end asks about one port")),
        h("div", { class: "actions" }, h("button", { class: "primary" }, "Explain"), swap,
          context.api.live && h("label", { class: "check" }, inputs.all, " every rule"))),
      place, command);
    ask();
  }

  function describe(name, node) {
    const place = h("div", { class: "answer" });
    const actions = node && h("div", { class: "actions" },
      button("Show in matrix", () => context.show(node)),
      button("Explain from here", () => explain(node.end, "outside")),
      button("Explain to here", () => explain("outside", node.end)));
    open("Describe", actions, place);
    return fillIn(place, async () => {
      const answer = await context.api.describe(name);
      announce(`Description of ${name}`);
      return description(answer, { policy: (policy) => describePolicy(policy) });
    });
  }

  async function describePolicy(name) {
    const [namespace, policy] = name.split("/");
    await describe(`${namespace}/netpol/${policy}`);
    if (!context.api.live) return;
    try {
      const { manifest } = await context.api.policy(name);
      const edit = button("Edit in What if", () => context.edit(manifest));
      element.append(h("details", { class: "manifest" }, h("summary", null, "Manifest"),
        h("div", { class: "actions" }, edit, copier(manifest, "Copy")),
        h("pre", { tabindex: "0" }, manifest)));
    } catch (error) {
      element.append(failure(error));
    }
  }

  return { explain, describe, describePolicy, close, isOpen: () => !element.hidden };
}
