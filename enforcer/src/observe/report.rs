//! The state of the agent at one time, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use enforcer_ebpf::contract::counters::{Count, Counters};
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use serde::{Deserialize, Serialize};

use super::{ProcessUse, RecentDrop};
use crate::nri::State;
use enforcer_core::model::PodId;

/// In place of the name of namespaces that are no more; no namespace can have it.
pub const FORMER_NAMESPACES: &str = "*";

/// How policy judges new connections in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// No policy selects the pod: everything is allowed (semantics S4).
    #[default]
    NotIsolated,
    /// Only what a rule allows passes (semantics S4).
    Isolated,
    /// The policy could not be represented: nothing new passes (semantics R9).
    Closed,
}

/// A pod's interface that is guarded.
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

/// How full a table is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableUse {
    /// The table, see [`enforcer_ebpf::contract::table`].
    pub table: String,
    /// Elements in use.
    pub used: u64,
    /// Elements that there is room for.
    pub limit: u64,
}

/// How full the flow tables of a family are, as of the last look at them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowReport {
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// Living flows that went both ways and that nobody has ended.
    pub established: u64,
    /// Room for these.
    pub established_limit: u64,
    /// Other flows that are remembered: opening, unanswered, closed.
    pub opening: u64,
    /// Room for these.
    pub opening_limit: u64,
    /// Flows that were established and found no room among such, since the programs were loaded:
    /// they are remembered among the others, as long as there is room.
    pub refused: u64,
    /// Entries that gave way to others among the opening ones, since the programs were loaded.
    pub evicted: u64,
}

/// Whether the container runtime lets pods wait until they are programmed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NriReport {
    /// `off`, `absent`, `refused` or `connected`.
    pub state: String,
    /// The runtime's name and version, or why there is no connection.
    pub about: String,
    /// The pod sandboxes that the runtime has told of.
    pub sandboxes: u64,
}

impl NriReport {
    /// The names of the states.
    pub const STATES: [&str; 4] = ["off", "absent", "refused", "connected"];

    /// Notes how the connection is.
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

/// How the watch of a kind of objects of the Kubernetes API is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchReport {
    /// The kind, as in `pods`.
    pub kind: String,
    /// `listing`, `synced` or `reconnecting`.
    pub state: String,
    /// For how many seconds the server has shown no sign of life; `None`: it never did.
    pub silent_seconds: Option<u64>,
    /// Objects known.
    pub objects: u64,
    /// Objects with an error at present.
    pub bad_objects: u64,
    /// Lists begun, the first included.
    pub lists: u64,
    /// Lists and watches that failed.
    pub errors: u64,
    /// What fails at present.
    pub failing: Option<String>,
}

/// What became of the Kubernetes Events, since the agent started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EventReport {
    /// Made.
    pub posted: u64,
    /// Another node had made the same.
    pub existing: u64,
    /// Not made: the server could not be reached, or did not allow it.
    pub failed: u64,
    /// Put off, because too many waited.
    pub put_off: u64,
}

/// What the agent found of an earlier one when it started (semantics C3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenOver {
    /// Interfaces that it had given endpoint ids to.
    pub endpoints: u64,
}

/// The state of the agent at one time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// Interfaces whose pod is known.
    pub endpoints: Vec<Endpoint>,
    /// What interfaces without a known pod have counted, all together.
    pub podless: Counters,
    /// What the endpoints of each namespace have counted, those that ended included, so that no
    /// number ever falls. Under an empty name: interfaces whose pod was never known. Under
    /// [`FORMER_NAMESPACES`]: what is no one's any more.
    pub namespaces_total: BTreeMap<String, Counters>,
    /// Interfaces whose pod is not known (yet).
    pub unknown: Vec<Interface>,
    /// Interfaces that several pods claim with equal right.
    pub ambiguous: Vec<(Interface, Vec<PodId>)>,
    /// What fails closed because a table is too small, one line each (semantics R9).
    pub unrepresented: Vec<(PodId, String)>,
    /// How full the tables are.
    pub tables: Vec<TableUse>,
    /// How full the flow tables are; empty until they were first looked at.
    pub flows: Vec<FlowReport>,
    /// Drop events that were not sent since the programs were loaded.
    pub lost_events: u64,
    /// Policies known.
    pub policies: u64,
    /// Pods known.
    pub pods: u64,
    /// Namespaces known.
    pub namespaces: u64,
    /// What is wrong with the manifests, or with the objects of the Kubernetes API, at present; one
    /// entry per error.
    pub manifest_errors: Vec<String>,
    /// Whether pods wait until they are programmed.
    pub nri: NriReport,
    /// How the watches of the Kubernetes API are doing; empty if manifests are the source.
    pub watches: Vec<WatchReport>,
    /// What became of the Kubernetes Events; `None`: none are to be made.
    pub events: Option<EventReport>,
    /// What is wrong with this node's name.
    pub node_problem: Option<String>,
    /// Whether what is enforced stays in force when the agent ends (semantics C3).
    pub outlives_agent: bool,
    /// What was taken over from an earlier agent; `None`: there was none.
    pub taken_over: Option<TakenOver>,
    /// For how long the loop that carries changes to the kernel has been away.
    pub heartbeat_age: Duration,
    /// What the agent's process uses; `None` if that can't be known.
    pub process: Option<ProcessUse>,
    /// The last drops that were reported, the newest first.
    pub drops: Vec<RecentDrop>,
}

impl Endpoint {
    /// How policy judges a direction.
    #[must_use]
    pub fn isolation(&self, direction: Direction) -> Isolation {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }

    /// The counters of every direction and reason, zeros included.
    pub fn counts(&self) -> impl Iterator<Item = (Direction, Reason, Count)> {
        let of_direction = |(direction, counts): (_, [Count; _])| {
            Reason::ALL
                .into_iter()
                .zip(counts)
                .map(move |(reason, count)| (direction, reason, count))
        };
        Direction::ALL.into_iter().zip(self.counters.counts).flat_map(of_direction)
    }
}
