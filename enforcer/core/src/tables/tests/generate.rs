//! Random [`Desired`] values: few distinct parts, so that they collide and nest.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::fixtures::pod;
use crate::model::{PortRange, Protocol};
use crate::policy::{Compiled, PodPolicy, PortSet, Row, Verdict};
use crate::tables::{Desired, Interface, Owner};

/// Interfaces 1, 4097 and 8193 share their first slot.
const IFINDEXES: [u32; 7] = [1, 2, 3, 4, 4097, 8193, 70_000];

pub(super) fn prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![prefix4(), prefix6()]
}

fn prefix4() -> impl Strategy<Value = IpNet> {
    let bases: Vec<u32> = vec![0, 0x0a01_0200, 0x0a01_0300, 0x0a01_0000, 0x0a02_0000, 0xffff_ff00];
    let lengths: Vec<u8> =
        vec![0, 1, 6, 7, 8, 9, 14, 15, 16, 17, 22, 23, 24, 25, 26, 30, 31, 32, 32, 32, 32, 32, 32];
    let low = prop_oneof![3 => 0u32..6, 1 => 250u32..256];
    (select(bases), low, select(lengths)).prop_map(|(base, low, length)| {
        Ipv4Net::new(Ipv4Addr::from(base | low), length).unwrap().trunc().into()
    })
}

fn prefix6() -> impl Strategy<Value = IpNet> {
    let pods = 0xfd00_0001_0002_0003u128 << 64;
    let bases: Vec<u128> = vec![
        0,
        pods,
        pods | (5 << 16),
        pods + (1 << 64),
        0xfd00_0001_0002u128 << 80,
        !0xff,
        0x2001u128 << 112,
    ];
    let lengths: Vec<u8> = vec![
        0, 1, 7, 8, 9, 12, 16, 31, 32, 48, 60, 63, 64, 65, 72, 96, 111, 112, 120, 124, 127, 128,
        128, 128, 128, 128, 128,
    ];
    let low = prop_oneof![
        4 => 0u128..6,
        1 => 250u128..256,
        1 => any::<u64>().prop_map(u128::from),
        1 => select(vec![1u128 << 63, 1 << 56, 0xabcd << 32]),
    ];
    (select(bases), low, select(lengths)).prop_map(|(base, low, length)| {
        Ipv6Net::new(Ipv6Addr::from(base | low), length).unwrap().trunc().into()
    })
}

fn range() -> impl Strategy<Value = PortRange> {
    select(vec![(80, 80), (81, 90), (85, 85), (0, 0), (1, 100), (443, 443), (65_530, 65_535)])
        .prop_map(|(first, last)| PortRange { first, last })
}

fn port_set() -> impl Strategy<Value = PortSet> {
    let protocol = select(Protocol::ALL.to_vec());
    // One range of each protocol is canonical.
    btree_map(protocol, range().prop_map(|range| vec![range]), 1..3)
        .prop_map(|ranges| PortSet { ranges })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        2 => Just(Verdict::Deny),
        2 => Just(Verdict::Allow),
        3 => port_set().prop_map(|set| Verdict::Ports(set.into())),
    ]
}

/// Some of the Services' addresses.
fn external(services: &BTreeSet<IpNet>) -> BTreeSet<IpNet> {
    services.iter().copied().step_by(2).collect()
}

fn compiled() -> impl Strategy<Value = Compiled> {
    (1usize..5, 1usize..5).prop_flat_map(|(columns, rows)| {
        let rows_strategy = vec(vec(verdict(), columns), rows);
        let policy =
            (proptest::option::weighted(0.8, 0..rows), proptest::option::weighted(0.6, 0..rows));
        let addresses = btree_map(prefix(), 0..columns, 0..14);
        let pods = vec(policy, 4);
        (rows_strategy, addresses, pods, any::<u16>(), services()).prop_map(
            move |(rows, addresses, pods, nodes, service_addresses)| {
                let hosts = addresses.keys().filter(|net| net.prefix_len() == net.max_prefix_len());
                let node_addresses = hosts
                    .enumerate()
                    .filter(|(at, _)| nodes >> (at % 16) & 3 == 3)
                    .map(|(_, net)| *net)
                    .collect();
                let pods = pods
                    .into_iter()
                    .enumerate()
                    .map(|(at, (ingress, egress))| (pod(at), PodPolicy { ingress, egress }));
                Compiled {
                    rows: rows.into_iter().map(|verdicts| Row { verdicts }).collect(),
                    columns,
                    addresses,
                    node_addresses,
                    external_addresses: external(&service_addresses),
                    service_addresses,
                    pods: pods.collect(),
                }
            },
        )
    })
}

