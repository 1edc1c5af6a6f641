//! The state of the agent at one time, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use enforcer_ebpf::contract::counters::{Count, Counters};
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use serde::{Deserialize, Serialize};

use super::{ProcessUse, RecentDrop};
use crate::nri::State;
use enforcer_core::explain::Workload;
use enforcer_core::model::PodId;

/// The name that stands for all deleted namespaces; no namespace can have it.
pub const FORMER_NAMESPACES: &str = "*";

/// The effect of policy on new connections in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// No policy selects the pod: all traffic is allowed (semantics S4).
    #[default]
    NotIsolated,
    /// Only traffic that a rule allows passes (semantics S4).
    Isolated,
    /// The policy does not fit the tables: no new connection passes (semantics R9).
    Closed,
}

/// A pod's interface with programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The pod behind it.
    pub pod: PodId,
    /// Its host side.
    pub interface: Interface,
    /// Ingress policy.
    pub ingress: Isolation,
    /// Egress policy.
    pub egress: Isolation,
    /// Its counters, summed over the CPUs.
    pub counters: Counters,
}

/// The host side of a pod's interface.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Interface {
    /// Its index.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// The addresses of the pod's side.
    pub addresses: BTreeSet<IpAddr>,
}

/// An interface at which packets may pass unchecked (semantics C7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnguardedReport {
    /// Its name.
    pub interface: String,
    /// The pod behind it, if it is known; uplinks have none.
    pub pod: Option<PodId>,
    /// The reason.
    pub why: String,
}

/// How full a table is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableUse {
    /// The table, see [`enforcer_ebpf::contract::table`].
    pub table: String,
    /// Used entries.
    pub used: u64,
    /// Maximum number of entries.
    pub limit: u64,
}

/// How full the flow tables of a family are, as of the last sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowReport {
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// Flows with packets in both directions that have not ended.
    pub established: u64,
    /// Other flows: opening, unanswered, closed.
    pub opening: u64,
    /// The number of flows that the table is made for.
    pub limit: u64,
    /// New flows that found no place since the table was made.
    pub refused: u64,
    /// Flows that new ones displaced before they were established, likewise.
    pub displaced: u64,
    /// Established flows that other pods' displaced because their pod had more than its share, likewise.
    pub reduced: u64,
    /// Pods with more flows than their share.
    pub over_share: u64,
}

/// The flows that were imported from the kernel's connection tracking, because they are older than
/// the programs at their pod's interface (semantics C8).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConntrackReport {
    /// Flows that were imported since the agent started.
    pub imported: u64,
    /// Flows that found no place in the table.
    pub refused: u64,
    /// Connections that the kernel tracked at the last import. If there are none, probably no rule of
    /// the node asks for tracking, and older flows are unknown.
    pub tracked: u64,
    /// Connections at the last import whose initiator conntrack does not know: it found them in
    /// progress.
    pub picked_up: u64,
    /// Why connection tracking can't be read although flows have to be imported.
    pub failing: Option<String>,
}

/// The connection to the container runtime, which delays pods until they are programmed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NriReport {
    /// `off`, `absent`, `refused` or `connected`.
    pub state: String,
    /// The runtime's name and version, or why there is no connection.
    pub about: String,
    /// The number of pod sandboxes that the runtime has reported.
    pub sandboxes: u64,
}

impl NriReport {
    /// The names of the states.
    pub const STATES: [&str; 4] = ["off", "absent", "refused", "connected"];

    /// Sets the state of the connection.
    pub fn note(&mut self, state: &State) {
        let (name, about) = match state {
            State::Off => ("off", ""),
            State::Absent { why } => ("absent", why.as_str()),
            State::Refused { why } => ("refused", why.as_str()),
            State::Connected { runtime } => ("connected", runtime.as_str()),
        };
        (self.state, self.about) = (name.to_owned(), about.to_owned());
    }
}

/// The container runtime's CNI results, which name the pods of interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CniReport {
    /// `pending`, `off`, `missing`, `readable` (but none has named an interface yet) or `used`.
    pub state: String,
    /// Why they are missing.
    pub about: String,
    /// The number of pod sandboxes with a result.
    pub sandboxes: u64,
    /// Files that are not understood, and why.
    pub problems: Vec<String>,
}

/// The state of a watch of the Kubernetes API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchReport {
    /// The kind, as in `pods`.
    pub kind: String,
    /// `listing`, `synced` or `reconnecting`.
    pub state: String,
    /// Seconds since the server last sent data; `None`: it never did.
    pub silent_seconds: Option<u64>,
    /// Known objects.
    pub objects: u64,
    /// Objects with a present error.
    pub bad_objects: u64,
    /// Started lists, including the first.
    pub lists: u64,
    /// Failed lists and watches.
    pub errors: u64,
    /// The present failure.
    pub failing: Option<String>,
}

/// The results of the Kubernetes Events since the agent started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EventReport {
    /// Created.
    pub posted: u64,
    /// Another node had created the same Event.
    pub existing: u64,
    /// Not created: the server could not be reached, or did not allow it.
    pub failed: u64,
    /// Put off because too many waited.
    pub put_off: u64,
}

/// The state of an earlier agent that this agent took over (semantics C3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenOver {
    /// Interfaces with an endpoint id.
    pub endpoints: u64,
}

