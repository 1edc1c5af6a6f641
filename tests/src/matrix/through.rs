//! The path of a connection through a Service: the node that translates it, the backends, and the
//! client's address at the backend's node.

use std::net::IpAddr;

use enforcer_core::model::{Cluster, Protocol, Traffic, TrafficPolicy};

use crate::lab::kube_proxy::{Backend, Plan, PortPlan};
use crate::lab::{Door, Frontend, Lab, LabError, Party};
use crate::probe::Probe;

/// The path of a connection through a Service.
#[derive(Debug)]
pub(super) struct Path {
    pub protocol: Protocol,
    /// The possible backends.
    pub backends: Vec<Backend>,
    /// The destination that the sender's node sees, if another node translates.
    pub untranslated: Option<(IpAddr, Traffic)>,
    /// The node that translates.
    entry: usize,
    /// Whether that node masquerades this kind of client.
    masqueraded: bool,
    /// The source address after masquerading.
    masquerade: IpAddr,
}

impl Path {
    /// The address of the client `own` at a backend on the node `home` (semantics N3). A client
    /// that is its own backend is always masqueraded.
    pub(super) fn client(&self, own: IpAddr, backend: &Backend, home: Option<usize>) -> IpAddr {
        let masqueraded = self.masqueraded || own == backend.at.ip();
        if masqueraded && home != Some(self.entry) { self.masquerade } else { own }
    }
}

/// The path of a probe; `None`: the Service is not reachable that way.
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
        // Every node translates its own pods' packets.
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

/// The kinds of clients that kube-proxy distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    /// In the pods' range.
    Pod,
    /// The node that translates.
    Itself,
    /// Any other client.
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
            (Self::Outside, _) => port.outside(),
            _ => &port.all,
        }
    }
}
