//! The way of a connection through a Service: where it is translated, to what, and what the
//! backend's node can still see of the client.

use std::net::IpAddr;

use enforcer_core::model::{Cluster, Protocol, Traffic, TrafficPolicy};

use crate::lab::kube_proxy::{Backend, Plan, PortPlan};
use crate::lab::{Door, Frontend, Lab, LabError, Party};
use crate::probe::Probe;

/// How a connection through a Service goes.
#[derive(Debug)]
pub(super) struct Path {
    pub protocol: Protocol,
    /// Where it may end.
    pub backends: Vec<Backend>,
    /// What the sender's node sees, where another one translates.
    pub untranslated: Option<(IpAddr, Traffic)>,
    /// The node that translates.
    entry: usize,
    /// Whether that node masquerades every client like this one.
    masqueraded: bool,
    /// To which address.
    masquerade: IpAddr,
}

impl Path {
    /// What the client `own` looks like to a backend on the node `home` (semantics N3). Who gets
    /// itself as its backend is always masqueraded.
    pub(super) fn client(&self, own: IpAddr, backend: &Backend, home: Option<usize>) -> IpAddr {
        let masqueraded = self.masqueraded || own == backend.at.ip();
        if masqueraded && home != Some(self.entry) { self.masquerade } else { own }
    }
}

/// `None`: the Service is not offered there.
pub(super) fn path(
    lab: &Lab,
    cluster: &Cluster,
    probe: &Probe,
    frontend: &Frontend,
) -> Result<Option<Path>, LabError> {
    let Traffic::Port(protocol, number) = probe.traffic else { return Ok(None) };
    let at = lab.address(&probe.to, probe.family)?;
    let home = lab.node_of(&probe.from);
    let entry = match frontend.door {
        Door::Node(index) => Some(usize::from(index)),
        // Every node translates what its own pods send.
        Door::Cluster => home,
        Door::External => home.or_else(|| lab.balanced_to(at)),
    };
    let Some(entry) = entry else { return Ok(None) };
    let plan = Plan::new(cluster, &lab.node_at(entry)?.as_proxy_node(), probe.family);
    let offers = |port: &&PortPlan| {
        let offered = match frontend.door {
            Door::Node(_) => port.node_port,
            Door::Cluster | Door::External => Some(port.port),
        };
        port.service == frontend.service && port.protocol == protocol && offered == Some(number)
    };
    let Some(port) = plan.ports.iter().find(offers) else { return Ok(None) };
    let client = Client::of(lab, &probe.from, entry);
    let elsewhere = home.is_some_and(|home| home != entry);
    Ok(Some(Path {
        protocol,
        backends: client.backends(frontend.door, port).to_vec(),
        untranslated: elsewhere.then_some((at, probe.traffic)),
        entry,
        masqueraded: client.is_masqueraded(frontend.door, port),
        masquerade: lab.outward_address(entry, probe.family)?,
    }))
}

/// What kube-proxy makes of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    /// Of the pods' range.
    Pod,
    /// The node that translates.
    Itself,
    /// Anybody else.
    Outside,
}

impl Client {
    fn of(lab: &Lab, from: &Party, entry: usize) -> Self {
        match from {
            Party::Pod(id) if lab.pods().contains_key(id) => Self::Pod,
            other if lab.node_of(other) == Some(entry) => Self::Itself,
            _ => Self::Outside,
        }
    }

    fn is_masqueraded(self, door: Door, port: &PortPlan) -> bool {
        match (self, door, port.distribution.external) {
            (Self::Itself, ..) => true,
            (Self::Pod, Door::Cluster, _) => false,
            (Self::Outside, Door::Cluster, _) => true,
            (_, _, policy) => policy == TrafficPolicy::Cluster,
        }
    }

    fn backends(self, door: Door, port: &PortPlan) -> &[Backend] {
        match (self, door) {
            (_, Door::Cluster) => port.internal(),
            (Self::Outside, _) => port.from_outside(),
            _ => &port.all,
        }
    }
}
