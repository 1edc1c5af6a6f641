//! `enforcer status`: what needs attention, and what the agent does.

use std::fmt::Write as _;
use std::io::Write;

use anyhow::Context as _;
use clap::Args;

use super::agent::AgentArgs;
use super::ask::ask;
use super::format::Format;
use super::table::table;
use crate::observe::{EndpointStatus, Isolation, Status};

/// The help after the options.
pub(super) const HELP: &str =
    "With --output json: the agent's whole status, as its /status serves it.

Exit codes: 0 success, also if something needs attention; 2 error.

Examples:
  enforcer status
  enforcer status --pod shop/web-5d9f-x7k2p
  kubectl -n enforcer-system exec enforcer-x7k2p -- /enforcer status -o json";

/// The arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Only this pod, with its policies, counters and drops.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub pod: Option<String>,
    /// The agent.
    #[command(flatten)]
    pub agent: AgentArgs,
    /// Output format; json is one document.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// Prints the status.
///
/// # Errors
/// There is no agent at that address, it does not know the pod, or `out` can't be written.
pub fn run(arguments: &StatusArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let answer = ask(arguments.agent.status, "GET", "/status", "")?;
    let text = match (arguments.output, &arguments.pod) {
        (Format::Json, None) => format!("{}\n", answer.trim_end()),
        (Format::Json, Some(pod)) => {
            let status = read(&answer)?;
            serde_json::to_string_pretty(find(&status, pod)?)? + "\n"
        }
        (Format::Text, None) => overview(&read(&answer)?),
        (Format::Text, Some(pod)) => {
            let status = read(&answer)?;
            let endpoint = find(&status, pod)?;
            of_pod(&status, endpoint)
        }
    };
    Ok(out.write_all(text.as_bytes())?)
}

/// Reads a status.
pub(super) fn read(answer: &str) -> anyhow::Result<Status> {
    serde_json::from_str(answer)
        .context("the agent's status is not understood: it is of another version")
}

fn find<'s>(status: &'s Status, pod: &str) -> anyhow::Result<&'s EndpointStatus> {
    let found = status.endpoints.iter().find(|it| it.pod == pod);
    found.with_context(|| format!("no interface of this node is known to be that of pod {pod}"))
}

fn overview(status: &Status) -> String {
    let mut text = String::new();
    let ready = if status.ready { "ready" } else { "NOT READY" };
    let _ = writeln!(text, "enforcer {}: {ready}", status.version);
    text += &audit(status);
    if !status.problems.is_empty() {
        let _ = writeln!(text, "\nNeeds attention:");
    }
    for problem in &status.problems {
        let _ = writeln!(text, "  - {problem}");
    }
    let count = |of: fn(&EndpointStatus) -> Isolation| {
        status.endpoints.iter().filter(|it| of(it) != Isolation::NotIsolated).count()
    };
    let lasting = if status.outlives_agent { "continues" } else { "ends" };
    let _ = writeln!(
        text,
        "\nPods of this node: {}, isolated for ingress {}, for egress {}\n\
         Known: policies {}, pods {}, namespaces {}\n\
         Without the agent, enforcement {lasting}; while a pod is unknown: {}",
        status.endpoints.len(),
        count(|it| it.ingress),
        count(|it| it.egress),
        status.policies,
        status.pods,
        status.namespaces,
        status.unknown_pod,
    );
    text += &pods(status);
    text += &tables(status);
    text += &watches(status);
    text
}

/// The policies that are not enforced.
fn audit(status: &Status) -> String {
    let names = status.audit.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    match (status.audit_all, status.audit.len()) {
        (true, _) => "\nAUDIT: nothing is enforced (--audit); see `enforcer audit`\n".to_owned(),
        (false, 0) => String::new(),
        (false, 1) => format!("\nAUDIT: 1 policy is reported, not enforced: {names}\n"),
        (false, count) => {
            format!("\nAUDIT: {count} policies are reported, not enforced: {names}\n")
        }
    }
}

fn pods(status: &Status) -> String {
    if status.endpoints.is_empty() {
        return String::new();
    }
    let rows = status.endpoints.iter().map(|it| {
        let guarded = it.protection.unguarded.as_deref().unwrap_or("yes");
        vec![
            it.pod.clone(),
            isolation(it.ingress, &it.protection.ingress_by),
            isolation(it.egress, &it.protection.egress_by),
            dropped(it).to_string(),
            guarded.to_owned(),
        ]
    });
    "\n".to_owned() + &table(&["POD", "INGRESS", "EGRESS", "DROPPED", "GUARDED"], rows)
}

