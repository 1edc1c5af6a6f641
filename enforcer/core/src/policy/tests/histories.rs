//! Random histories of small clusters whose objects collide.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::model::{
    Block, Change, Cluster, ContainerPort, Labels, Namespace, Peer, Pod, PodId, Policy, PolicyId,
    PortRange, PortRule, PortSpec, Protocol, Requirement, Rule, Selector, Service, ServiceId,
};

const NAMESPACES: [&str; 3] = ["red", "green", "blue"];
const ADDRESSES: [&str; 9] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.4",
    "10.0.1.1",
    "192.0.2.1",
    "fd00::1",
    "fd00::2",
    "fd00:1::1",
];
const BLOCKS: [&str; 10] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/24",
    "10.0.0.2/31",
    "10.0.0.3/32",
    "192.0.2.0/24",
    "::/0",
    "fd00::/16",
    "fd00::/127",
    "fd00::2/128",
];

/// The pods that are this node's: those with even numbers.
pub(crate) fn local(cluster: &Cluster) -> BTreeSet<PodId> {
    let is_even = |pod: &&PodId| pod.name.ends_with(['0', '2', '4']);
    cluster.pods.keys().filter(is_even).cloned().collect()
}

fn labels() -> impl Strategy<Value = Labels> {
    let pair = |key: &'static str, values: &'static [&'static str]| {
        option::weighted(0.7, select(values)).prop_map(move |value| value.map(|it| (key, it)))
    };
    (pair("app", &["a", "b", "c"]), pair("tier", &["x", "y"])).prop_map(|(app, tier)| {
        let pairs = app.into_iter().chain(tier);
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    })
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let values = |values: &'static [&'static str]| {
        btree_set(select(values), 1..3)
            .prop_map(|it| it.into_iter().map(str::to_owned).collect::<BTreeSet<_>>())
    };
    prop_oneof![
        4 => values(&["a", "b", "c"]).prop_map(|it| Requirement::In("app".into(), it.into())),
        1 => values(&["a", "c"]).prop_map(|it| Requirement::NotIn("app".into(), it.into())),
        1 => Just(Requirement::Exists("tier".into())),
        1 => Just(Requirement::DoesNotExist("tier".into())),
        1 => values(&["x"]).prop_map(|it| Requirement::In("tier".into(), it.into())),
    ]
}

fn selector() -> impl Strategy<Value = Selector> {
    btree_set(requirement(), 0..3)
        .prop_map(|requirements| Selector { requirements: requirements.into() })
}

fn block() -> impl Strategy<Value = Peer> {
    (select(&BLOCKS[..]), btree_set(select(&BLOCKS[..]), 0..3)).prop_map(|(cidr, except)| {
        let parse = |net: &str| net.parse().unwrap();
        Peer::Block(Block { cidr: parse(cidr), except: except.into_iter().map(parse).collect() })
    })
}

fn peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        3 => (option::of(selector()), selector())
            .prop_map(|(namespaces, pods)| Peer::Pods { namespaces, pods }),
        2 => block(),
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(&[Protocol::Tcp, Protocol::Udp][..])
}

fn port() -> impl Strategy<Value = PortRule> {
    let range = |first, last| PortSpec::Range(PortRange { first, last });
    let port = prop_oneof![
        1 => Just(PortSpec::All),
        3 => select(vec![range(80, 80), range(80, 90), range(443, 443)]),
        3 => select(&["http", "dns"][..]).prop_map(|it| PortSpec::Named(it.to_owned())),
    ];
    (protocol(), port).prop_map(|(protocol, port)| PortRule { protocol, port })
}

fn rule() -> impl Strategy<Value = Rule> {
    (vec(peer(), 0..3), vec(port(), 0..3)).prop_map(|(peers, ports)| Rule { peers, ports })
}

