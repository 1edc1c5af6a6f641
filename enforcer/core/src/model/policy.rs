//! Network policies with defaults applied and selectors parsed.

use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;

use super::id::PolicyId;
use super::selector::Selector;

/// A protocol with ports (semantics R8), in the order of the port table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP, the default.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The IP protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The name as Kubernetes writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Ports `first` to `last`, both included (semantics R7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port; not below `first`.
    pub last: u16,
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self { first: 0, last: u16::MAX };

    /// The range of one port.
    #[must_use]
    pub const fn single(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Whether the port is in the range.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// Which ports of a protocol (semantics R7).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortSpec {
    /// Every port.
    All,
    /// One port or a range.
    Range(PortRange),
    /// The container port of that name on the receiving pod.
    Named(String),
}

/// One entry of a rule's `ports`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRule {
    /// The protocol.
    pub protocol: Protocol,
    /// The ports.
    pub port: PortSpec,
}

/// An `ipBlock` (semantics R5, R6). Host bits are masked; exceptions outside of the block are left
/// out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block {
    /// `ipBlock.cidr`
    pub cidr: IpNet,
    /// `ipBlock.except`
    pub except: BTreeSet<IpNet>,
}

/// One entry of a rule's `from` or `to` (semantics R2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// Pods by labels.
    Pods {
        /// Namespaces by labels; `None`: the policy's own namespace.
        namespaces: Option<Selector>,
        /// Pods by labels; an absent `podSelector` is a selector that matches all.
        pods: Selector,
    },
    /// Addresses.
    Block(Block),
}

/// One entry of `ingress` or `egress`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Rule {
    /// Empty: every peer (semantics R1).
    pub peers: Vec<Peer>,
    /// Empty: every port of every protocol (semantics R1).
    pub ports: Vec<PortRule>,
}

/// The annotation that puts a policy, or all policies of a namespace, in audit: they are reported,
/// and not enforced.
pub const AUDIT_ANNOTATION: &str = "enforcer.io/audit";

/// A network policy with its defaults applied (semantics S3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Namespace and name.
    pub id: PolicyId,
    /// Selects the subjects among the pods of its namespace (semantics S2).
    pub subjects: Selector,
    /// The ingress rules; `None`: the policy does not isolate for ingress.
    pub ingress: Option<Vec<Rule>>,
    /// The egress rules; `None`: the policy does not isolate for egress.
    pub egress: Option<Vec<Rule>>,
    /// Reported, not enforced ([`AUDIT_ANNOTATION`]).
    pub audit: bool,
}
