//! The reference evaluator's expectation of a probe.

use std::net::IpAddr;

use enforcer_core::model::{Cluster, PodId, Protocol, Traffic};
use enforcer_core::policy::reference::connection;
use enforcer_ebpf::contract::verdict::Direction;

use super::through;
use crate::lab::kube_proxy::Backend;
use crate::lab::{Family, Frontend, Lab, LabError, Party};
use crate::probe::Probe;

/// A cluster, and each node's view of it: only the node's own addresses are exempt (semantics A2,
/// A5).
#[derive(Debug)]
pub struct Judge<'a> {
    lab: &'a Lab,
    cluster: &'a Cluster,
    views: Vec<Cluster>,
}

/// The expected outcome of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// A direct connection, allowed or not.
    Direct(bool),
    /// A connection to one of a Service's backends, each allowed or not.
    Backends(Vec<(PodId, bool)>),
}

impl Expectation {
    /// Whether an answer is possible.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match self {
            Self::Direct(allowed) => *allowed,
            Self::Backends(all) => all.iter().any(|(_, allowed)| *allowed),
        }
    }
}

impl<'a> Judge<'a> {
    /// An evaluator of the lab's connections by the policies of `cluster`.
    pub fn new(cluster: &'a Cluster, lab: &'a Lab) -> Self {
        let view = |node: &crate::lab::LabNode| {
            let node_addresses = node.addresses().iter().copied().collect();
            Cluster { node_addresses, ..cluster.clone() }
        };
        Self { lab, cluster, views: lab.nodes().iter().map(view).collect() }
    }

    /// The expected outcome, by the policies of both ends (semantics S5).
    pub fn expected(&self, probe: &Probe) -> Result<Expectation, LabError> {
        if let Party::Service(frontend) = &probe.to {
            return self.expected_through(probe, frontend).map(Expectation::Backends);
        }
        let from = self.sender(&probe.from, self.lab.node_of(&probe.to), probe.family)?;
        let to = self.lab.address(&probe.to, probe.family)?;
        let (sender, receiver) = (self.lab.node_of(&probe.from), self.lab.node_of(&probe.to));
        let allowed = self.allows(sender, Direction::Egress, from, to, probe.traffic)
            && self.allows(receiver, Direction::Ingress, from, to, probe.traffic);
        Ok(Expectation::Direct(allowed))
    }

    fn expected_through(
        &self,
        probe: &Probe,
        frontend: &Frontend,
    ) -> Result<Vec<(PodId, bool)>, LabError> {
        let Some(path) = through::path(self.lab, self.cluster, probe, frontend)? else {
            return Ok(Vec::new());
        };
        let sender = self.lab.node_of(&probe.from);
        let mut all = Vec::new();
        for backend in path.backends.iter().filter(|it| self.is_served(it, path.protocol)) {
            let traffic = Traffic::Port(path.protocol, backend.at.port());
            let own = self.lab.address(&probe.from, probe.family)?;
            // N1: the backend's address counts, as far as the sender's node knows it.
            let (to, as_sent) = path.untranslated.unwrap_or((backend.at.ip(), traffic));
            let home = self.lab.node_of(&Party::Pod(backend.pod.clone()));
            let client = path.client(own, backend, home);
            let allowed = self.allows(sender, Direction::Egress, own, to, as_sent)
                && self.allows(home, Direction::Ingress, client, backend.at.ip(), traffic);
            all.push((backend.pod.clone(), allowed));
        }
        Ok(all)
    }

    /// Whether the backend listens: a pod need not serve its Service's target port.
    fn is_served(&self, backend: &Backend, protocol: Protocol) -> bool {
        let Some(ports) = self.lab.ports(&backend.pod) else { return false };
        match protocol {
            Protocol::Tcp => ports.tcp.contains(&backend.at.port()),
            Protocol::Udp => ports.udp.contains(&backend.at.port()),
            Protocol::Sctp => false,
        }
    }

    /// Whether one end allows it; an end that is not on a node of the lab always does.
    fn allows(
        &self,
        node: Option<usize>,
        direction: Direction,
        from: IpAddr,
        to: IpAddr,
        traffic: Traffic,
    ) -> bool {
        let Some(view) = node.and_then(|index| self.views.get(index)) else { return true };
        let all = connection(view, from, to, traffic);
        all.iter().filter(|it| it.direction == direction).all(|it| it.why.allows())
    }

    /// The source address of a party; a node's depends on the destination.
    fn sender(
        &self,
        party: &Party,
        towards: Option<usize>,
        family: Family,
    ) -> Result<IpAddr, LabError> {
        match (party, self.lab.node_of(party)) {
            (Party::Node | Party::OtherNode(_), Some(own))
                if towards.is_some_and(|it| it != own) =>
            {
                self.lab.outward_address(own, family)
            }
            _ => self.lab.address(party, family),
        }
    }
}
