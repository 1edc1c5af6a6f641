//! The labs for the cases: the topology, and the number of nodes.

use std::fmt;
use std::net::IpAddr;

use enforcer_tests::lab::{Fabric, Layout, Party, Site, Topology};
use ipnet::IpNet;

/// The lab that runs the cases' pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ground {
    pub topology: Topology,
    /// 1 or 2.
    pub nodes: u8,
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nodes {
            1 => self.topology.fmt(f),
            nodes => write!(f, "{}, {nodes} nodes", self.topology),
        }
    }
}

impl Ground {
    pub(crate) fn one_node(topology: Topology) -> Self {
        Self { topology, nodes: 1 }
    }

    pub(crate) fn layout(self) -> Layout {
        Layout { nodes: self.nodes, ..Layout::one_node(self.topology) }
    }

    /// The index of the node that runs a pod: constant through all cases, and half of the pods of
    /// each namespace on each node.
    pub(crate) fn node_of(self, pod: &str) -> u8 {
        let bytes = pod.bytes().fold(0_u8, u8::wrapping_add);
        bytes % self.nodes
    }

    /// All pods' subnets, as one prefix of each family.
    pub(crate) fn pods(self) -> [IpNet; 2] {
        if self.nodes == 1 {
            return Site::new(self.topology, 0).pods();
        }
        self.topology.pod_ranges()
    }

    /// The first node's addresses.
    pub(crate) fn node_addresses(self) -> Vec<IpAddr> {
        Site::new(self.topology, 0).addresses(Fabric::Routed)
    }

    /// A case's `node` is the node of the pod at the other end (semantics A2).
    pub(crate) fn localized(self, party: &Party, other: &Party) -> Party {
        match (party, other) {
            (Party::Node, Party::Pod(pod)) => {
                Party::node(usize::from(self.node_of(&pod.to_string())))
            }
            _ => party.clone(),
        }
    }
}
