// The graph of workloads: flows and drops as agents saw them, and what policies allow.

import { announce, button, count, empty, h, s, show } from "./dom.js";
import { edges, scope, words } from "./edges.js";
import { layered, places } from "./layout.js";

const BOX = { width: 184, height: 40, across: 112, down: 16, wide: 1100 };
const MARGIN = 24;
const NAME = 22;

function shorten(text) {
  return text.length > NAME ? `${text.slice(0, NAME - 1)}…` : text;
}

/** The view: `context.explain(from, to)`, `context.describe(node)`. */
export function graphView(context) {
  let model = null;
  let activity = null;
  let space = "";
  let focus = null;
  let zoom = 1;

  const select = h("select", { id: "scope", onchange: () => { space = select.value; focus = null; draw(); } });
  const policies = h("input", { type: "checkbox", checked: true, onchange: draw });
  const notice = h("p", { class: "notice", id: "graph-notice" });
  const canvas = h("div", { class: "canvas", tabindex: "0", role: "region", "aria-label": "Graph" });
  const table = h("div", { class: "edges scroll", tabindex: "0", role: "region", "aria-label": "Connections of the graph" });
  const zooms = h("div", { class: "segments", role: "group", "aria-label": "Zoom" },
    button("−", () => scale(0.8), { "aria-label": "Smaller" }), button("Fit", () => fit(), {}),
    button("+", () => scale(1.25), { "aria-label": "Larger" }));
  const legend = h("ul", { class: "legend", "aria-label": "Lines" },
    [["seen", "seen by agents"], ["denied", "✕ denied"], ["policy", "allowed by policy, not seen"]].map(([kind, text]) =>
      h("li", null, s("svg", { class: "sample-line", width: 28, height: 10, "aria-hidden": "true" },
        s("path", { class: `line ${kind}`, d: "M0 5H28" })), ` ${text}`)), h("li", null, "⚠ pods that no policy isolates"));
  const element = h("section", { class: "graph", "aria-label": "Graph of workloads" },
    h("div", { class: "toolbar" }, h("label", null, "Namespace ", select),
      h("label", { class: "check" }, policies, " policies"), zooms, legend), notice, canvas, table);

  function update(next, seen) {
    const changed = next !== model;
    model = next;
    activity = seen;
    if (changed) {
      const names = model.roots.map((it) => it.name);
      show(select, h("option", { value: "" }, "all"), names.map((it) => h("option", { value: it }, it)));
      if (!names.includes(space)) space = "";
      select.value = space;
      focus = focus && model.byEnd.get(focus.end);
    }
    if (element.isConnected) draw();
  }

  function draw() {
    if (!model) return;
    const nodes = scope(model, space);
    const found = edges(model, nodes, activity, policies.checked);
    const about = focus && nodes.includes(focus) ? found.filter((it) => it.from === focus || it.to === focus) : found;
    const agents = activity?.agents?.length ?? 0;
    show(notice, agents > 0 ? `Flows and drops of ${count(agents, "agent")}.` : "No agents: the lines are what policies allow. ",
      agents === 0 && context.live && h("code", null, "enforcer ui --agent 127.0.0.1:9469"),
      nodes.some((it) => it.type === "workload") || model.roots.length === 0 ? null : " Namespaces are shown: choose one for its workloads.",
      focus && [" ", button(`Show all, not only ${focus.name}`, () => { focus = null; draw(); }, { class: "link" })]);
    if (nodes.length === 1) {
      show(canvas, empty("No workloads", "The source has no pods to which policies can apply."));
      return show(table);
    }
    picture(nodes, found, new Set(about));
    list(about);
  }

  function picture(nodes, found, about) {
    const { columns, alone } = layered(nodes, found);
    const at = places(columns, alone, BOX);
    const [width, height] = [at.width + 2 * MARGIN, at.height + 2 * MARGIN];
    const busy = Math.max(1, ...found.map((it) => it.allowed + it.denied));
    const lines = found.filter((it) => it.from !== it.to).map((it) => line(it, at.place, busy, about.has(it)));
    const near = new Set([...about].flatMap((it) => [it.from, it.to]));
    const boxes = nodes.map((it) => box(it, at.place.get(it), !focus || near.has(it) || it === focus));
    const heading = alone.length > 0 && columns.length > 0 &&
      s("text", { class: "caption", x: 0, y: at.bottom - 12 }, "No restricted or observed connections");
    const svg = s("svg", { viewBox: `${-MARGIN} ${-MARGIN} ${width} ${height}`, role: "group", "aria-label": count(nodes.length, "node") },
      s("g", null, lines), heading, s("g", null, boxes));
    svg.dataset.width = String(width);
    svg.dataset.height = String(height);
    show(canvas, svg);
    fit(zoom);
  }

  function line(edge, place, busy, near) {
    const [a, b] = [place.get(edge.from), place.get(edge.to)];
    const y = (it) => it.y + BOX.height / 2;
    const forward = b.x > a.x;
    const [x1, x2] = forward ? [a.x + BOX.width, b.x] : [a.x, b.x + BOX.width];
    const bend = Math.max(48, Math.abs(x2 - x1) / 2) * (forward ? 1 : -1);
    // Lines back, and lines within a column, leave and enter at the same side.
    const within = a.x === b.x;
    // Lines past another column sag below the boxes there.
    const sag = Math.abs(b.x - a.x) > BOX.width + BOX.across + 1 ? BOX.height + 20 : 0;
    const path = within
      ? `M${a.x} ${y(a)}C${a.x - 64} ${y(a)} ${b.x - 64} ${y(b)} ${b.x - 6} ${y(b)}`
      : `M${x1} ${y(a)}C${x1 + bend} ${y(a) + sag} ${x2 - bend} ${y(b) + sag} ${x2 - (forward ? 6 : -6)} ${y(b)}`;
    const tip = within || forward ? `M${(within ? b.x : x2) - 8} ${y(b) - 4}l8 4l-8 4z` : `M${x2 + 8} ${y(b) - 4}l-8 4l8 4z`;
    const kind = edge.denied ? "denied" : edge.allowed ? "seen" : "policy";
    const weight = 1.25 + (2.75 * Math.log1p(edge.allowed + edge.denied)) / Math.log1p(busy);
    const drawn = s("path", { class: `line ${kind}`, d: path, "stroke-width": kind === "policy" ? 1.25 : weight.toFixed(2) });
    const [mx, my] = [within ? a.x - 48 : (x1 + x2) / 2, (y(a) + y(b)) / 2 + 0.75 * sag];
    return s("g", { class: `edge ${near ? "" : "far"}`, onclick: () => context.explain(edge.from, edge.to) },
      s("title", null, `${edge.from.name} → ${edge.to.name}: ${words(edge)}`),
      s("path", { class: "touch", d: path }), drawn, s("path", { class: `tip ${kind}`, d: tip }),
      edge.denied > 0 && s("g", { class: "cross" }, s("circle", { cx: mx, cy: my, r: 8 }),
        s("path", { d: `M${mx - 3} ${my - 3}l6 6m0 -6l-6 6` })));
  }

  function box(node, { x, y }, near) {
    const unguarded = [...node.kinds.keys()].every((it) => !model.ingress.has(it) && !model.egress.has(it));
    const inside = node.type !== "outside";
    const small = inside ? `${node.type === "workload" ? node.namespace : "namespace"} · ${count(node.pods, "pod")}` : "addresses of no pod";
    const warning = unguarded && inside;
    const pick = () => {
      focus = focus === node ? null : node;
      announce(focus ? `Only connections of ${node.name}` : "All connections");
      draw();
      document.getElementById(`node-${node.index}`)?.focus();
    };
    return s("g", {
      class: `node ${node.type} ${near ? "" : "far"} ${warning ? "unguarded" : ""}`, id: `node-${node.index}`, tabindex: "0",
      role: "button", "aria-pressed": String(focus === node), "data-name": node.name,
      transform: `translate(${x} ${y})`, onclick: pick,
      ondblclick: () => context.describe(node),
      onkeydown: (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(); }
        if (event.key === "d") context.describe(node);
      },
    }, s("title", null, `${node.name}, ${small}${warning ? ", isolated in no direction" : ""}`), s("rect", { width: BOX.width, height: BOX.height, rx: 6 }),
      s("text", { x: 12, y: 17, class: "name" }, shorten(node.label)), s("text", { x: 12, y: 32, class: "small" }, shorten(small)),
      warning && s("text", { x: BOX.width - 22, y: 17, class: "small" }, "⚠"));
  }

  function list(about) {
    const weight = (it) => [it.denied, it.allowed];
    const sorted = [...about].sort((a, b) => weight(b)[0] - weight(a)[0] || weight(b)[1] - weight(a)[1] || a.from.index - b.from.index);
    if (sorted.length === 0) {
      return show(table, empty("No connections to show", "No policy restricts these pods, and no agent saw a connection: everything is allowed."));
    }
    show(table, h("table", null,
      h("caption", null, focus ? `Connections of ${focus.name}` : "Connections"),
      h("thead", null, h("tr", null, ["From", "To", "Connections", ""].map((it) => h("th", { scope: "col" }, it || h("span", { class: "visually-hidden" }, "Explanation"))))),
      h("tbody", null, sorted.slice(0, 200).map((it) => h("tr", null, h("td", null, it.from.name), h("td", null, it.to.name), h("td", null, words(it)),
        h("td", null, button("Explain", () => context.explain(it.from, it.to), { class: "link", "aria-label": `Explain ${it.from.name} to ${it.to.name}` })))))),
      sorted.length > 200 && h("p", { class: "notice" }, `${sorted.length - 200} more: choose a namespace.`));
  }

  function scale(factor) {
    fit(Math.min(3, Math.max(0.2, zoom * factor)));
  }

  // Without a factor: as large as the space allows, but not larger than life.
  function fit(factor) {
    const svg = canvas.querySelector("svg[viewBox]");
    if (!svg) return;
    const [width, height] = [Number(svg.dataset.width), Number(svg.dataset.height)];
    zoom = factor ?? Math.min(1, canvas.clientWidth / width, canvas.clientHeight / height);
    svg.setAttribute("width", String(width * zoom));
    svg.setAttribute("height", String(height * zoom));
  }

  return { element, update, shown() { draw(); fit(); } };
}
