//! Ports at the edges of ranges, in the loaded programs (semantics R7, R8, R9).

use std::collections::BTreeMap;

use enforcer_core::model::{
    Cluster, Policy, PolicyId, PortRange, PortRule, PortSpec, Protocol, Rule, Selector,
};
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_tests::frame::Transport;
use enforcer_tests::rig::{Rig, with_interfaces};

use crate::support::{FAMILIES, Family, cluster, frame, passes, subject, with_loaded};

/// The usual cluster with a single policy, which allows these ports in both directions, for all
/// peers.
fn allowing(protocol: Protocol, ranges: &[(u16, u16)]) -> Cluster {
    let port = |(first, last): &(u16, u16)| PortRule {
        protocol,
        port: PortSpec::Range(PortRange { first: *first, last: *last }),
    };
    let rule = Rule { peers: vec![], ports: ranges.iter().map(port).collect() };
    let policy = Policy {
        id: PolicyId::new("shop", "ports"),
        subjects: Selector::default(),
        ingress: Some(vec![rule.clone()]),
        egress: Some(vec![rule]),
        audit: false,
    };
    Cluster { policies: BTreeMap::from([(policy.id.clone(), policy)]), ..cluster() }
}

/// Checks the first packet to each of these ports, in both directions and families.
fn check(rig: &mut Rig, protocol: Protocol, ports: impl IntoIterator<Item = (u16, bool)>) {
    for (port, allowed) in ports {
        for Family { friend: peer, subject: own, .. } in FAMILIES {
            for direction in Direction::ALL {
                let (from, to) = match direction {
                    Direction::Ingress => (peer, own),
                    Direction::Egress => (own, peer),
                };
                // No packet is the reply to another one.
                let source = if port == 40_000 { 40_001 } else { 40_000 };
                let frame = frame(from, to, Transport::open(protocol, source, port));
                let passed = passes(rig, direction, &frame);
                assert_eq!(passed, allowed, "{protocol} {port} {direction:?} {from}");
            }
        }
    }
}

fn with_ports(protocol: Protocol, ranges: &[(u16, u16)], test: impl FnOnce(&mut Rig) + Send) {
    with_interfaces(1, |interfaces| {
        with_loaded(|rig| {
            let pods = BTreeMap::from([(subject(), interfaces[0])]);
            rig.program(&allowing(protocol, ranges), pods).unwrap();
            test(rig);
        });
    });
}

/// The ports at, before and behind each edge, and whether a range contains them.
fn edges(ranges: &[(u16, u16)]) -> BTreeMap<u16, bool> {
    let ends = ranges.iter().flat_map(|(first, last)| [*first, *last]);
    let near = ends.flat_map(|it| [it.saturating_sub(1), it, it.saturating_add(1)]);
    let all = near.chain([0, 1, 32_767, 32_768, 65_534, 65_535]);
    let has = |port: u16| ranges.iter().any(|(first, last)| (*first..=*last).contains(&port));
    all.map(|port| (port, has(port))).collect()
}

/// Ranges that are adjacent, overlap, contain each other, or end at the first or last port.
const RANGES: [&[(u16, u16)]; 7] = [
    &[(1, 1)],
    &[(65_535, 65_535)],
    &[(1, 65_535)],
    &[(80, 80), (81, 81), (83, 90)],
    &[(100, 200), (150, 250), (250, 260), (120, 130)],
    &[(1_000, 1_999), (2_000, 2_999), (3_001, 3_001)],
    &[(65_000, 65_535), (1, 2), (63, 64), (32_767, 32_768)],
];

#[test]
fn r7_r8_ports_of_each_protocol_at_the_edges_of_ranges() {
    for protocol in Protocol::ALL {
        for ranges in RANGES {
            with_ports(protocol, ranges, |rig| check(rig, protocol, edges(ranges)));
        }
    }
}

#[test]
fn r8_a_port_of_one_protocol_is_not_allowed_for_another() {
    for protocol in Protocol::ALL {
        with_ports(protocol, &[(7_000, 7_000)], |rig| {
            for other in Protocol::ALL {
                check(rig, other, [(7_000, other == protocol)]);
            }
        });
    }
}

/// Other implementations truncate the ports of a rule after two dozen.
#[test]
fn r9_ten_thousand_single_ports_of_one_policy_are_all_enforced() {
    let ranges: Vec<(u16, u16)> = (0..10_000).map(|it| 5 * it + 3).map(|it| (it, it)).collect();
    with_ports(Protocol::Tcp, &ranges, |rig| {
        let all = (0..50_010).map(|port| (port, port % 5 == 3 && port < 50_000));
        check(rig, Protocol::Tcp, all);
    });
}
