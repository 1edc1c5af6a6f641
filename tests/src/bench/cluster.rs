//! The measured cluster: a subject, a pod that is not isolated, and many peers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_core::model::{
    Block, Cluster, Labels, Namespace, Peer, Pod, PodId, Policy, PolicyId, PortRange, PortRule,
    PortSpec, Protocol, Requirement, Rule, Selector, Service, ServiceId,
};

/// The size of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) policies: usize,
    pub(super) peers: usize,
}

fn selector(value: &str) -> Selector {
    let requirement = Requirement::In("app".to_owned(), [value.to_owned()].into());
    Selector { requirements: [requirement].into() }
}

fn pod(name: String, label: &str, addresses: [IpAddr; 2]) -> Pod {
    Pod {
        labels: Labels::from([("app".to_owned(), label.to_owned())]),
        addresses: addresses.into(),
        ..Pod::new(PodId::new("bench", name))
    }
}

/// The addresses of the pod `number`: dense, like in a real cluster.
pub(super) fn address(number: u32, v4: bool) -> IpAddr {
    if v4 {
        Ipv4Addr::from(0x0a00_0000 + number).into()
    } else {
        // 250 pods of each node's /64.
        let (node, pod) = (u128::from(number / 250), u128::from(number % 250 + 1));
        Ipv6Addr::from((0xfd12_3456_789a_u128 << 80) + (node << 64) + pod).into()
    }
}

pub(super) fn outside(number: u32, v4: bool, block: bool) -> IpAddr {
    match (v4, block) {
        (true, true) => Ipv4Addr::from(0xc612_0000 + number).into(),
        (true, false) => Ipv4Addr::from(0xcb00_7100 + number * 77).into(),
        (false, true) => Ipv6Addr::from((0x2001_0db8_u128 << 96) + u128::from(number)).into(),
        (false, false) => Ipv6Addr::from((0x2600_1f18_u128 << 96) + u128::from(number * 77)).into(),
    }
}

pub(super) const SUBJECT: u32 = 1;
pub(super) const FREE: u32 = 2;
pub(super) const NODE: u32 = 3;
pub(super) const SERVICE: u32 = 4;
pub(super) const FIRST_PEER: u32 = 256;

pub(super) fn cluster(shape: Shape) -> Cluster {
    let both = |number| [address(number, true), address(number, false)];
    let peers = u32::try_from(shape.peers).unwrap_or(u32::MAX);
    let mut pods = vec![
        pod("subject".to_owned(), "subject", both(SUBJECT)),
        pod("free".to_owned(), "free", both(FREE)),
    ];
    pods.extend((0..peers).map(|it| pod(format!("peer{it}"), "peer", both(FIRST_PEER + it))));
    let service = Service {
        id: ServiceId::new("bench", "service"),
        cluster_addresses: both(SERVICE).into(),
        ..Service::default()
    };
    let policies = (0..shape.policies).map(|number| {
        let policy = policy(number);
        (policy.id.clone(), policy)
    });
    Cluster {
        namespaces: BTreeMap::from([("bench".to_owned(), Namespace::new("bench", Labels::new()))]),
        pods: pods.into_iter().map(|pod| (pod.id.clone(), pod)).collect(),
        policies: policies.collect(),
        node_addresses: both(NODE).into(),
        services: BTreeMap::from([(service.id.clone(), service)]),
        ..Cluster::default()
    }
}

/// A policy that allows peers on port 80 and on a port unique to the policy, a block on port 80,
/// and all egress to the block and to the pod that is not isolated.
fn policy(number: usize) -> Policy {
    let tcp = |port: u16| PortRule {
        protocol: Protocol::Tcp,
        port: PortSpec::Range(PortRange { first: port, last: port }),
    };
    let own = 20_000 + u16::try_from(number).unwrap_or_default();
    let block = |cidr: &str| {
        let cidr = cidr.parse().ok()?;
        Some(Peer::Block(Block { cidr, except: BTreeSet::new() }))
    };
    let blocks = || block("198.18.0.0/15").into_iter().chain(block("2001:db8::/32"));
    let peers = Peer::Pods { namespaces: None, pods: selector("peer") };
    let backends = Peer::Pods { namespaces: None, pods: selector("free") };
    Policy {
        id: PolicyId::new("bench", format!("policy{number}")),
        subjects: selector("subject"),
        ingress: Some(vec![
            Rule { peers: vec![peers], ports: vec![tcp(80), tcp(own)] },
            Rule { peers: blocks().collect(), ports: vec![tcp(80)] },
        ]),
        egress: Some(vec![
            Rule { peers: blocks().collect(), ports: Vec::new() },
            Rule { peers: vec![backends], ports: Vec::new() },
        ]),
        audit: false,
    }
}
