// The cluster as a tree (namespace, workload, pod), and what its parts may send each other. Pure.

/** The signs of cells: never colour alone. */
export const STATES = {
  open: { sign: "○", text: "not restricted by any policy" },
  all: { sign: "●", text: "everything allowed" },
  ports: { sign: "◐", text: "some traffic allowed" },
  mixed: { sign: "◪", text: "differs between pods" },
  none: { sign: "×", text: "denied" },
  self: { sign: "–", text: "the pod itself" },
};

function node(model, fields) {
  const made = { index: model.nodes.length, children: [], kinds: new Map(), pods: 0, ...fields };
  model.nodes.push(made);
  if (made.parent) made.parent.children.push(made);
  return made;
}

function note(model, to, pod) {
  for (let it = to; it; it = it.parent) {
    it.kinds.set(pod.kind, (it.kinds.get(pod.kind) ?? 0) + 1);
    it.pods += 1;
  }
  if (pod.ingress) model.ingress.add(pod.kind);
  if (pod.egress) model.egress.add(pod.kind);
}

/** Makes the tree from a document of the kind `model`. */
export function prepare(document) {
  const model = { document, nodes: [], roots: [], byName: new Map(), byEnd: new Map(), cells: new Map() };
  const spaces = new Map();
  const workloads = document.workloads.map((it) => {
    if (!spaces.has(it.namespace)) {
      spaces.set(it.namespace, node(model, {
        level: 0, type: "namespace", label: it.namespace, name: it.namespace,
        end: `ns/${it.namespace}`, subject: `ns/${it.namespace}`,
      }));
    }
    const parent = spaces.get(it.namespace);
    return node(model, {
      level: 1, type: "workload", parent, label: it.name.slice(it.namespace.length + 1),
      name: it.name, end: it.end, ports: it.ports, namespace: it.namespace,
    });
  });
  model.ingress = new Set();
  model.egress = new Set();
  for (const pod of document.pods) {
    const parent = workloads[pod.workload];
    const [namespace, label] = pod.name.split("/");
    // A pod of its own is its workload.
    if (pod.name === parent.name) {
      parent.subject = `${namespace}/pod/${label}`;
      note(model, parent, pod);
      continue;
    }
    const leaf = node(model, {
      level: 2, type: "pod", parent, label, name: pod.name, end: pod.name, namespace,
      subject: `${namespace}/pod/${label}`,
    });
    parent.subject ??= leaf.subject;
    note(model, leaf, pod);
  }
  model.roots = [...spaces.values()];
  model.outside = node(model, { level: 0, type: "outside", label: "outside", name: "outside", end: "outside" });
  model.outside.kinds.set(document.matrix.outside, 1);
  model.outside.pods = 1;
  for (const it of model.nodes) {
    model.byEnd.set(it.end, it);
    if (!model.byName.has(it.name)) model.byName.set(it.name, it);
  }
  return model;
}

/** Reads "443", "53/UDP", "ICMP"; null: no such traffic; undefined: any traffic. */
export function traffic(text) {
  const wanted = text.trim();
  if (!wanted) return undefined;
  if (/^icmp(v6)?$/i.test(wanted)) return { portless: true };
  const found = /^(?:(tcp|udp|sctp)[ /])?(\d{1,5})(?:\/(tcp|udp|sctp))?$/i.exec(wanted);
  if (!found) return null;
  const port = Number(found[2]);
  const protocol = (found[1] ?? found[3] ?? "tcp").toUpperCase();
  return port > 0 && port < 65536 ? { protocol, port } : null;
}

function has(verdict, wanted) {
  if (wanted.portless) return verdict.portless;
  const ranges = verdict.ports[wanted.protocol] ?? [];
  return ranges.some(([first, last]) => first <= wanted.port && wanted.port <= last);
}

/** "all", "some" or "none" of the wanted traffic. */
function extent(verdict, wanted) {
  if (wanted) return has(verdict, wanted) ? "all" : "none";
  if (verdict.text === "everything") return "all";
  return verdict.text === "" ? "none" : "some";
}

function contains(outer, inner) {
  for (let it = inner; it; it = it.parent) if (it === outer) return true;
  return false;
}

/** What the pods of one node may send to those of another. */
export function cell(model, from, to, wanted) {
  const key = `${from.index} ${to.index} ${wanted ? `${wanted.protocol} ${wanted.port}` : ""}`;
  let found = model.cells.get(key);
  if (!found) {
    found = compute(model, from, to, wanted);
    model.cells.set(key, found);
  }
  return found;
}

function compute(model, from, to, wanted) {
  const { cells, verdicts, outside } = model.document.matrix;
  const inner = contains(from, to) ? to : contains(to, from) ? from : null;
  const pairs = { all: 0, some: 0, none: 0 };
  const seen = new Set();
  let open = true;
  for (const [sender, senders] of from.kinds) {
    for (const [receiver, receivers] of to.kinds) {
      const same = inner && sender === receiver ? inner.kinds.get(sender) ?? 0 : 0;
      const number = senders * receivers - same;
      if (number <= 0 || (sender === outside && receiver === outside)) continue;
      const verdict = cells[sender][receiver];
      seen.add(verdict);
      pairs[extent(verdicts[verdict], wanted)] += number;
      open &&= !model.egress.has(sender) && !model.ingress.has(receiver);
    }
  }
  const total = pairs.all + pairs.some + pairs.none;
  if (total === 0) return { state: "self", text: STATES.self.text, total };
  const only = seen.size === 1 ? verdicts[[...seen][0]] : null;
  const words = (state, text) => ({ state, text, total, pairs });
  if (pairs.none === total) return words("none", STATES.none.text);
  if (pairs.all === total) return open ? words("open", STATES.open.text) : words("all", wanted ? "allowed" : STATES.all.text);
  if (only) return words("ports", only.text);
  const some = total - pairs.none;
  return words("mixed", `differs between pods: ${some} of ${total} pairs allow ${wanted ? "it" : "something"}`);
}

/** The traffic between two nodes as a port for a question, if one port alone is allowed or declared. */
export function port(model, from, to) {
  const ports = to.ports ?? to.parent?.ports ?? [];
  return ports.length === 1 ? ports[0] : null;
}
