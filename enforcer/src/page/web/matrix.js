// The matrix: rows send, columns receive. Only what is in view has elements.

import { announce, button, count, empty, h, show } from "./dom.js";
import { STATES, cell, traffic } from "./model.js";
import { expandTo, reveal, startLevel, visible } from "./axis.js";

const SIZE = 24;
const HEAD = 160;
const SIDE = 248;
// Rows and columns beyond the view, so that few scroll events change elements.
const SPARE = 8;
const LEVELS = ["Namespaces", "Workloads", "Pods"];

/** The view: `context.explain(from, to)`, `context.describe(node)`. */
export function matrixView(context) {
  let model = null;
  let rows = [];
  let columns = [];
  let expanded = { rows: new Set(), columns: new Set() };
  let wanted;
  let current = { row: 0, column: 0 };
  let drawn = "";
  let built = new Map();

  const headers = h("div", { role: "row", class: "heads", "aria-rowindex": "1" });
  const body = h("div", { class: "rows" });
  const sizer = h("div", { class: "sizer" }, headers, body);
  const grid = h("div", {
    class: "grid", role: "grid", tabindex: "0", id: "grid",
    "aria-label": "Connections: rows send, columns receive",
    onscroll: () => requestAnimationFrame(draw), onkeydown: keydown, onclick: click, onmousemove: hover,
    onfocus: () => mark(),
  }, sizer);
  const status = h("p", { class: "status", id: "cell-status" });
  const filter = h("input", {
    id: "port", size: "9", placeholder: "any port", spellcheck: "false", autocomplete: "off", oninput: refilter,
  });
  const levels = LEVELS.map((name, level) => button(name, () => setLevel(level), { "data-level": String(level) }));
  const legend = h("ul", { class: "legend", "aria-label": "Signs" }, Object.entries(STATES).map(([state, it]) =>
    h("li", null, h("span", { class: `sample ${state}`, "aria-hidden": "true" }, it.sign), ` ${it.text}`)));
  const toolbar = h("div", { class: "toolbar" },
    h("div", { class: "segments", role: "group", "aria-label": "Level" }, levels),
    h("label", null, "Port ", filter), legend);
  const none = h("div", { hidden: true });
  const element = h("section", { class: "matrix", "aria-label": "Matrix" }, toolbar, none, grid, status);
  new ResizeObserver(() => draw()).observe(grid);

  function update(next) {
    const first = model === null;
    model = next;
    if (first) expanded = { rows: expandTo(model, startLevel(model)), columns: expandTo(model, startLevel(model)) };
    const bare = model.document.pods.length === 0;
    none.hidden = !bare;
    grid.hidden = status.hidden = bare;
    if (bare) show(none, empty("No pods", "The source has no pods to which policies can apply. Add workloads or pods to the manifests, or choose another source."));
    layout();
  }

  function layout() {
    rows = visible(model, expanded.rows);
    columns = visible(model, expanded.columns);
    current.row = Math.min(current.row, rows.length - 1);
    current.column = Math.min(current.column, columns.length - 1);
    sizer.style.width = `${SIDE + columns.length * SIZE}px`;
    // With room for a scroll bar.
    grid.style.width = `${SIDE + columns.length * SIZE + 18}px`;
    sizer.style.height = `${HEAD + rows.length * SIZE}px`;
    grid.setAttribute("aria-rowcount", String(rows.length + 1));
    grid.setAttribute("aria-colcount", String(columns.length + 1));
    for (const [level, it] of levels.entries()) {
      const all = expandTo(model, level);
      const is = all.size === expanded.rows.size && [...all].every((end) => expanded.rows.has(end));
      it.setAttribute("aria-pressed", String(is));
    }
    reset();
  }

  function reset() {
    drawn = "";
    body.replaceChildren();
    draw();
  }

  function setLevel(level) {
    expanded = { rows: expandTo(model, level), columns: expandTo(model, level) };
    current = { row: 0, column: 0 };
    grid.scrollTo(0, 0);
    layout();
    announce(`${count(rows.length, "row")}, ${count(columns.length, "column")}`);
  }

  function refilter() {
    const read = traffic(filter.value);
    filter.setAttribute("aria-invalid", String(read === null));
    wanted = read ?? undefined;
    reset();
    if (read !== null) announce(read ? `Cells show ${filter.value}` : "Cells show any port");
  }

  // Elements for what is in view, in steps of SPARE.
  function draw() {
    if (!model || !grid.clientHeight) return;
    const step = (value) => Math.max(0, Math.floor(value / SIZE / SPARE) * SPARE);
    const top = step(grid.scrollTop);
    const left = step(grid.scrollLeft);
    const bottom = Math.min(rows.length, top + Math.ceil(grid.clientHeight / SIZE / SPARE) * SPARE + SPARE);
    const right = Math.min(columns.length, left + Math.ceil(grid.clientWidth / SIZE / SPARE) * SPARE + SPARE);
    const window = `${left} ${right}`;
    if (`${top} ${bottom} ${window}` === drawn) return;
    if (drawn === "") built = new Map();
    if (!drawn.endsWith(` ${window}`)) show(headers, corner(), range(left, right).map(head));
    drawn = `${top} ${bottom} ${window}`;
    for (const [at, it] of built) {
      if (at >= top && at < bottom) continue;
      it.element.remove();
      built.delete(at);
    }
    for (const at of range(top, bottom)) {
      if (!built.has(at)) built.set(at, row(at));
      fill(built.get(at), at, left, right);
    }
    mark(false);
  }

  function corner() {
    return h("div", { role: "columnheader", class: "corner", "aria-colindex": "1" },
      h("span", { class: "to" }, "to →"), h("span", { class: "from" }, "from ↓"));
  }

  function name(node, open) {
    const chevron = node.children.length > 0 && h("span", { class: "chevron", "aria-hidden": "true" }, open ? "▾" : "▸");
    const size = node.level < 2 && node.children.length > 0 && h("span", { class: "size" }, String(node.pods));
    return [h("span", { class: "twist" }, chevron), h("span", { class: "label" }, node.label), size];
  }

  function tags(node, open) {
    const pods = node.level < 2 && node.type !== "outside" ? `, ${count(node.pods, "pod")}` : "";
    return {
      class: `level${node.level} ${node.type}`, title: node.name, "aria-label": `${node.type} ${node.name}${pods}`,
      "aria-expanded": node.children.length > 0 ? String(open) : null,
    };
  }

  function head(at) {
    const node = columns[at];
    const open = expanded.columns.has(node.end);
    const tag = tags(node, open);
    const element = h("div", {
      ...tag, role: "columnheader", id: `cell--1-${at}`, "data-column": at, "data-row": -1, "aria-colindex": at + 2,
      class: `head ${tag.class}`,
    }, name(node, open));
    element.style.left = `${SIDE + at * SIZE}px`;
    return element;
  }

  // Elements are kept while they are in view: most steps change a few.
  function row(at) {
    const node = rows[at];
    const open = expanded.rows.has(node.end);
    const tag = tags(node, open);
    const element = h("div", { role: "row", class: `row ${tag.class}`, "aria-rowindex": at + 2 },
      h("div", {
        ...tag, role: "rowheader", id: `cell-${at}--1`, "data-row": at, "data-column": -1, "aria-colindex": "1",
        class: `side ${tag.class}`,
      }, name(node, open)));
    element.style.top = `${at * SIZE}px`;
    body.append(element);
    return { element, cells: new Map() };
  }

  function fill({ element, cells }, at, left, right) {
    for (const [column, it] of cells) {
      if (column >= left && column < right) continue;
      it.remove();
      cells.delete(column);
    }
    for (const column of range(left, right)) {
      if (cells.has(column)) continue;
      cells.set(column, square(at, column));
      element.append(cells.get(column));
    }
  }

  function square(row, column) {
    const [from, to] = [rows[row], columns[column]];
    const { state, text } = cell(model, from, to, wanted);
    const element = h("div", {
      role: "gridcell", id: `cell-${row}-${column}`, class: `cell ${state}`, "data-row": row, "data-column": column,
      "aria-colindex": column + 2, "aria-label": `${from.name} to ${to.name}: ${text}`,
    }, STATES[state].sign);
    element.style.left = `${SIDE + column * SIZE}px`;
    return element;
  }

  function sentence({ row, column }) {
    const [from, to] = [rows[row], columns[column]];
    if (!from) return to ? `${to.name}: receives` : "";
    if (!to) return `${from.name}: sends`;
    const { state, text, total } = cell(model, from, to, wanted);
    return [h("b", null, `${from.name} → ${to.name}`), ` ${STATES[state].sign} ${text}`, total > 1 ? ` · ${count(total, "pair")}` : ""];
  }

  // Marks the current cell, and its row and column.
  function mark(scroll = true) {
    if (scroll) reach();
    for (const it of element.querySelectorAll(".current, .aligned")) it.classList.remove("current", "aligned");
    const at = document.getElementById(`cell-${current.row}-${current.column}`);
    at?.classList.add("current");
    document.getElementById(`cell-${current.row}--1`)?.classList.add("aligned");
    document.getElementById(`cell--1-${current.column}`)?.classList.add("aligned");
    if (at) grid.setAttribute("aria-activedescendant", at.id);
    else grid.removeAttribute("aria-activedescendant");
    show(status, sentence(current));
  }

  function reach() {
    const into = (offset, size, position) => {
      if (position < 0) return offset;
      const [start, end] = [position * SIZE, (position + 1) * SIZE];
      return start < offset ? start : Math.max(offset, end - size);
    };
    grid.scrollTop = into(grid.scrollTop, grid.clientHeight - HEAD, current.row);
    grid.scrollLeft = into(grid.scrollLeft, grid.clientWidth - SIDE, current.column);
    draw();
  }

  function keydown(event) {
    const page = Math.max(1, Math.floor((grid.clientHeight - HEAD) / SIZE) - 1);
    const { row, column } = current;
    const moves = {
      ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
      PageUp: [Math.max(0, row - page), column], PageDown: [row + page, column],
      Home: event.ctrlKey ? [0, 0] : [row, 0],
      End: event.ctrlKey ? [rows.length - 1, columns.length - 1] : [row, columns.length - 1],
    };
    if (moves[event.key] && !event.altKey && !event.metaKey) {
      const [to, across] = moves[event.key];
      const next = { row: clamp(to, rows.length), column: clamp(across, columns.length) };
      if (next.row >= 0 || next.column >= 0) current = next;
      mark();
    } else if (event.key === "Enter") {
      act();
    } else if (event.key === " ") {
      toggle();
    } else {
      return;
    }
    event.preventDefault();
  }

  function clamp(value, length) {
    return Math.max(-1, Math.min(length - 1, value));
  }

  function act() {
    const [from, to] = [rows[current.row], columns[current.column]];
    if (from && to) context.explain(from, to);
    else context.describe(from ?? to);
  }

  function toggle() {
    const side = current.column < 0 ? "rows" : current.row < 0 ? "columns" : null;
    const node = side && (side === "rows" ? rows[current.row] : columns[current.column]);
    if (!node || node.children.length === 0) return;
    const set = expanded[side];
    if (!set.delete(node.end)) set.add(node.end);
    layout();
    announce(`${node.name} ${set.has(node.end) ? "expanded" : "collapsed"}`);
  }

  function place(event) {
    const at = event.target.closest("[data-row]");
    return at && { row: Number(at.dataset.row), column: Number(at.dataset.column) };
  }

  function click(event) {
    const at = place(event);
    if (!at) return;
    current = at;
    mark(false);
    if (event.target.closest(".twist")?.firstChild) toggle();
    else act();
  }

  function hover(event) {
    const at = place(event);
    if (at && at.row >= 0 && at.column >= 0) show(status, sentence(at));
  }

  /** Goes to a node's row, or to the cell of two nodes. */
  function go(from, to) {
    reveal(expanded.rows, from);
    if (to) reveal(expanded.columns, to);
    layout();
    current = { row: rows.indexOf(from), column: to ? columns.indexOf(to) : -1 };
    mark();
    grid.focus();
  }

  return { element, update, shown: draw, go };
}

function range(from, to) {
  return Array.from({ length: Math.max(0, to - from) }, (_, at) => from + at);
}
