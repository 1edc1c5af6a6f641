//! Shortcuts into the IPv6 trie by network: exact whatever they are, and there for every network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use enforcer_ebpf::contract::endpoint::Order;
use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::lookup::Tables as _;
use enforcer_ebpf::contract::lookup6::near6;
use enforcer_ebpf::contract::table::{Limits, ROOT6};
use ipnet::{IpNet, Ipv6Net};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::harness::{SMALL, config};
use super::probes::edges;
use super::tries::{Map, Tries};
use crate::tables::Step;
use crate::tables::oracle::Image;
use crate::tables::pieces6::halves;

/// The first network of some.
const FIRST: u128 = 0xfd00_0001_0002_0300 << 64;

/// Hashes: a good one; by each of the others, all networks of one /17 have one of 16 places at first, or
/// both.
pub(super) const HASHES: [[u64; 2]; 3] =
    [[0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f], [1, 0xc2b2_ae3d_27d4_eb4f], [1, 1]];

fn host(network: u128, number: u128) -> IpNet {
    Ipv6Net::from(Ipv6Addr::from(FIRST + (network << 64) + number)).into()
}

/// Prefixes in and around a few networks: longer ones, the networks themselves, and ones with several.
fn prefix() -> impl Strategy<Value = IpNet> {
    let network = select(vec![0u128, 1, 2, 5, 0x100, 0x1_0000, 0x3_0000_0000, 0x2_0000_0000_0000]);
    let length = select(vec![
        8u8, 16, 40, 48, 56, 60, 62, 63, 64, 64, 64, 65, 66, 72, 80, 96, 120, 121, 127, 128, 128,
        128, 128, 128, 128, 128, 128,
    ]);
    let number = prop_oneof![
        6 => 0u128..5,
        1 => 250u128..260,
        1 => any::<u64>().prop_map(u128::from),
    ];
    (network, number, length).prop_map(|(network, number, length)| {
        let address = Ipv6Addr::from(FIRST + (network << 64) + number);
        Ipv6Net::new(address, length).unwrap().trunc().into()
    })
}

/// The edges of the prefixes, and of the networks around them.
fn probes(map: &Map) -> Vec<IpAddr> {
    let around = |net: &IpNet| match net {
        IpNet::V6(net) => IpNet::from(Ipv6Net::new(net.addr(), 64).unwrap().trunc()),
        IpNet::V4(_) => *net,
    };
    map.keys().flat_map(|net| edges(net).into_iter().chain(edges(&around(net)))).collect()
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn networks_that_come_and_go_are_exact(
        maps in vec(btree_map(prefix(), 0usize..4, 0..24), 1..6),
        secrets in select(HASHES.to_vec()),
    ) {
        let limits = Limits { trie6_nodes: 4_000, trie6_leaves: 2_000, ..SMALL };
        let mut tries = Tries::with_secrets(limits, secrets);
        let mut before: Vec<IpAddr> = Vec::new();
        for map in &maps {
            tries.set(map);
            before.extend(probes(map));
            tries.check(map, &before)?;
            prop_assert!(shortcuts(&tries.image).is_subset(&words(&tries.image, ROOT)));
        }
    }
}

/// Many networks, and an image that does not look through all of them at each step.
struct Large {
    tries: Tries,
    image: Image,
}

impl Large {
    fn new(limits: Limits) -> Self {
        Self { tries: Tries::new(limits), image: Image::new(limits) }
    }

    fn set(&mut self, map: &Map) {
        for step in self.tries.plan(map) {
            self.image.apply(&step).unwrap();
        }
    }

    /// Whether an address is found by the first place of its network.
    fn is_near(&self, net: &IpNet) -> bool {
        let IpAddr::V6(address) = net.addr() else { return false };
        near6(&self.image, Order::NONE, &halves(address.into())).is_some()
    }
}

