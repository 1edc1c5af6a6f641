//! The differences between a connection and a rule that would allow it.

use std::collections::BTreeSet;
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
        /// Whether any other namespace would do as well.
        anywhere: bool,
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

/// The differences in words, for people. Labels that one pod lacks are one entry, and those of the pod that an
/// address would have to be belong to it.
#[must_use]
pub fn differences(changes: &[Change]) -> Vec<String> {
    let lacking = |wanted: Option<&PodId>| -> Vec<String> {
        let of = changes.iter().filter_map(Change::lacking).filter(|(pod, _)| *pod == wanted);
        of.map(|(_, label)| label).collect()
    };
    let mut reported = BTreeSet::new();
    let mut texts = Vec::new();
    for change in changes {
        let (pod, text) = match (change, change.lacking()) {
            (Change::BePod { .. }, _) => match lacking(None) {
                labels if labels.is_empty() => (Some(None), change.to_string()),
                labels => (Some(None), format!("{change} with {}", labels.join(", "))),
            },
            (_, Some((pod, _))) => {
                let labels = lacking(pod);
                let word = if labels.len() == 1 { "label" } else { "labels" };
                let name = pod.map_or_else(|| "the peer".to_owned(), ToString::to_string);
                (Some(pod), format!("{name} lacks {word} {}", labels.join(", ")))
            }
            (_, None) => (None, change.to_string()),
        };
        if pod.is_none_or(|it| reported.insert(it)) {
            texts.push(text);
        }
    }
    texts
}

impl Change {
    /// The label that a pod lacks.
    fn lacking(&self) -> Option<(Option<&PodId>, String)> {
        let Self::PodLabel { pod, fix: LabelFix { key, present: None, want } } = self else {
            return None;
        };
        let label = match want {
            Want::Absent => return None,
            Want::Any { .. } => key.clone(),
            Want::OneOf(values) => format!("{key}={}", alternatives(values)),
        };
        Some((pod.as_ref(), label))
    }

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

fn alternatives(values: &BTreeSet<String>) -> String {
    values.iter().map(String::as_str).collect::<Vec<_>>().join("|")
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PodLabel { pod: Some(pod), fix } => write!(f, "{pod} {fix}"),
            Self::PodLabel { pod: None, fix } => write!(f, "the peer {fix}"),
            Self::NamespaceLabel { namespace, fix } => write!(f, "namespace {namespace} {fix}"),
            Self::Namespace { pod, to } => write!(f, "{pod} is not in namespace {to}"),
            Self::BePod { address, anywhere: true, .. } => write!(f, "{address} is no pod"),
            Self::BePod { address, namespace, .. } => {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lacks(pod: Option<&PodId>, key: &str, value: &str) -> Change {
        let want = Want::OneOf([value.to_owned()].into());
        let fix = LabelFix { key: key.to_owned(), present: None, want };
        Change::PodLabel { pod: pod.cloned(), fix }
    }

    #[test]
    fn labels_of_one_pod_are_one_difference() {
        let web = PodId::new("shop", "web");
        let port = Change::Port {
            from: Traffic::Port(Protocol::Tcp, 81),
            protocol: Protocol::Tcp,
            port: 80,
        };
        let changes = [lacks(Some(&web), "app", "api"), lacks(Some(&web), "role", "x"), port];
        let expected = ["shop/web lacks labels app=api, role=x", "port 80 instead of 81"];
        assert_eq!(differences(&changes), expected);
        assert_eq!(differences(&changes[..1]), ["shop/web lacks label app=api"]);
    }

    #[test]
    fn an_address_is_no_pod_of_the_namespaces_that_a_rule_names() {
        let address = "203.0.113.7".parse().unwrap();
        let pod = |anywhere| Change::BePod { address, namespace: "default".to_owned(), anywhere };
        let labels = [lacks(None, "app", "web"), lacks(None, "role", "x")];
        let with = |anywhere| [[pod(anywhere)].as_slice(), &labels].concat();
        assert_eq!(differences(&with(true)), ["203.0.113.7 is no pod with app=web, role=x"]);
        let named = ["203.0.113.7 is no pod of namespace default with app=web, role=x"];
        assert_eq!(differences(&with(false)), named);
        assert_eq!(differences(&[pod(true)]), ["203.0.113.7 is no pod"]);
    }
}