/// Service addresses: some have a column or are the node's, some do not.
fn services() -> impl Strategy<Value = BTreeSet<IpNet>> {
    btree_set(prefix().prop_map(|net| IpNet::from(net.addr())), 0..5)
}

fn interface() -> impl Strategy<Value = Interface> {
    // No policy knows pod 4.
    let pods = || (0usize..5).prop_map(pod);
    let owner = prop_oneof![
        6 => pods().prop_map(Owner::Pod),
        1 => pods().prop_map(Owner::Gone),
        1 => any::<bool>().prop_map(|closed| Owner::Unknown { closed }),
    ];
    (owner, own_addresses(), any::<bool>()).prop_map(|(owner, addresses, check_source)| Interface {
        owner,
        addresses,
        uid: String::new(),
        identity: 0,
        check_source,
    })
}

fn own_addresses() -> impl Strategy<Value = BTreeSet<IpAddr>> {
    // No pod has the address zero.
    let address = prefix().prop_map(|net| net.addr()).prop_filter("", |net| !net.is_unspecified());
    btree_set(address, 0..5)
}

fn interfaces() -> impl Strategy<Value = BTreeMap<u32, Interface>> {
    btree_map(select(IFINDEXES.to_vec()), interface(), 0..6)
}

pub(super) fn desired() -> impl Strategy<Value = Desired> {
    (compiled(), interfaces()).prop_map(|(compiled, interfaces)| Desired { compiled, interfaces })
}

/// The same state with a small change; sometimes another state.
pub(super) fn successor(before: Desired) -> BoxedStrategy<Desired> {
    let columns = before.compiled.columns;
    let rows = before.compiled.rows.len();
    let base = move || Just(before.clone());
    prop_oneof![
        2 => desired(),
        2 => (base(), prefix(), 0..columns).prop_map(|(mut next, net, column)| {
            next.compiled.addresses.insert(net, column);
            next
        }),
        2 => (base(), any::<prop::sample::Index>()).prop_map(|(mut next, at)| {
            let nets: Vec<IpNet> = next.compiled.addresses.keys().copied().collect();
            if !nets.is_empty() {
                let net = nets[at.index(nets.len())];
                next.compiled.addresses.remove(&net);
                next.compiled.node_addresses.remove(&net);
            }
            next
        }),
        1 => (base(), services()).prop_map(|(mut next, services)| {
            next.compiled.external_addresses = external(&services);
            next.compiled.service_addresses = services;
            next
        }),
        2 => (base(), 0..rows.max(1), 0..columns, verdict()).prop_map(|(mut next, row, column, verdict)| {
            if let Some(row) = next.compiled.rows.get_mut(row) {
                row.verdicts[column] = verdict;
            }
            next
        }),
        1 => (base(), compiled()).prop_map(|(mut next, compiled)| {
            next.compiled = compiled;
            next
        }),
        1 => (base(), interfaces()).prop_map(|(mut next, interfaces)| {
            next.interfaces = interfaces;
            next
        }),
        1 => (base(), select(IFINDEXES.to_vec()), interface()).prop_map(|(mut next, at, interface)| {
            next.interfaces.insert(at, interface);
            next
        }),
        1 => Just(Desired { compiled: Compiled { columns: 1, ..Compiled::default() }, ..Desired::default() }),
    ]
    .boxed()
}

/// A few consecutive states, and back to earlier ones.
pub(super) fn chain() -> impl Strategy<Value = Vec<Desired>> {
    desired()
        .prop_flat_map(|a| (Just(a.clone()), successor(a)))
        .prop_flat_map(|(a, b)| (Just(a), Just(b.clone()), successor(b)))
        .prop_flat_map(|(a, b, c)| (Just(a), Just(b), Just(c.clone()), successor(c)))
        .prop_map(|(a, b, c, d)| vec![a.clone(), b.clone(), c.clone(), b, d.clone(), a, c, d])
}