fn pod() -> impl Strategy<Value = Pod> {
    let ports = btree_set((select(&["http", "dns"][..]), protocol(), 80u16..83), 0..3);
    let id = (select(&NAMESPACES[..]), 0..6u8);
    let state = (prop::bool::weighted(0.1), prop::bool::weighted(0.1), prop::bool::weighted(0.2));
    let addresses = btree_set(select(&ADDRESSES[..]), 0..3);
    (id, labels(), addresses, state, ports).prop_map(|(id, labels, addresses, state, ports)| {
        let port = |(name, protocol, port): (&str, _, _)| ContainerPort {
            name: name.to_owned(),
            protocol,
            port,
        };
        let (host_network, finished, terminating) = state;
        Pod {
            labels,
            addresses: addresses.into_iter().map(address).collect(),
            host_network,
            finished,
            terminating,
            ports: ports.into_iter().map(port).collect(),
            ..Pod::new(PodId::new(id.0, format!("pod-{}", id.1)))
        }
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let id = (select(&NAMESPACES[..]), 0..3u8);
    let rules = || option::weighted(0.7, vec(rule(), 0..4));
    let audit = prop::bool::weighted(0.1);
    (id, selector(), rules(), rules(), audit).prop_map(|(id, subjects, ingress, egress, audit)| {
        let id = PolicyId::new(id.0, format!("policy-{}", id.1));
        Policy { id, subjects, ingress, egress, audit }
    })
}

fn service() -> impl Strategy<Value = Service> {
    let addresses = || btree_set(select(&ADDRESSES[..]).prop_map(address), 0..2);
    (0..2u8, addresses(), addresses()).prop_map(|(at, cluster_addresses, external_addresses)| {
        let id = ServiceId::new("red", format!("service-{at}"));
        Service { id, cluster_addresses, external_addresses, ..Service::default() }
    })
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A change of one object.
pub(crate) fn change() -> impl Strategy<Value = Change> {
    let space = || select(&NAMESPACES[..]).prop_map(str::to_owned);
    prop_oneof![
        8 => pod().prop_map(Change::Pod),
        3 => pod().prop_map(|it| Change::PodGone(it.id)),
        8 => policy().prop_map(Change::Policy),
        3 => policy().prop_map(|it| Change::PolicyGone(it.id)),
        2 => (space(), labels(), prop::bool::weighted(0.2)).prop_map(|(name, labels, audit)| {
            Change::Namespace(Namespace { audit, ..Namespace::new(name, labels) })
        }),
        1 => space().prop_map(Change::NamespaceGone),
        2 => service().prop_map(Change::Service),
        1 => service().prop_map(|it| Change::ServiceGone(it.id)),
    ]
}

/// A history: batches of changes.
pub(crate) fn history(length: usize) -> impl Strategy<Value = Vec<Vec<Change>>> {
    let batch = prop_oneof![4 => vec(change(), 1..2), 1 => vec(change(), 2..6)];
    (vec(change(), 0..20), vec(batch, 0..length)).prop_map(|(first, mut batches)| {
        batches.insert(0, first);
        batches
    })
}

/// The changes that lead from one cluster to another.
pub(crate) fn between(from: &Cluster, to: &Cluster) -> Vec<Change> {
    let mut changes = Vec::new();
    fn diff<K: Ord + Clone, V: PartialEq + Clone>(
        from: &BTreeMap<K, V>,
        to: &BTreeMap<K, V>,
        changed: impl Fn(V) -> Change,
        gone: impl Fn(K) -> Change,
        changes: &mut Vec<Change>,
    ) {
        let new = to.iter().filter(|(key, value)| from.get(key) != Some(value));
        changes.extend(new.map(|(_, value)| changed(value.clone())));
        let old = from.keys().filter(|key| !to.contains_key(key));
        changes.extend(old.map(|key| gone(key.clone())));
    }
    let all = &mut changes;
    diff(&from.namespaces, &to.namespaces, Change::Namespace, Change::NamespaceGone, all);
    diff(&from.pods, &to.pods, Change::Pod, Change::PodGone, all);
    diff(&from.policies, &to.policies, Change::Policy, Change::PolicyGone, all);
    diff(&from.services, &to.services, Change::Service, Change::ServiceGone, all);
    changes
}
