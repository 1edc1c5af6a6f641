//! The tries against a naive longest-prefix scan.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use enforcer_ebpf::contract::networks::Places;
use enforcer_ebpf::contract::table::Limits;
use ipnet::{IpNet, Ipv6Net};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::generate::prefix;
use super::harness::{SMALL, config};
use super::probes::edges;
use crate::policy::Compiled;
use crate::tables::Step;
use crate::tables::change::changes;
use crate::tables::oracle::CheckedImage;
use crate::tables::regions::{Family, Regions, flatten};
use crate::tables::trie4::Trie4;
use crate::tables::trie6::Trie6;
use crate::tables::writer::Writer;

pub(super) type Map = BTreeMap<IpNet, usize>;

/// Both tries, and an image of the kernel.
pub(super) struct Tries {
    trie4: Trie4,
    trie6: Trie6,
    maps: [Regions<u32>; 2],
    pub(super) image: CheckedImage,
    epoch: u64,
}

impl Tries {
    pub(super) fn new(limits: Limits) -> Self {
        Self::with_secrets(limits, Places::KNOWN.secrets)
    }

    pub(super) fn with_secrets(limits: Limits, secrets: [u64; 2]) -> Self {
        Self {
            trie4: Trie4::new(limits.trie4_blocks),
            trie6: Trie6::new(limits.trie6_nodes, limits.trie6_leaves, Places { secrets }),
            maps: [Regions::uniform(0), Regions::uniform(0)],
            image: CheckedImage::new(limits).with_secrets(secrets),
            epoch: 0,
        }
    }

    /// Sets the class of each address to its column. Returns the steps.
    pub(super) fn set(&mut self, map: &Map) -> Vec<Step> {
        let steps = self.plan(map);
        for step in &steps {
            self.image.apply(step).unwrap();
        }
        steps
    }

    /// The steps to these columns.
    pub(super) fn plan(&mut self, map: &Map) -> Vec<Step> {
        let mut writer = Writer::new(self.epoch);
        let compiled = Compiled { addresses: map.clone(), ..Compiled::default() };
        let maps = Family::ALL.map(|family| {
            flatten(&compiled, family).map(|wanted| u32::try_from(wanted.column).unwrap())
        });
        self.trie4.apply(&changes(&self.maps[0], &maps[0]), &mut writer).unwrap();
        self.trie6.apply(&changes(&self.maps[1], &maps[1]), &mut writer).unwrap();
        self.maps = maps;
        self.epoch = writer.epoch;
        writer.steps
    }

    pub(super) fn check(&self, map: &Map, more: &[IpAddr]) -> Result<(), TestCaseError> {
        for address in map.keys().flat_map(edges).chain(more.iter().copied()) {
            let longest = map
                .iter()
                .filter(|(net, _)| net.contains(&address))
                .max_by_key(|(net, _)| net.prefix_len())
                .map_or(0, |(_, column)| *column);
            let found = self.image.entry(address).unwrap();
            prop_assert!(!found.is_link() && !found.is_leaf());
            prop_assert_eq!(found.index() as usize, longest, "{}", address);
        }
        Ok(())
    }
}

fn host(address: u128) -> IpNet {
    Ipv6Net::new(Ipv6Addr::from(address), 128).unwrap().into()
}

const POD_NET: u128 = 0xfd00_0001_0002_0003 << 64;

/// Hosts of one /64: dense, or with random interface ids.
fn pods() -> impl Strategy<Value = Map> {
    let dense = (any::<u16>(), 1u128..300).prop_map(|(at, count)| {
        (0..count)
            .map(|pod| (host(POD_NET | (u128::from(at) + pod)), 1 + pod as usize % 3))
            .collect()
    });
    let random =
        btree_map(any::<u64>().prop_map(|id| host(POD_NET | u128::from(id))), 1usize..4, 0..40);
    prop_oneof![dense, random]
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn nested_prefixes(maps in vec(btree_map(prefix(), 0usize..4, 0..30), 1..5)) {
        let mut tries = Tries::new(Limits { trie6_nodes: 2_000, trie6_leaves: 600, ..SMALL });
        for map in &maps {
            let before: Vec<IpAddr> = map.keys().flat_map(edges).collect();
            tries.set(map);
            tries.check(map, &before)?;
        }
    }

    #[test]
    fn pods_of_one_network(maps in vec((pods(), btree_map(prefix(), 0usize..4, 0..4)), 1..4)) {
        let mut tries = Tries::new(Limits { trie6_nodes: 3_000, trie6_leaves: 3_000, ..SMALL });
        let mut before: Vec<IpAddr> = Vec::new();
        for (pods, blocks) in &maps {
            let mut map = blocks.clone();
            map.extend(pods);
            tries.set(&map);
            tries.check(&map, &before)?;
            before = map.keys().flat_map(edges).collect();
        }
    }
}