#[test]
fn the_pods_of_a_thousand_networks_are_found_by_their_shortcuts() {
    let mut large = Large::new(Limits { trie6_nodes: 1_100, trie6_leaves: 10, ..SMALL });
    let mut pods = Map::new();
    for network in 0..1_000 {
        pods.extend((1..20).map(|pod| (host(network, pod), 1 + pod as usize % 2)));
    }
    // A block around them, and one that cuts a network.
    pods.insert("fd00::/16".parse().unwrap(), 3);
    pods.insert("fd00:1:2:300::/66".parse().unwrap(), 2);
    large.set(&pods);
    let near = pods.keys().filter(|net| net.prefix_len() == 128 && large.is_near(net)).count();
    assert!(near > 1_000 * 19 * 97 / 100, "{near}");
    assert_eq!(shortcuts(&large.image).len(), 1_000);
}

#[test]
fn the_only_pod_of_a_network_is_found_by_its_shortcut() {
    let mut large = Large::new(SMALL);
    let pods: Map = (0..40).map(|network| (host(network, 7), 1)).collect();
    large.set(&pods);
    let near = pods.keys().filter(|net| large.is_near(net)).count();
    assert_eq!((near, shortcuts(&large.image).len()), (40, 40));
}

/// The root of the trie.
const ROOT: u32 = Entry::link(ROOT6).0;

/// The nodes and leaves at a word of the trie and below.
fn words(image: &Image, word: u32) -> BTreeSet<u32> {
    let entry = Entry(word);
    let mut words = BTreeSet::new();
    if entry.is_link() {
        let slots = image.node6(entry.index()).map(|node| BTreeSet::from(node.slots));
        words.extend(slots.iter().flatten().flat_map(|word| self::words(image, *word)));
    }
    if entry.is_link() || entry.is_leaf() {
        words.insert(word);
    }
    words
}

/// The words of all shortcuts.
fn shortcuts(image: &Image) -> BTreeSet<u32> {
    let words = image.networks6().unwrap();
    let word = |word: &u32| match Entry(*word) {
        node if node.is_link() => Entry::link(node.index()).0,
        leaf => leaf.0,
    };
    words.iter().filter(|word| **word != 0).map(word).collect()
}

#[test]
fn others_networks_displace_no_shortcut() {
    let mut large = Large::new(Limits { trie6_nodes: 2_000, trie6_leaves: 24_000, ..SMALL });
    let victims: Map =
        (0..200).flat_map(|network| (1..4).map(move |pod| (host(network << 20, pod), 1))).collect();
    large.set(&victims);
    assert_eq!(shortcuts(&large.image).len(), 200);
    // A single address in each of 20,000 networks.
    let mut all = victims.clone();
    all.extend((0..20_000).map(|network| (host((1 << 50) + network, 9), 2)));
    large.set(&all);
    assert_eq!(shortcuts(&large.image).len(), 20_200);
    large.set(&victims);
    assert_eq!(shortcuts(&large.image).len(), 200, "they are gone with their networks");
}

#[test]
fn without_a_place_a_network_is_looked_up_in_the_trie() {
    let mut tries = Tries::with_secrets(Limits::DEFAULT, [1, 1]);
    let pods: Map =
        (0..9).flat_map(|network| (1..4).map(move |pod| (host(network * 16, pod), 1))).collect();
    tries.set(&pods);
    assert_eq!(shortcuts(&tries.image).len(), 1);
    tries.check(&pods, &[]).unwrap();
}

#[test]
fn a_pod_in_a_known_network_writes_no_shortcut() {
    let mut tries = Tries::new(SMALL);
    let pods = |last: u128| -> Map { (1..=last).map(|pod| (host(0, pod), 1)).collect() };
    tries.set(&pods(20));
    let written = |steps: Vec<Step>| {
        steps.iter().filter(|step| matches!(step, Step::Network6 { .. })).count()
    };
    assert_eq!(written(tries.set(&pods(21))), 0);
    assert_eq!(written(tries.set(&BTreeMap::new())), 1);
}