/// The policies that isolate a pod of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodProtection {
    /// Its workload.
    pub workload: Workload,
    /// For ingress, as `namespace/name`.
    pub ingress: Vec<String>,
    /// For egress.
    pub egress: Vec<String>,
    /// Those that would, were they not in audit.
    pub audit: Vec<String>,
}

/// The drift check: the kernel's tables against the policies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DriftReport {
    /// Verdicts that were compared.
    pub checks: u64,
    /// Test runs of the programs among them.
    #[serde(default)]
    pub samples: u64,
    /// Differences that were found.
    pub found: u64,
    /// The differences that are still there, one sentence each.
    #[serde(default)]
    pub differences: Vec<String>,
}

/// The answers to denied packets (`--deny-with`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RejectReport {
    /// Answers that were sent.
    pub sent: u64,
    /// Denied packets without an answer because there were too many.
    pub limited: u64,
    /// Answers that could not be sent.
    pub failed: u64,
    /// Why none can be sent although some namespace asks for them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
}

/// The state of the agent at one time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// Interfaces whose pod is known.
    pub endpoints: Vec<Endpoint>,
    /// The policies of their pods.
    pub protection: BTreeMap<PodId, Arc<PodProtection>>,
    /// The sum over the interfaces without a known pod.
    pub podless: Counters,
    /// The sum over the endpoints of each namespace, including ended ones, so that no number ever
    /// falls. The empty name has the interfaces whose pod was never known, [`FORMER_NAMESPACES`] the
    /// deleted namespaces.
    pub namespaces_total: BTreeMap<String, Counters>,
    /// Interfaces without a known pod.
    pub unknown: Vec<Interface>,
    /// Interfaces that several pods claim with equal right.
    pub ambiguous: Vec<(Interface, Vec<PodId>)>,
    /// Pods that fail closed because a table is too small, and the reason (semantics R9).
    pub unrepresented: Vec<(PodId, String)>,
    /// Interfaces beyond the tables' capacity, which are closed (semantics R9).
    pub unplaced: Vec<Interface>,
    /// Interfaces at which packets may pass unchecked (semantics C7).
    pub unguarded: Vec<UnguardedReport>,
    /// How often a fault of an interface's hooks ended since the agent started.
    pub hooks_restored: u64,
    /// The drift check.
    pub drift: DriftReport,
    /// Why pins that are gone can't be restored.
    pub pins_problem: Option<String>,
    /// How full the tables are.
    pub tables: Vec<TableUse>,
    /// How full the flow tables are; empty until the first sweep.
    pub flows: Vec<FlowReport>,
    /// The flows that are older than the programs.
    pub conntrack: ConntrackReport,
    /// Drop events that were not sent since the programs were loaded.
    pub lost_events: u64,
    /// The answers to denied packets.
    pub rejections: RejectReport,
    /// The number of known policies.
    pub policies: u64,
    /// Whether all policies are in audit, by `--audit`.
    pub audit_all: bool,
    /// The number of known pods.
    pub pods: u64,
    /// The number of known namespaces.
    pub namespaces: u64,
    /// The present errors of manifests or of objects of the Kubernetes API.
    pub manifest_errors: Vec<String>,
    /// The connection to the container runtime.
    pub nri: NriReport,
    /// The container runtime's CNI results.
    pub cni: CniReport,
    /// Whether interfaces are closed until their pod is known (semantics C6).
    pub denies_unknown: bool,
    /// The watches of the Kubernetes API; empty if manifests are the source.
    pub watches: Vec<WatchReport>,
    /// The results of the Kubernetes Events; `None`: the agent creates none.
    pub events: Option<EventReport>,
    /// The problem with this node's name.
    pub node_problem: Option<String>,
    /// Whether enforcement continues when the agent ends (semantics C3).
    pub outlives_agent: bool,
    /// The state that was taken over from an earlier agent; `None`: there was none.
    pub taken_over: Option<TakenOver>,
    /// The time since the main loop last ran.
    pub heartbeat_age: Duration,
    /// The resources of the agent's process; `None` if they can't be read.
    pub process: Option<ProcessUse>,
    /// The last reported drops, the newest first.
    pub drops: Vec<RecentDrop>,
    /// The packets that were dropped because their mark was lost; `None`: none lately.
    pub lost_marks: Option<u64>,
}

impl Report {
    /// The policies in audit that select pods of this node.
    pub fn in_audit(&self) -> impl Iterator<Item = &str> {
        let all: BTreeSet<&str> =
            self.protection.values().flat_map(|it| &it.audit).map(String::as_str).collect();
        all.into_iter()
    }

    /// The packets of all endpoints with this reason, including ended ones.
    #[must_use]
    pub fn packets(&self, reason: Reason) -> u64 {
        let directions = self.namespaces_total.values().flat_map(|it| &it.counts);
        directions.filter_map(|counts| counts.get(reason as usize)).map(|it| it.packets).sum()
    }
}

impl Endpoint {
    /// The effect of policy in a direction.
    #[must_use]
    pub fn isolation(&self, direction: Direction) -> Isolation {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }
}

/// The counters by direction and reason, without zeros: most combinations never occur.
pub(super) fn nonzero(
    counters: &Counters,
) -> impl Iterator<Item = (Direction, Reason, Count)> + use<> {
    let by_direction = Direction::ALL.into_iter().zip(counters.counts);
    let all = by_direction.flat_map(|(direction, counts)| {
        Reason::ALL.into_iter().zip(counts).map(move |(reason, count)| (direction, reason, count))
    });
    all.filter(|(_, _, count)| count.packets > 0)
}