fn map(entries: &[(&str, usize)]) -> Map {
    entries.iter().map(|(net, column)| (net.parse().unwrap(), *column)).collect()
}

#[test]
fn a_pod_that_is_added_or_removed_is_one_store() {
    let mut tries = Tries::new(SMALL);
    let all = |last: u8| -> Map {
        let v4 = (1..=last).map(|pod| (format!("10.1.2.{pod}/32").parse().unwrap(), 1));
        let v6 = (1..=last).map(|pod| (format!("fd00:1:2:3::{pod:x}/128").parse().unwrap(), 1));
        v4.chain(v6).collect()
    };
    tries.set(&all(20));
    let steps = tries.set(&all(21));
    assert!(matches!(steps[..], [Step::Trie4 { .. }, Step::Trie6 { .. }]), "{steps:?}");
    let steps = tries.set(&all(20));
    assert!(matches!(steps[..], [Step::Trie4 { .. }, Step::Trie6 { .. }]), "{steps:?}");
}

#[test]
fn dense_pods_need_few_nodes() {
    let mut tries = Tries::new(Limits { trie6_nodes: 4, trie6_leaves: 4, ..SMALL });
    let pods: Map = (0..512u128).map(|pod| (host(POD_NET | pod), 1 + pod as usize % 2)).collect();
    // The root, the branch on the last byte but one, and two on the last.
    tries.set(&pods);
    tries.check(&pods, &[]).unwrap();
}

#[test]
fn a_single_prefix_of_any_length_is_a_leaf() {
    for length in 9..=128u8 {
        let mut tries = Tries::new(Limits { trie6_nodes: 1, trie6_leaves: 1, ..SMALL });
        let net = Ipv6Net::new("fd00:1:2:3:4:5:6:7".parse().unwrap(), length).unwrap().trunc();
        let one = Map::from([(net.into(), 1)]);
        tries.set(&one);
        tries.check(&one, &[]).unwrap();
    }
}

#[test]
fn emptied_tries_free_everything() {
    let mut tries =
        Tries::new(Limits { trie4_blocks: 260, trie6_nodes: 12, trie6_leaves: 6, ..SMALL });
    let full = map(&[
        ("10.1.2.3/32", 1),
        ("10.1.2.128/25", 2),
        ("10.2.0.0/17", 1),
        ("fd00:1:2:3::1/128", 1),
        ("fd00:1:2:3::2/128", 2),
        ("fd00:1:2:4::/63", 1),
        ("2001::/17", 2),
    ]);
    for _ in 0..50 {
        tries.set(&full);
        tries.check(&full, &[]).unwrap();
        tries.set(&Map::new());
        tries.check(&Map::new(), &full.keys().flat_map(edges).collect::<Vec<_>>()).unwrap();
    }
}

/// Below one word of the root, two blocks are removed, in both possible ways, and others are added.
/// The removed ones are reachable until the last store, so the added ones can't reuse them even if
/// there was a grace period before.
#[test]
fn removed_blocks_are_not_reused_by_the_same_change() {
    let mut tries = Tries::new(Limits { trie4_blocks: 262, ..SMALL });
    let before = map(&[("10.1.2.0/25", 1), ("10.1.2.128/25", 2), ("10.1.3.1/32", 1)]);
    let after = map(&[("10.1.2.0/24", 3), ("10.1.4.1/32", 1), ("10.1.5.1/32", 2)]);
    let mut graces = 0;
    for _ in 0..12 {
        for map in [&before, &after] {
            let steps = tries.set(map);
            graces += steps.iter().filter(|step| matches!(step, Step::Grace)).count();
            tries.check(map, &[]).unwrap();
        }
    }
    assert!(graces > 2, "blocks were not used again");
}

#[test]
fn the_whole_space_may_have_any_class() {
    let mut tries = Tries::new(SMALL);
    let both = map(&[("0.0.0.0/0", 3), ("::/0", 2), ("255.255.255.255/32", 1)]);
    tries.set(&both);
    tries.check(&both, &["1.2.3.4".parse().unwrap(), "::1".parse().unwrap()]).unwrap();
}
