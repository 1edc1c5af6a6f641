//! Namespaces and pods.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use enforcer_core::model::{ContainerPort, Namespace, Pod, PodId, Protocol, Uid};
use proptest::bool;
use proptest::collection::{btree_set, vec};
use proptest::prop_oneof;
use proptest::sample::{select, subsequence};
use proptest::strategy::{Just, Strategy};

use super::address::{v4, v6};
use super::label::{NAMESPACES, labels};

/// The name of the node of the local pods.
pub const NODE: &str = "node-here";

pub(super) const PORT_NAMES: [&str; 2] = ["dns", "http"];
/// Ports near each other and near the edges, so that ranges touch.
pub(super) const PORTS: [u16; 10] = [1, 2, 53, 79, 80, 81, 443, 8_080, 65_534, 65_535];

/// One of the namespaces, mostly the first, so that policies and pods meet.
pub(super) fn namespace() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just(NAMESPACES[0]), 2 => select(NAMESPACES.to_vec())]
}

/// Some of the namespaces, with labels.
pub(super) fn namespaces() -> impl Strategy<Value = Vec<Namespace>> {
    let all = NAMESPACES.to_vec();
    let mostly = prop_oneof![4 => Just(all.clone()), 1 => subsequence(all, 0..=NAMESPACES.len())];
    let each = vec((labels(), bool::weighted(0.05)), NAMESPACES.len());
    (mostly, each).prop_map(|(names, each)| {
        let namespace =
            |(name, (labels, audit))| Namespace { audit, ..Namespace::new(name, labels) };
        names.into_iter().zip(each).map(namespace).collect()
    })
}

/// The addresses of a pod: of one or both families, rarely none or several of one family.
fn addresses() -> impl Strategy<Value = BTreeSet<IpAddr>> {
    let v4 = || v4().prop_map(IpAddr::V4);
    let v6 = || v6().prop_map(IpAddr::V6);
    prop_oneof![
        4 => (v4(), v6()).prop_map(|(four, six)| BTreeSet::from([four, six])),
        4 => v4().prop_map(|it| BTreeSet::from([it])),
        3 => v6().prop_map(|it| BTreeSet::from([it])),
        1 => (btree_set(v4(), 0..=2), btree_set(v6(), 0..=2)).prop_map(|(four, six)| &four | &six),
    ]
}

pub(super) fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![
        3 => Just(Protocol::Tcp),
        2 => Just(Protocol::Udp),
        1 => Just(Protocol::Sctp),
    ]
}

fn container_port() -> impl Strategy<Value = ContainerPort> {
    (select(PORT_NAMES.to_vec()), protocol(), select(PORTS.to_vec()))
        .prop_map(|(name, protocol, port)| ContainerPort { name: name.to_owned(), protocol, port })
}

/// A pod without a name.
pub(super) fn pod() -> impl Strategy<Value = Pod> {
    let node = prop_oneof![6 => Just(Some(NODE)), 3 => Just(Some("node-there")), 1 => Just(None)];
    let host_network = bool::weighted(0.1);
    let finished = bool::weighted(0.1);
    let terminating = bool::weighted(0.2);
    let ends = (finished, terminating);
    let ports = btree_set(container_port(), 0..=3);
    (namespace(), labels(), node, addresses(), host_network, ends, ports).prop_map(
        |(namespace, labels, node, addresses, host_network, (finished, terminating), ports)| Pod {
            id: PodId::new(namespace, ""),
            uid: Uid::default(),
            labels,
            node: node.map(Into::into),
            addresses: addresses.into(),
            host_network,
            finished,
            terminating,
            ports: ports.into(),
        },
    )
}

/// The pods by their ids, with unique names.
pub(super) fn numbered(pods: Vec<Pod>) -> BTreeMap<PodId, Pod> {
    let named = pods.into_iter().enumerate().map(|(number, mut pod)| {
        pod.id.name = format!("pod-{number}").into();
        pod.uid = format!("uid-{number}").into();
        pod
    });
    named.map(|pod| (pod.id.clone(), pod)).collect()
}
