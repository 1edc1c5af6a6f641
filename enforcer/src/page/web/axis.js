// The rows or columns of the matrix: the tree, as far as it is expanded. Pure.

/** The nodes to show, in order. */
export function visible(model, expanded) {
  const list = [];
  const visit = (node) => {
    list.push(node);
    if (expanded.has(node.end)) node.children.forEach(visit);
  };
  model.roots.forEach(visit);
  list.push(model.outside);
  return list;
}

/** The nodes to expand so that this level is shown: 0 namespaces, 1 workloads, 2 pods. */
export function expandTo(model, level) {
  const inner = model.nodes.filter((it) => it.level < level && it.children.length > 0);
  return new Set(inner.map((it) => it.end));
}

/** The deepest level of which not too much is shown. */
export function startLevel(model) {
  const workloads = model.nodes.filter((it) => it.level <= 1).length;
  return workloads <= 60 ? 1 : 0;
}

/** Expands what is around a node, so that it is visible. */
export function reveal(expanded, node) {
  for (let it = node.parent; it; it = it.parent) expanded.add(it.end);
}
