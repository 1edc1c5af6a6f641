//! The changes that make an entry of a rule's `ports` match.

use super::change::Change;
use crate::model::{ContainerPort, PodId, PortRule, PortSpec, Traffic};

/// A pod that receives the connection, and whose ports have names (semantics R7).
#[derive(Debug, Clone, Copy)]
pub(super) struct Receiver<'a> {
    /// `None`: a pod that does not exist yet.
    pub(super) pod: Option<&'a PodId>,
    pub(super) ports: &'a [ContainerPort],
}

/// The change after which the entry matches the traffic towards one of these pods: `Some(None)` if
/// it does already; `None` if no change of port makes it match.
pub(super) fn missing(
    entry: &PortRule,
    receivers: &[Receiver<'_>],
    traffic: Traffic,
) -> Option<Option<Change>> {
    let asked = match traffic {
        Traffic::Port(protocol, port) if protocol == entry.protocol => Some(port),
        _ => None,
    };
    let near = match traffic {
        Traffic::Port(_, port) => port,
        Traffic::Portless => 0,
    };
    let instead = |port| Some(Some(Change::Port { from: traffic, protocol: entry.protocol, port }));
    match &entry.port {
        PortSpec::All if asked.is_some() => Some(None),
        PortSpec::All => instead(near),
        PortSpec::Range(range) if asked.is_some_and(|port| range.contains(port)) => Some(None),
        // A range that ends before it begins is empty.
        PortSpec::Range(range) if range.first > range.last => None,
        PortSpec::Range(range) => instead(near.clamp(range.first, range.last)),
        PortSpec::Named(name) => {
            let is_named = |it: &&ContainerPort| it.name == *name && it.protocol == entry.protocol;
            let numbers = || receivers.iter().flat_map(|it| it.ports.iter().filter(is_named));
            if asked.is_some_and(|port| numbers().any(|it| it.port == port)) {
                return Some(None);
            }
            if let Some(named) = numbers().next() {
                return instead(named.port);
            }
            let receiver = receivers.first()?;
            let port = asked?;
            let (pod, name, protocol) = (receiver.pod.cloned(), name.clone(), entry.protocol);
            Some(Some(Change::DeclarePort { pod, name, protocol, port }))
        }
    }
}