fn isolation(isolation: Isolation, policies: &[String]) -> String {
    // A policy isolates only pods of its own namespace, which the pod's column has.
    let names = policies.iter().map(|it| it.split_once('/').map_or(it.as_str(), |(_, name)| name));
    let names = names.collect::<Vec<_>>().join(",");
    match isolation {
        Isolation::NotIsolated => "open".to_owned(),
        Isolation::Closed => "CLOSED".to_owned(),
        Isolation::Isolated if names.is_empty() => "isolated".to_owned(),
        Isolation::Isolated => names,
    }
}

/// The packets that were dropped at the pod's interface.
pub(super) fn dropped(endpoint: &EndpointStatus) -> u64 {
    endpoint.counters.iter().filter(|it| it.dropped).map(|it| it.packets).sum()
}

fn tables(status: &Status) -> String {
    let percent =
        |used: u64, limit: u64| format!("{} %", (used * 100).checked_div(limit).unwrap_or(0));
    let row = |name: String, used: u64, limit: u64| {
        vec![name, used.to_string(), limit.to_string(), percent(used, limit)]
    };
    let tables = status.tables.iter().map(|it| row(it.table.clone(), it.used, it.limit));
    let flows = status
        .flows
        .iter()
        .map(|it| row(format!("flows {}", it.family), it.established + it.opening, it.limit));
    let rows: Vec<_> = tables.chain(flows).collect();
    if rows.is_empty() {
        return String::new();
    }
    "\n".to_owned() + &table(&["TABLE", "USED", "LIMIT", "FULL"], rows)
}

fn watches(status: &Status) -> String {
    if status.watches.is_empty() {
        return String::new();
    }
    let rows = status.watches.iter().map(|it| {
        let silent = it.silent_seconds.map_or("never".to_owned(), |it| format!("{it} s ago"));
        let objects = it.objects.to_string();
        vec![it.kind.clone(), it.state.clone(), objects, it.bad_objects.to_string(), silent]
    });
    "\n".to_owned() + &table(&["WATCH", "STATE", "OBJECTS", "BAD", "LAST DATA"], rows)
}

fn of_pod(status: &Status, endpoint: &EndpointStatus) -> String {
    let mut text = String::new();
    let protection = &endpoint.protection;
    let _ = write!(text, "Pod {}", endpoint.pod);
    match protection.workload.as_str() {
        "" => {}
        workload if workload == endpoint.pod => {}
        workload => drop(write!(text, ", of {workload}")),
    }
    let addresses = endpoint.interface.addresses.iter().map(ToString::to_string);
    let addresses = addresses.collect::<Vec<_>>().join(", ");
    let guarded =
        protection.unguarded.as_deref().map_or("yes".to_owned(), |it| format!("NO: {it}"));
    let _ = writeln!(
        text,
        "\n  interface: {} ({addresses})\n  guarded: {guarded}",
        endpoint.interface.name
    );
    for (name, isolated, by) in [
        ("ingress", endpoint.ingress, &protection.ingress_by),
        ("egress", endpoint.egress, &protection.egress_by),
    ] {
        let effect = match isolated {
            Isolation::NotIsolated => "not isolated, everything is allowed".to_owned(),
            Isolation::Isolated => format!("isolated by {}", by.join(", ")),
            Isolation::Closed => "closed: its policies do not fit the tables".to_owned(),
        };
        let _ = writeln!(text, "  {name}: {effect}");
    }
    if !protection.audit.is_empty() {
        let _ = writeln!(text, "  in audit, not enforced: {}", protection.audit.join(", "));
    }
    let rows = endpoint.counters.iter().map(|it| {
        let verdict = if it.dropped { "drop" } else { "allow" };
        let (packets, bytes) = (it.packets.to_string(), it.bytes.to_string());
        vec![it.direction.clone(), verdict.to_owned(), it.reason.clone(), packets, bytes]
    });
    if !endpoint.counters.is_empty() {
        text.push('\n');
        text += &table(&["DIRECTION", "VERDICT", "REASON", "PACKETS", "BYTES"], rows);
    }
    text + &drops(status, &endpoint.pod)
}

