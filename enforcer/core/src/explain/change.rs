//! The differences between a connection and a rule that would allow it.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::labels::{LabelFix, Want};
use crate::model::{PodId, Protocol, Traffic};

/// One difference between a connection and a rule: with all differences removed, the rule allows
/// the connection. `Display` names it in a few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The peer needs another label.
    PodLabel {
        /// The peer; `None`: the pod of [`Change::BePod`].
        pod: Option<PodId>,
        /// The label.
        fix: LabelFix,
    },
    /// The peer's namespace needs another label.
    NamespaceLabel {
        /// The namespace.
        namespace: String,
        /// The label.
        fix: LabelFix,
    },
    /// The peer has to be in another namespace.
    Namespace {
        /// The peer.
        pod: PodId,
        /// The namespace.
        to: String,
    },
    /// The rule names pods, but the peer is none.
    BePod {
        /// The peer.
        address: IpAddr,
        /// A namespace that the rule names.
        namespace: String,
    },
    /// The peer's address is not in the block.
    Address {
        /// The peer.
        address: IpAddr,
        /// The block.
        cidr: IpNet,
        /// The exception that has the address, if it is in the block.
        except: Option<IpNet>,
        /// An address that the block has.
        instead: IpAddr,
    },
    /// The rule allows another port or protocol.
    Port {
        /// What was asked for.
        from: Traffic,
        /// The protocol that the rule allows.
        protocol: Protocol,
        /// The nearest port that the rule allows.
        port: u16,
    },
    /// The receiver has no port of this name (semantics R7).
    DeclarePort {
        /// The receiver; `None`: the pod of [`Change::BePod`].
        pod: Option<PodId>,
        /// The name in the rule.
        name: String,
        /// Its protocol.
        protocol: Protocol,
        /// The number that was asked for.
        port: u16,
    },
}

/// How far these changes lead: a wrong port is nearer than a missing label, a missing label nearer
/// than a wrong namespace, and an address that is no pod's is the furthest.
#[must_use]
pub fn cost(changes: &[Change]) -> u32 {
    changes.iter().map(Change::cost).sum()
}

impl Change {
    fn cost(&self) -> u32 {
        match self {
            Self::Port { from: Traffic::Port(asked, _), protocol, .. } if asked == protocol => 4,
            Self::Port { .. } => 5,
            Self::PodLabel { fix, .. } if fix.present.is_none() => 4,
            Self::PodLabel { .. } | Self::DeclarePort { .. } => 5,
            Self::NamespaceLabel { fix, .. } if fix.present.is_none() => 6,
            Self::NamespaceLabel { .. } => 7,
            Self::Namespace { .. } => 8,
            Self::Address { except: Some(_), .. } => 8,
            Self::Address { .. } => 10,
            Self::BePod { .. } => 12,
        }
    }
}

impl fmt::Display for LabelFix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, present, want } = self;
        match (want, present) {
            (Want::Absent, Some(value)) => write!(f, "has label {key}={value}"),
            (Want::Absent, None) => write!(f, "has label {key}"),
            (Want::Any { .. }, None) => write!(f, "lacks label {key}"),
            (Want::Any { .. }, Some(value)) => write!(f, "has {key}={value}"),
            (Want::OneOf(values), None) => write!(f, "lacks label {key}={}", alternatives(values)),
            (Want::OneOf(values), Some(value)) => {
                write!(f, "has {key}={value} instead of {key}={}", alternatives(values))
            }
        }
    }
}

fn alternatives(values: &std::collections::BTreeSet<String>) -> String {
    values.iter().map(String::as_str).collect::<Vec<_>>().join("|")
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PodLabel { pod: Some(pod), fix } => write!(f, "{pod} {fix}"),
            Self::PodLabel { pod: None, fix } => write!(f, "the peer {fix}"),
            Self::NamespaceLabel { namespace, fix } => write!(f, "namespace {namespace} {fix}"),
            Self::Namespace { pod, to } => write!(f, "{pod} is not in namespace {to}"),
            Self::BePod { address, namespace } => {
                write!(f, "{address} is no pod of namespace {namespace}")
            }
            Self::Address { address, cidr, except: None, .. } => {
                write!(f, "{address} is not in {cidr}")
            }
            Self::Address { address, cidr, except: Some(except), .. } => {
                write!(f, "{address} is in {except}, an exception of {cidr}")
            }
            Self::Port { from: Traffic::Port(asked, old), protocol, port } if asked == protocol => {
                write!(f, "port {port} instead of {old}")
            }
            Self::Port { from: Traffic::Port(asked, old), protocol, port } if old == port => {
                write!(f, "protocol {protocol} instead of {asked}")
            }
            Self::Port { from: Traffic::Port(asked, old), protocol, port } => {
                write!(f, "{protocol} port {port} instead of {asked} port {old}")
            }
            Self::Port { from: Traffic::Portless, protocol, port } => {
                write!(f, "{protocol} port {port} instead of a protocol without ports")
            }
            Self::DeclarePort { pod, name, protocol, .. } => {
                let pod = pod.as_ref().map_or_else(|| "the peer".to_owned(), ToString::to_string);
                write!(f, "{pod} has no {protocol} port named {name}")
            }
        }
    }
}
