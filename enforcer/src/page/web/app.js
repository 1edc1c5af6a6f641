// The page: views, the panel, search, keys, and what is read again and again.

import { announce, button, count, failure, h, show } from "./dom.js";
import { themeSwitch } from "./theme.js";
import { connect } from "./api.js";
import { prepare } from "./model.js";
import { sidePanel } from "./panel.js";
import { searchBox } from "./search.js";
import { matrixView } from "./matrix.js";
import { graphView } from "./graph.js";
import { whatIfView } from "./whatif.js";
import { activityView } from "./activity.js";
import { coverageView } from "./coverage.js";

const PERIOD = 5000;
const KEYS = [["1 – 5", "the views"], ["/", "search; A > B explains"], ["T", "light, dark, system"], ["Escape", "close the panel"],
  ["Arrows, Home, End, Page", "move in the matrix"], ["Enter", "explain a cell, describe a row, show a node's connections"],
  ["Space", "expand or collapse a row or column"], ["Ctrl + Enter", "compare, in What if"], ["?", "these keys"]];

const api = connect();
const main = document.getElementById("main");
let model = null;
let activity = null;
let view = "matrix";
let broken = false;

const context = {
  api,
  live: api.live,
  model: () => model,
  explain: (from, to, change) => panel.explain(from.end ?? from, to.end ?? to, change),
  describe: (node) => (node.subject ? panel.describe(node.subject, node) : panel.explain("outside", model.roots[0]?.end ?? "outside")),
  policy: (name) => panel.describePolicy(name),
  namespace: (name) => panel.describe(`ns/${name}`, model.byEnd.get(`ns/${name}`)),
  show: (node) => { go("matrix"); views.matrix.go(node); },
  edit: (manifest) => { go("what-if"); views["what-if"].set(manifest); },
  choose: (entry) => (entry.node ? context.describe(entry.node) : panel.describePolicy(entry.name)),
};
const panel = sidePanel(context);
const search = searchBox(context);
const views = {
  matrix: matrixView(context), graph: graphView(context), "what-if": whatIfView(context),
  audit: activityView(context), coverage: coverageView(context),
};
const titles = { matrix: "Matrix", graph: "Graph", "what-if": "What if", audit: "Audit", coverage: "Coverage" };
const tabs = Object.entries(titles).map(([name, title]) => h("a", { href: `#${name}`, id: `tab-${name}` }, title));
const summary = h("p", { class: "summary", id: "summary" });
const again = button("↻", () => refresh(true), { class: "quiet", id: "refresh", title: "Read again", "aria-label": "Read again" });
const help = h("dialog", { "aria-labelledby": "keys-title" }, h("h2", { id: "keys-title" }, "Keys"),
  h("dl", null, KEYS.map(([key, text]) => [h("dt", null, h("kbd", null, key)), h("dd", null, text)])),
  h("form", { method: "dialog" }, h("button", { class: "primary" }, "Close")));

show(document.getElementById("top"),
  h("div", { class: "bar-top" }, h("h1", null, "enforcer"), h("nav", { "aria-label": "Views" }, tabs), search.element,
    h("div", { class: "tools" }, api.live && again, themeSwitch(), button("?", () => help.showModal(), { class: "quiet", "aria-label": "Keys" }))),
  summary);
document.body.append(help);

function go(name) {
  if (location.hash !== `#${name}`) history.pushState(null, "", `#${name}`);
  route();
}

function route() {
  const wanted = location.hash.slice(1);
  view = wanted in views ? wanted : "matrix";
  for (const tab of tabs) {
    if (tab.id === `tab-${view}`) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  document.title = `${titles[view]} · enforcer`;
  if (model && !broken && main.firstElementChild !== views[view].element) {
    show(main, views[view].element);
    views[view].update(model, activity);
    views[view].shown();
  }
}

function describeSource() {
  const { document: cluster } = model;
  const unprotected = cluster.namespaces.reduce((sum, it) => sum + it.unprotected.length, 0);
  show(summary, h("span", { class: "source", title: cluster.source }, cluster.source),
    api.live ? null : h("span", null, "report of ", api.data.at), h("span", null, count(model.roots.length, "namespace")),
    h("span", null, count(cluster.workloads.length, "workload")), h("span", null, count(cluster.pods.length, "pod")),
    h("span", null, count(cluster.policies.length, "policy")),
    h("span", null, unprotected === 0 ? "✓ no unprotected pods" : `⚠ ${count(unprotected, "unprotected pod")}`),
    cluster.without_effect.length > 0 && h("span", null, `⚠ ${cluster.without_effect.length} without effect`));
}

async function refresh(fresh) {
  try {
    const next = await api.model(fresh);
    const seen = await api.activity();
    const changed = next !== null;
    const active = JSON.stringify(seen) !== JSON.stringify(activity);
    activity = seen;
    if (changed) {
      model = prepare(next);
      search.update(model);
      describeSource();
    }
    if (broken || (changed && main.firstElementChild !== views[view].element)) {
      broken = false;
      show(main);
      route();
    } else if (changed || active) {
      views[view].update(model, activity);
    }
    if (fresh) announce(changed ? "Read again" : "Nothing has changed");
  } catch (error) {
    // What is known stays; a fault of the source is shown above it.
    if (model === null || error.status === 401) show(main, failure(error));
    else show(summary, h("span", { class: "bad", role: "alert" }, `⚠ ${error.message.split("\n")[0]}`));
    broken = model === null || error.status === 401;
    api.tag = null;
  }
}

function keydown(event) {
  if (event.key === "Escape" && panel.isOpen() && !help.open) panel.close();
  const typing = event.target.closest?.("input, textarea, select");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  const names = Object.keys(views);
  const actions = {
    "/": () => search.focus(), "?": () => help.showModal(), t: () => document.getElementById("theme").click(),
    ...Object.fromEntries(names.map((name, at) => [String(at + 1), () => go(name)])),
  };
  const action = actions[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

document.addEventListener("keydown", keydown);
document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
window.addEventListener("hashchange", route);
window.addEventListener("popstate", route);
refresh(false).then(() => {
  if (!api.live) return;
  setInterval(() => { if (!document.hidden) refresh(false); }, PERIOD);
});
