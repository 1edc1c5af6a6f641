// A layered layout: edges lead from left to right where they can, and cross rarely. Pure.

const ROUNDS = 6;

/** The layer of each node: the longest path to it, without the edges that close a cycle. */
function layers(nodes, out) {
  const layer = new Map(nodes.map((it) => [it, 0]));
  const state = new Map();
  const order = [];
  const back = new Set();
  // Depth first, without recursion.
  for (const root of nodes) {
    if (state.has(root)) continue;
    const stack = [[root, 0]];
    state.set(root, "open");
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      const next = out.get(top[0])[top[1]];
      top[1] += 1;
      if (!next) {
        state.set(top[0], "done");
        order.push(top[0]);
        stack.pop();
      } else if (!state.has(next)) {
        state.set(next, "open");
        stack.push([next, 0]);
      } else if (state.get(next) === "open") {
        back.add(`${top[0].index} ${next.index}`);
      }
    }
  }
  for (const from of order.reverse()) {
    for (const to of out.get(from)) {
      if (!back.has(`${from.index} ${to.index}`)) layer.set(to, Math.max(layer.get(to), layer.get(from) + 1));
    }
  }
  return layer;
}

/** Columns of nodes: `{ columns, alone }`; nodes without edges are in `alone`. */
export function layered(nodes, edges) {
  const out = new Map(nodes.map((it) => [it, []]));
  const beside = new Map(nodes.map((it) => [it, []]));
  for (const { from, to } of edges) {
    if (from === to) continue;
    out.get(from).push(to);
    beside.get(from).push(to);
    beside.get(to).push(from);
  }
  const used = nodes.filter((it) => beside.get(it).length > 0);
  const alone = nodes.filter((it) => beside.get(it).length === 0);
  // Those that most others do not reach come first.
  const degree = (it) => beside.get(it).length - 2 * out.get(it).length;
  const layer = layers([...used].sort((a, b) => degree(a) - degree(b)), out);
  const filled = fold(used, layer);
  order(filled, beside);
  return { columns: filled, alone };
}

/** Columns of the layers' nodes. Long chains of small layers are folded to as many columns as look well. */
function fold(nodes, layer) {
  const found = [];
  for (const it of nodes) (found[layer.get(it)] ??= []).push(it);
  const most = Math.max(4, Math.round(Math.sqrt(nodes.length)));
  if (found.length <= most) return found;
  const columns = [];
  let placed = 0;
  for (const list of found) {
    const at = Math.min(most - 1, Math.floor((placed * most) / nodes.length));
    (columns[at] ??= []).push(...list);
    placed += list.length;
  }
  return columns.filter(Boolean);
}

/** Orders each column by the mean place of its nodes' neighbours. */
function order(columns, beside) {
  const place = new Map();
  const note = (column) => column.forEach((it, at) => place.set(it, (at + 0.5) / column.length));
  columns.forEach(note);
  for (let round = 0; round < ROUNDS; round += 1) {
    const sweep = round % 2 === 0 ? columns : [...columns].reverse();
    for (const column of sweep) {
      const mean = new Map(column.map((it) => {
        const others = beside.get(it).map((other) => place.get(other));
        return [it, others.reduce((sum, value) => sum + value, 0) / others.length];
      }));
      column.sort((a, b) => mean.get(a) - mean.get(b) || a.index - b.index);
      note(column);
    }
  }
}

/** The places of nodes: `x`, `y` of their corner by node, and the size of everything. */
export function places(columns, alone, { width, height, across, down, wide }) {
  const place = new Map();
  const tallest = Math.max(1, ...columns.map((it) => it.length));
  columns.forEach((column, x) => {
    const above = ((tallest - column.length) * (height + down)) / 2;
    column.forEach((it, y) => place.set(it, { x: x * (width + across), y: above + y * (height + down) }));
  });
  const bottom = columns.length > 0 ? tallest * (height + down) + (alone.length > 0 ? 48 : 0) : 0;
  const per = Math.max(1, Math.floor(wide / (width + 16)));
  alone.forEach((it, at) => place.set(it, {
    x: (at % per) * (width + 16),
    y: bottom + Math.floor(at / per) * (height + 12),
  }));
  const all = [...place.values()];
  return {
    place, bottom,
    width: Math.max(1, ...all.map((it) => it.x + width)),
    height: Math.max(1, ...all.map((it) => it.y + height)),
  };
}
