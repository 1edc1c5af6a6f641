// What agents saw: connections that policies in audit would change, denied attempts, unused rules.

import { button, count, empty, h, show, time } from "./dom.js";
import { denials, flows } from "./edges.js";

/** Would-be verdicts, from documents of the kind `audit` and from flows with such a verdict. Pure. */
export function wouldBe(activity) {
  const documents = (activity?.audit ?? []).flatMap((it) => it.connections ?? []);
  const seen = flows(activity).filter((it) => it.verdict !== "allowed" && it.verdict !== "denied");
  const found = documents.length > 0 ? documents : seen;
  return found.map((it) => ({
    ...it, verdict: it.effect ?? it.verdict,
    policies: it.policies ?? (it.policy ? [it.policy] : it.ends?.flatMap((end) => end.isolated_by ?? []) ?? []),
    count: it.connections ?? 0, since: it.first_seen,
  }));
}

/** The rules that allowed nothing. Pure. */
export function unused(activity) {
  const rules = (activity?.flows ?? []).flatMap((it) => it.policies ?? []).filter((it) => it.rule);
  const groups = new Map();
  for (const it of rules) {
    const key = `${it.policy} ${it.direction} ${it.rule}`;
    const known = groups.get(key);
    if (known) {
      known.connections += it.connections;
      known.last_used ??= it.last_used;
      if (it.since > known.since) known.since = it.since;
    } else {
      groups.set(key, { ...it });
    }
  }
  return [...groups.values()].filter((it) => !it.last_used && it.connections === 0);
}

function table(title, columns, rows) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, h("table", null,
    h("thead", null, h("tr", null, columns.map((it) => h("th", { scope: "col" }, it || h("span", { class: "visually-hidden" }, "Explanation"))))),
    h("tbody", null, rows.map((row) => h("tr", null, row.map((it) => h("td", null, it)))))));
}

function target(it) {
  return it.port ? `${it.to}:${it.port}/${it.protocol}` : `${it.to} ${it.protocol ?? ""}`;
}

/** The view: `context.explain(from, to)`, `context.policy(name)`. */
export function activityView(context) {
  const element = h("section", { class: "activity page", "aria-label": "Audit" });
  const link = (name) => button(name, () => context.policy(name), { class: "link" });
  const links = (names) => names.flatMap((it, at) => (at > 0 ? [", ", link(it)] : [link(it)]));

  function explain(model, it) {
    const name = (end) => model.byName.get(end)?.end ?? end;
    const port = it.port ? `:${it.port}${it.protocol && it.protocol !== "TCP" ? `/${it.protocol}` : ""}` : "";
    return button("Explain", () => context.explain(name(it.from), name(it.to) + port), {
      class: "link", "aria-label": `Explain ${it.from} to ${target(it)}`,
    });
  }

  function would(model, list, policies) {
    if (list.length === 0 && policies.length > 0) {
      return empty("✓ Nothing would change", "No connection that agents saw would be denied or allowed by the policies in audit.");
    }
    if (list.length === 0) {
      return empty("No would-be verdicts", "Policies in audit report here which connections they would deny or allow. " +
        "Put a policy or a namespace in audit by the annotation enforcer.io/audit: \"true\".");
    }
    const sign = (it) => /allow/.test(it.verdict) ? "✓ would allow" : "✕ would deny";
    return table("Would-be verdicts", ["Verdict", "From", "To", "Policy", "Count", "Since", ""], list.map((it) => [
      sign(it), it.from, target(it), links(it.policies), it.count.toLocaleString("en"), time(it.since), explain(model, it)]));
  }

  function denied(model, list) {
    if (list.length === 0) return empty("Nothing was denied", "No agent that answered dropped a packet that it remembers.");
    const when = (it) => it.last_seen ? time(it.last_seen) : Number.isFinite(it.seconds_ago) ? `${it.seconds_ago} s ago` : "";
    const policies = (it) => links([...new Set((it.ends ?? []).flatMap((end) => end.isolated_by ?? []))]);
    const nearest = (it) => it.ends?.find((end) => end.nearest)?.nearest?.differences?.join("; ") ?? it.reason ?? "";
    return table("Denied", ["From", "To", "Isolated by", "Nearest miss", "Attempts", "Last", ""], list.map((it) => [
      it.from, target(it), policies(it), nearest(it), (it.connections ?? 1).toLocaleString("en"), when(it), explain(model, it)]));
  }

  function idle(list, known) {
    if (!known) return empty("Not known", "Agents that count the use of rules report here which rules allowed nothing.");
    if (list.length === 0) return empty("Every rule was used", "Each rule allowed at least one connection.");
    return table("Unused rules", ["Policy", "Rule", "Unused since"], list.map((it) => [link(it.policy), it.rule, time(it.since)]));
  }

  function update(model, activity) {
    if (!model) return;
    const agents = activity?.agents ?? [];
    const silent = activity?.silent ?? [];
    const known = (activity?.flows ?? []).some((it) => it.policies);
    const notes = (activity?.flows ?? []).flatMap((it) => it.notes ?? []);
    const sources = h("div", { class: "sources" },
      silent.length > 0 && h("div", { class: "failure" }, h("h2", null, `⚠ ${count(silent.length, "agent")} did not answer`),
        h("ul", null, silent.map((it) => h("li", null, it)))),
      agents.length > 0 && h("p", { class: "notice" }, `${count(agents.length, "agent")} answered: ${agents.join(", ")}.`),
      notes.length > 0 && h("ul", { class: "notes" }, notes.map((it) => h("li", null, it))));
    if (agents.length === 0 && silent.length === 0) {
      show(element, empty("No agents", "This page was opened without agents. With them it shows which connections " +
        "policies in audit would deny, what was dropped, and which rules were never used.",
        h("pre", { tabindex: "0" }, "enforcer ui --agent 127.0.0.1:9469")));
      return;
    }
    const list = wouldBe(activity);
    const audited = [...new Set((activity.audit ?? []).flatMap((it) => it.policies ?? []))];
    const drops = denials(activity);
    show(element, sources,
      h("h2", null, `Would-be verdicts: ${list.length}`), audited.length > 0 && h("p", null, "In audit: ", links(audited)), would(model, list, audited),
      h("h2", null, `Denied: ${drops.length}`), denied(model, drops),
      h("h2", null, "Unused rules"), idle(unused(activity), known));
  }

  return { element, update, shown() {} };
}
