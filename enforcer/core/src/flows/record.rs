//! Flows with the same ends, port and verdict.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use super::decision::Decision;

/// An end of a flow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlowEnd {
    /// The pods of a workload, as `namespace/name (kind)`.
    Workload(String),
    /// An address that no pod has.
    Address(IpAddr),
    /// The node of the pod at the other end; also clients that it has masqueraded.
    Node,
    /// Further addresses that no pod has.
    Outside,
    /// A Service, as `namespace/name`, whose backends are not known or are of several workloads.
    Service(String),
}

impl FlowEnd {
    /// The names of the kinds.
    pub const KINDS: [&str; 5] = ["workload", "address", "node", "outside", "service"];

    /// The name of its kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Workload(_) => "workload",
            Self::Address(_) => "address",
            Self::Node => "node",
            Self::Outside => "outside",
            Self::Service(_) => "service",
        }
    }

    /// The end of this kind and name; `None`: there is no such end.
    #[must_use]
    pub fn read(kind: &str, name: &str) -> Option<Self> {
        Some(match kind {
            "workload" => Self::Workload(name.to_owned()),
            "address" => Self::Address(name.parse().ok()?),
            "node" => Self::Node,
            "outside" => Self::Outside,
            "service" => Self::Service(name.to_owned()),
            _ => return None,
        })
    }

    /// The namespace of a workload or Service.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Workload(name) | Self::Service(name) => name.split_once('/').map(|it| it.0),
            Self::Address(_) | Self::Node | Self::Outside => None,
        }
    }
}

impl fmt::Display for FlowEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(name) | Self::Service(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
            Self::Node => f.write_str("node"),
            Self::Outside => f.write_str("outside"),
        }
    }
}

/// Whether flows passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// They passed.
    Allowed,
    /// A policy dropped them.
    Denied,
    /// They passed, and policies in audit would deny them.
    WouldDeny,
    /// A policy dropped them, and policies in audit would allow them.
    WouldAllow,
}

impl Verdict {
    /// The name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::WouldDeny => "would-deny",
            Self::WouldAllow => "would-allow",
        }
    }

    /// The verdict on flows that passed, or did not, with these decisions.
    pub(super) fn of(passed: bool, ends: &[Decision]) -> Self {
        let would = |allows: bool| {
            ends.iter().filter_map(|it| it.audit.as_ref()).any(|it| it.allows == allows)
        };
        match passed {
            true if would(false) => Self::WouldDeny,
            true => Self::Allowed,
            false if would(true) => Self::WouldAllow,
            false => Self::Denied,
        }
    }
}

/// What the flows of a record have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The initiator.
    pub from: FlowEnd,
    /// The responder.
    pub to: FlowEnd,
    /// The protocol's name.
    pub protocol: String,
    /// The responder's port, after a Service's translation.
    pub port: Option<u16>,
    /// The verdict.
    pub verdict: Verdict,
}

/// Flows with the same ends, port and verdict. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// The number of its last new connection; later ones have higher numbers.
    pub revision: u64,
    /// The Services that were asked for, as `namespace/name:port`.
    pub services: BTreeSet<String>,
    /// New connections, as counted at the initiator's interface.
    pub at_sender: u64,
    /// The same at the responder's interface.
    pub at_receiver: u64,
    /// Connections that are established now.
    pub open: u64,
    /// When the first one was seen.
    pub first_seen: u64,
    /// The last packet.
    pub last_seen: u64,
    /// The decisions for one pair of pods, when they were last explained.
    pub ends: Vec<Decision>,
    /// The state of the policies at that time.
    pub(super) generation: u64,
    /// The connections at the last call of [`super::Ledger::take_news`].
    pub(super) reported: u64,
    /// The connections at the receiver's and the sender's interface at the last call of
    /// [`super::Ledger::take_audit`].
    pub(super) audited: [u64; 2],
    /// The look in which it began.
    pub(super) look: u64,
    /// Counted during the current look at the tables, at the receiver's interface and the sender's.
    pub(super) opening: [u64; 2],
}

impl Record {
    /// The connections. Both ends' interfaces may be on this node: each connection counts once.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.at_sender.max(self.at_receiver)
    }
}
