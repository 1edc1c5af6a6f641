// The edges of the graph: what policies allow, and what agents saw. Pure.

import { cell } from "./model.js";

// More nodes than this are drawn as namespaces.
const MOST = 40;

function parent(node) {
  return node.type === "pod" ? node.parent : node;
}

/** The nodes to draw for a namespace, or for all ("") of them. */
export function scope(model, space) {
  const workloads = model.nodes.filter((it) => it.type === "workload");
  if (!space) {
    const all = workloads.length <= MOST ? workloads : model.roots;
    return [...all, model.outside];
  }
  const own = workloads.filter((it) => it.namespace === space);
  return [...own, ...model.roots.filter((it) => it.name !== space), model.outside];
}

/** The drawn node that stands for a name in an agent's document; unknown names are outside. */
function drawn(model, nodes, name) {
  const known = model.byName.get(name);
  if (!known) return name.includes("/") || name === "node" ? null : model.outside;
  for (let it = parent(known); it; it = it.parent) if (nodes.has(it)) return it;
  return null;
}

/** All flows of all agents. Those of an older kind of agent have no ends. */
export function flows(activity) {
  return (activity?.flows ?? []).flatMap((it) => it.flows ?? []);
}

/** Denied attempts, as flows that are denied. */
export function denials(activity) {
  const seen = flows(activity).filter((it) => it.verdict === "denied");
  if (seen.length > 0) return seen;
  const groups = new Map();
  for (const drop of activity?.drops ?? []) {
    const from = drop.from_workload ?? drop.sender?.address ?? drop.source?.address;
    const to = drop.to_workload ?? drop.destination?.address;
    if (!from || !to) continue;
    const key = `${from} ${to} ${drop.protocol} ${drop.destination?.port ?? ""}`;
    const known = groups.get(key);
    if (known) {
      known.connections += 1 + (drop.repeats ?? 0);
      known.seconds_ago = Math.min(known.seconds_ago, drop.seconds_ago ?? Infinity);
    } else {
      groups.set(key, {
        from, to, protocol: drop.protocol, port: drop.destination?.port, verdict: "denied", reason: drop.reason,
        connections: 1 + (drop.repeats ?? 0), seconds_ago: drop.seconds_ago ?? Infinity,
        ends: [{ direction: drop.direction, isolated_by: drop.isolated_by ?? [], nearest: drop.nearest }],
      });
    }
  }
  return [...groups.values()];
}

/** The edges between drawn nodes. */
export function edges(model, nodes, activity, policies) {
  const found = new Map();
  const set = new Set(nodes);
  const edge = (from, to) => {
    const key = `${from.index} ${to.index}`;
    if (!found.has(key)) found.set(key, { from, to, allowed: 0, denied: 0, policy: null, seen: [] });
    return found.get(key);
  };
  const both = [...flows(activity).filter((it) => it.verdict !== "denied"), ...denials(activity)];
  for (const flow of both) {
    const [from, to] = [drawn(model, set, flow.from), drawn(model, set, flow.to)];
    if (!from || !to) continue;
    const it = edge(from, to);
    it[flow.verdict === "denied" ? "denied" : "allowed"] += flow.connections ?? 1;
    it.seen.push(flow);
  }
  if (policies) {
    for (const from of nodes) {
      for (const to of nodes) {
        if (from === to) continue;
        const it = cell(model, from, to);
        if (["all", "ports", "mixed"].includes(it.state)) edge(from, to).policy = it;
      }
    }
  }
  return [...found.values()];
}

/** What an edge stands for, in words. */
export function words(edge) {
  const parts = [];
  if (edge.denied) parts.push(`✕ ${edge.denied.toLocaleString("en")} denied`);
  if (edge.allowed) parts.push(`✓ ${edge.allowed.toLocaleString("en")} connections`);
  if (edge.policy) parts.push(`allowed: ${edge.policy.text}`);
  return parts.join(" · ");
}