/// The last drops at a pod, the latest first.
fn drops(status: &Status, pod: &str) -> String {
    const MOST: usize = 10;
    let own = status.drops.iter().filter(|it| it.drop.pod.as_deref() == Some(pod));
    let mut own: Vec<_> = own.collect();
    own.sort_by_key(|it| it.seconds_ago);
    let mut text = if own.is_empty() { String::new() } else { "\nLast drops:\n".to_owned() };
    for it in own.iter().take(MOST) {
        let _ = writeln!(text, "  {} s ago  {}", it.seconds_ago, it.drop);
    }
    if let Some(more @ 1..) = own.len().checked_sub(MOST) {
        let _ = writeln!(text, "  and {more} more: `enforcer drops`");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{CounterStatus, Interface, ProtectionStatus, TableUse, WatchReport};

    fn status() -> Status {
        let counter = |reason: &str, dropped, packets| CounterStatus {
            direction: "ingress".to_owned(),
            reason: reason.to_owned(),
            dropped,
            packets,
            bytes: packets * 74,
        };
        let pod = |name: &str, ingress, by: &[&str], unguarded: Option<&str>| EndpointStatus {
            pod: format!("shop/{name}"),
            interface: Interface {
                ifindex: 7,
                name: "veth7".to_owned(),
                addresses: ["10.1.0.4".parse().unwrap()].into(),
            },
            ingress,
            egress: Isolation::NotIsolated,
            counters: vec![counter("policy", false, 10), counter("denied", true, 3)],
            protection: ProtectionStatus {
                workload: "shop/web (deploy)".to_owned(),
                ingress_by: by.iter().map(|it| (*it).to_owned()).collect(),
                egress_by: Vec::new(),
                audit: Vec::new(),
                unguarded: unguarded.map(str::to_owned),
            },
        };
        Status {
            version: "0.1.0".to_owned(),
            ready: true,
            endpoints: vec![
                pod("db-0", Isolation::Isolated, &["shop/db-clients", "shop/default-deny"], None),
                pod(
                    "web-5d9f-x7k2p",
                    Isolation::NotIsolated,
                    &[],
                    Some("its program was detached"),
                ),
                pod("big-0", Isolation::Closed, &["shop/big"], None),
            ],
            tables: vec![TableUse { table: "ipv4-addresses".to_owned(), used: 300, limit: 8_192 }],
            watches: vec![WatchReport {
                kind: "pods".to_owned(),
                state: "synced".to_owned(),
                silent_seconds: Some(42),
                objects: 9,
                bad_objects: 0,
                lists: 1,
                errors: 0,
                failing: None,
            }],
            policies: 3,
            pods: 9,
            namespaces: 2,
            unknown_pod: "deny".to_owned(),
            outlives_agent: true,
            problems: vec!["interface veth7 (shop/web-5d9f-x7k2p) is not guarded".to_owned()],
            ..Status::default()
        }
    }

    #[test]
    fn what_needs_attention_comes_first() {
        insta::assert_snapshot!(overview(&status()));
    }

    #[test]
    fn audit_is_the_first_line() {
        let audit = ["shop/db-clients".to_owned(), "shop/deny".to_owned()].into();
        let text = overview(&Status { audit, ..Status::default() });
        let expected = "AUDIT: 2 policies are reported, not enforced: shop/db-clients, shop/deny";
        assert!(text.contains(&format!("\n\n{expected}\n")), "{text}");
        let audit = ["shop/deny".to_owned()].into();
        let text = overview(&Status { audit, ..Status::default() });
        assert!(text.contains("AUDIT: 1 policy is reported"), "{text}");
        let text = overview(&Status { audit_all: true, ..Status::default() });
        assert!(text.contains("AUDIT: nothing is enforced"), "{text}");
    }

    #[test]
    fn a_pod_has_its_policies_and_counters() {
        let status = status();
        let text = of_pod(&status, find(&status, "shop/web-5d9f-x7k2p").unwrap());
        insta::assert_snapshot!(text);
        assert!(find(&status, "shop/nothing").is_err());
    }

    #[test]
    fn without_pods_there_are_no_tables() {
        let text = overview(&Status { version: "0.1.0".to_owned(), ..Status::default() });
        assert!(text.starts_with("enforcer 0.1.0: NOT READY\n\nPods of this node: 0"), "{text}");
        assert!(!text.contains("POD ") && !text.contains("TABLE"), "{text}");
    }
}
