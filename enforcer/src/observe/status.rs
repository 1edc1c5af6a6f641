//! The status as JSON, for people and for `status` on the command line.

use std::collections::BTreeSet;

use enforcer_core::model::PodId;
use serde::{Deserialize, Serialize};

use super::report::nonzero;
use super::{
    CniReport, ConntrackReport, DriftReport, Endpoint, FlowReport, Interface, Isolation, NriReport,
    PodProtection, RecentDrop, RejectReport, Report, TableUse, TakenOver, WatchReport,
};

/// The answer to `/status`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// Whether the node's policies are programmed.
    pub ready: bool,
    /// Interfaces whose pod is known.
    pub endpoints: Vec<EndpointStatus>,
    /// How full the tables are.
    pub tables: Vec<TableUse>,
    /// How full the flow tables are.
    pub flows: Vec<FlowReport>,
    /// The flows that are older than the programs.
    #[serde(default)]
    pub conntrack: ConntrackReport,
    /// The watches of the Kubernetes API; empty if manifests are the source.
    #[serde(default)]
    pub watches: Vec<WatchReport>,
    /// The number of known policies.
    pub policies: u64,
    /// The policies in audit that select pods of this node: they are reported, and not enforced.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub audit: BTreeSet<String>,
    /// Whether all policies are in audit, by the agent's `--audit`.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub audit_all: bool,
    /// The answers to denied packets.
    #[serde(default)]
    pub rejections: RejectReport,
    /// The number of known pods.
    pub pods: u64,
    /// The number of known namespaces.
    pub namespaces: u64,
    /// Drop events that were not sent since the programs were loaded.
    pub lost_events: u64,
    /// The connection to the container runtime.
    pub nri: NriReport,
    /// The container runtime's CNI results.
    #[serde(default)]
    pub cni: CniReport,
    /// The traffic that passes while the pod of an interface is unknown: `allow` or `deny` (semantics
    /// C6).
    #[serde(default)]
    pub unknown_pod: String,
    /// Whether enforcement continues when the agent ends (semantics C3).
    #[serde(default)]
    pub outlives_agent: bool,
    /// The state that was taken over from an earlier agent; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub taken_over: Option<TakenOver>,
    /// The last reported drops, the newest first.
    #[serde(default)]
    pub drops: Vec<RecentDrop>,
    /// The drift check: the kernel's tables against the policies.
    #[serde(default)]
    pub drift: DriftReport,
    /// Problems that need attention, one sentence each; empty if there are none.
    pub problems: Vec<String>,
}

/// A pod's interface with programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// The pod as `namespace/name`.
    pub pod: String,
    /// The host side of its interface.
    pub interface: Interface,
    /// Ingress policy.
    pub ingress: Isolation,
    /// Egress policy.
    pub egress: Isolation,
    /// Counters that are not zero.
    pub counters: Vec<CounterStatus>,
    /// The workloads and policies of the pod.
    #[serde(flatten)]
    pub protection: ProtectionStatus,
}

/// The policies of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProtectionStatus {
    /// The pod's workload as `namespace/name (kind)`.
    #[serde(default)]
    pub workload: String,
    /// The policies that isolate it for ingress.
    #[serde(default)]
    pub ingress_by: Vec<String>,
    /// The policies that isolate it for egress.
    #[serde(default)]
    pub egress_by: Vec<String>,
    /// The policies that would isolate it, were they not in audit.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub audit: Vec<String>,
    /// Why packets may pass its interface unchecked; absent if they can't.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unguarded: Option<String>,
}

impl ProtectionStatus {
    fn new(pod: &PodId, report: &Report) -> Self {
        let unguarded = report.unguarded.iter().find(|it| it.pod.as_ref() == Some(pod));
        let unguarded = unguarded.map(|it| it.why.clone());
        let Some(protection) = report.protection.get(pod) else {
            return Self { unguarded, ..Self::default() };
        };
        let PodProtection { workload, ingress, egress, audit } = &**protection;
        Self {
            workload: workload.to_string(),
            ingress_by: ingress.clone(),
            egress_by: egress.clone(),
            audit: audit.clone(),
            unguarded,
        }
    }
}

/// A counter of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterStatus {
    /// `ingress` or `egress`, from the pod's point of view.
    pub direction: String,
    /// A name of [`enforcer_ebpf::contract::verdict::Reason`].
    pub reason: String,
    /// Whether these packets were dropped.
    pub dropped: bool,
    /// Packets.
    pub packets: u64,
    /// Bytes, link-layer headers included.
    pub bytes: u64,
}

