// Search: pods, workloads, namespaces and policies by name; "A > B" explains.

import { announce, count, h, show } from "./dom.js";

const MOST = 12;

/** The entries that fit best. Pure. */
export function matches(entries, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return [];
  const scored = entries.flatMap((it) => {
    const name = it.name.toLowerCase();
    const whole = `${it.type} ${name}`;
    if (!words.every((word) => whole.includes(word))) return [];
    const last = name.slice(name.indexOf("/") + 1);
    const start = words.some((word) => last.startsWith(word)) ? 0 : 1;
    return [{ it, score: start * 1000 + it.rank * 100 + name.length }];
  });
  return scored.sort((a, b) => a.score - b.score).slice(0, MOST).map(({ it }) => it);
}

/** What can be found in a model. Pure. */
export function entries(model) {
  const ranks = { namespace: 0, workload: 1, policy: 2, pod: 3 };
  const nodes = model.nodes.filter((it) => it.type in ranks);
  const alone = (it) => it.type !== "pod" || it.parent.name !== it.name;
  const found = nodes.filter(alone).map((node) => ({ type: node.type, name: node.name, rank: ranks[node.type], node }));
  return [...found, ...model.document.policies.map((it) => ({ type: "policy", name: it.name, rank: ranks.policy }))];
}

/** "A > B" or "A → B". Pure. */
export function question(text) {
  const found = /^\s*(\S+)\s*(?:>|→|->)\s*(\S+)\s*$/.exec(text);
  return found && { from: found[1], to: found[2] };
}

/** The search box: `context.choose(entry)`, `context.explain(from, to)`. */
export function searchBox(context) {
  let all = [];
  let found = [];
  let active = -1;
  const list = h("ul", { id: "found", role: "listbox", "aria-label": "Found", hidden: true });
  const input = h("input", {
    id: "search", type: "text", role: "combobox", "aria-expanded": "false", "aria-controls": "found",
    "aria-autocomplete": "list", "aria-label": "Search, or ask A > B:PORT", placeholder: "Search, or ask  a/web > b/db:5432",
    autocomplete: "off", spellcheck: "false", oninput: refresh, onkeydown: keydown, onblur: () => close(), onfocus: refresh,
  });

  function close() {
    list.hidden = true;
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function refresh() {
    found = matches(all, input.value);
    active = found.length > 0 ? 0 : -1;
    draw();
    if (input.value.trim() && !question(input.value)) announce(found.length === 0 ? "Nothing found" : `${count(found.length, "result")}`);
  }

  function draw() {
    const text = input.value.trim();
    if (!text) return close();
    const asked = question(text);
    if (asked) {
      show(list, h("li", { role: "option", id: "found-0", "aria-selected": "true", onmousedown: (event) => take(event, 0) },
        h("span", { class: "kind" }, "explain"), `${asked.from} → ${asked.to}`));
    } else if (found.length === 0) {
      show(list, h("li", { role: "option", "aria-disabled": "true", class: "nothing" }, `Nothing is called “${text}”`));
    } else {
      show(list, found.map((it, at) => h("li", {
        role: "option", id: `found-${at}`, "aria-selected": String(at === active), onmousedown: (event) => take(event, at),
      }, h("span", { class: "kind" }, it.type), it.name)));
    }
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    if (active >= 0 || asked) input.setAttribute("aria-activedescendant", `found-${Math.max(0, active)}`);
    else input.removeAttribute("aria-activedescendant");
  }

  function take(event, at) {
    event.preventDefault();
    const asked = question(input.value);
    const entry = found[at];
    if (!asked && !entry) return;
    input.value = "";
    input.blur();
    close();
    if (asked) context.explain(asked.from, asked.to);
    else context.choose(entry);
  }

  function keydown(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key in steps && found.length > 0) {
      active = (active + steps[event.key] + found.length) % found.length;
      draw();
      event.preventDefault();
    } else if (event.key === "Enter") {
      take(event, active);
    } else if (event.key === "Escape") {
      input.value = "";
      close();
      event.stopPropagation();
    }
  }

  return {
    element: h("div", { class: "search", role: "search" }, input, list),
    update(model) { all = entries(model); },
    focus() { input.focus(); input.select(); },
  };
}