impl Status {
    /// The status of a report; `not_ready` is the reason why the agent is not ready, if any.
    #[must_use]
    pub fn new(report: Report, not_ready: Option<&str>) -> Self {
        let problems = problems(&report, not_ready);
        let audit = report.in_audit().map(str::to_owned).collect();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: not_ready.is_none(),
            endpoints: report.endpoints.iter().map(|it| EndpointStatus::new(it, &report)).collect(),
            tables: report.tables,
            flows: report.flows,
            conntrack: report.conntrack,
            watches: report.watches,
            policies: report.policies,
            audit,
            audit_all: report.audit_all,
            rejections: report.rejections.clone(),
            pods: report.pods,
            namespaces: report.namespaces,
            lost_events: report.lost_events,
            nri: report.nri,
            cni: report.cni,
            unknown_pod: if report.denies_unknown { "deny" } else { "allow" }.to_owned(),
            outlives_agent: report.outlives_agent,
            taken_over: report.taken_over,
            drops: report.drops,
            drift: report.drift,
            problems,
        }
    }
}

impl EndpointStatus {
    fn new(endpoint: &Endpoint, report: &Report) -> Self {
        let counters =
            nonzero(&endpoint.counters).map(|(direction, reason, count)| CounterStatus {
                direction: direction.name().to_owned(),
                reason: reason.name().to_owned(),
                dropped: reason.is_drop(),
                packets: count.packets,
                bytes: count.bytes,
            });
        Self {
            pod: endpoint.pod.to_string(),
            interface: endpoint.interface.clone(),
            ingress: endpoint.ingress,
            egress: endpoint.egress,
            counters: counters.collect(),
            protection: ProtectionStatus::new(&endpoint.pod, report),
        }
    }
}

fn problems(report: &Report, not_ready: Option<&str>) -> Vec<String> {
    let not_ready = not_ready.map(|why| format!("not ready: {why}"));
    let unknown = report.unknown.iter().map(|it| format!("no known pod is behind {}", named(it)));
    let ambiguous = report.ambiguous.iter().map(|(interface, pods)| {
        let pods: Vec<String> = pods.iter().map(ToString::to_string).collect();
        let interface = named(interface);
        format!(
            "the evidence for the pod of {interface} conflicts: closed; claimed by {}",
            pods.join(", ")
        )
    });
    let unrepresented = report.unrepresented.iter();
    let unrepresented = unrepresented.map(|(pod, why)| format!("{pod} fails closed: {why}"));
    let unguarded = report.unguarded.iter().map(|it| {
        let pod = it.pod.as_ref().map(|pod| format!(" ({pod})")).unwrap_or_default();
        format!("interface {}{pod} is not guarded: {}", it.interface, it.why)
    });
    let pins = report.pins_problem.iter();
    let pins = pins.map(|why| format!("enforcement ends with the agent: {why}"));
    let unplaced = report.unplaced.iter().map(|it| {
        format!("{} is closed: this node has more interfaces than the tables hold", named(it))
    });
    let nri = Some(&report.nri).filter(|it| it.state == "refused");
    let nri = nri.map(|it| format!("pods do not wait for their policy: {}", it.about));
    let drift = report.drift.differences.iter().map(|it| format!("drift: {it}"));
    let lost_marks = report.lost_marks.map(|packets| {
        format!(
            "{packets} packets were dropped because another program cleared their mark: find rules \
             of this node that set or restore marks without a mask, or choose other bits with \
             --mark-mask"
        )
    });
    let results = report.cni.problems.iter().map(|it| format!("ignored a CNI result: {it}"));
    let failing = report.watches.iter().filter_map(|it| it.failing.clone());
    not_ready
        .into_iter()
        .chain(unguarded)
        .chain(drift)
        .chain(pins)
        .chain(report.node_problem.clone())
        .chain(nri)
        .chain(lost_marks)
        .chain(report.conntrack.failing.clone())
        .chain(report.rejections.problem.clone())
        .chain(failing)
        .chain(results)
        .chain(unknown)
        .chain(ambiguous)
        .chain(unplaced)
        .chain(unrepresented)
        .chain(report.manifest_errors.iter().cloned())
        .collect()
}

fn named(interface: &Interface) -> String {
    let addresses: Vec<String> = interface.addresses.iter().map(ToString::to_string).collect();
    format!("interface {} ({})", interface.name, addresses.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn json_is_complete_and_can_be_read_back() {
        let status = Status::new(fixture::report(), Some("first lists incomplete"));
        let json = serde_json::to_string_pretty(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
        let version = format!("\"{}\"", env!("CARGO_PKG_VERSION"));
        insta::assert_snapshot!(json.replace(&version, "\"VERSION\""));
    }

    #[test]
    fn without_problems_there_are_none() {
        let status = Status::new(Report::default(), None);
        assert!(status.ready && status.problems.is_empty());
    }
}
