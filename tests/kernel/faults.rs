//! A test of the tests: if one wrong word of a table changes the verdict on any packet, the
//! comparison of the loaded programs with the reference evaluator finds it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use enforcer_core::model::{Cluster, PodId};
use enforcer_core::policy::reference::Traffic;
use enforcer_core::tables::Step;
use enforcer_core::tables::oracle::Image;
use enforcer_ebpf::contract::endpoint::flags;
use enforcer_ebpf::contract::entry::{Cell, Entry};
use enforcer_ebpf::contract::table::Limits;
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_tests::frame::{Frame, Transport};
use enforcer_tests::generate::{self, Size};
use enforcer_tests::rig::{Rig, address_towards, with_interfaces};
use proptest::prelude::RngExt as _;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::generated::{policy_allows, runner, seed};

/// Faults that change a verdict, each in another cluster.
const FAULTS: usize = 8;
/// Most clusters tried for that; many have no policies, or no pods on this node.
const CLUSTERS: usize = 80;
/// Most faults tried in a cluster until one changes a verdict.
const TRIES: usize = 40;
const INTERFACES: u32 = 6;

/// A packet at a pod's interface.
struct Probe {
    pod: PodId,
    direction: Direction,
    own: IpAddr,
    peer: IpAddr,
    traffic: Traffic,
}

#[test]
fn a_wrong_table_entry_is_detected() {
    let seed = seed();
    println!("seed {seed} (repeat with ENFORCER_SEED={seed})");
    with_interfaces(INTERFACES, |interfaces| {
        let mut runner = runner(seed);
        let (mut rig, mut image) = (Rig::new().unwrap(), Image::new(Limits::DEFAULT));
        let faults = (0..CLUSTERS)
            .filter(|_| falsify(&mut rig, &mut image, &interfaces, &mut runner))
            .take(FAULTS);
        let found = faults.count();
        assert_eq!(found, FAULTS, "clusters in which a fault changes a verdict");
    });
}

/// Whether a fault changed a verdict; if so, it was detected. The tables are correct afterwards.
fn falsify(rig: &mut Rig, image: &mut Image, interfaces: &[u32], runner: &mut TestRunner) -> bool {
    let cluster = generate::size(Size::SMALL).new_tree(runner).unwrap().current();
    let pods: BTreeMap<PodId, u32> =
        generate::local(&cluster).into_iter().zip(interfaces.iter().copied()).collect();
    let steps = rig.program(&cluster, pods).unwrap();
    for step in &steps {
        image.apply(step).unwrap();
    }
    let probes = probes(&cluster, rig);
    if steps.is_empty() || probes.is_empty() {
        return false;
    }
    assert!(!disagrees(rig, &cluster, &probes), "without a fault");

    let before = answers(image, rig, &probes);
    for _ in 0..TRIES {
        let step = &steps[runner.rng().random_range(0..steps.len())];
        let Some(fault) = falsified(step, runner) else { continue };
        let mut wrong = image.clone();
        wrong.apply(&fault).unwrap();
        if answers(&wrong, rig, &probes) != before {
            rig.kernel.apply(&fault).unwrap();
            assert!(disagrees(rig, &cluster, &probes), "not detected: {fault:?}");
            // The fault's word is among those that the plan has written.
            steps.iter().for_each(|step| rig.kernel.apply(step).unwrap());
            return true;
        }
    }
    false
}

/// The step with one word of it wrong.
fn falsified(step: &Step, runner: &mut TestRunner) -> Option<Step> {
    let rng = runner.rng();
    let any = rng.random_range(0..256_usize);
    let other = |entry: Entry| {
        (!entry.is_link() && !entry.is_leaf())
            .then(|| Entry::class(entry.index() ^ 1, entry.flags()))
    };
    let mut step = step.clone();
    match &mut step {
        Step::Trie4 { entry, .. } | Step::Trie6 { entry, .. } => *entry = other(*entry)?,
        Step::Block4 { entries, .. } => entries[any] = other(entries[any])?,
        Step::Node6 { value, .. } => value.slots[any] = other(Entry(value.slots[any]))?.0,
        Step::Leaf6 { value, .. } => value.inside = other(Entry(value.inside))?.0,
        Step::PortClass { class, .. } => *class ^= 1,
        Step::PortSetWord { bits, .. } => *bits ^= 1 << (any % 8),
        Step::Verdict { cell, .. } => *cell = opposite(*cell),
        Step::Verdicts { cells, .. } => {
            let at = any % cells.len();
            cells[at] = opposite(cells[at]);
        }
        Step::Endpoint { value, .. } => {
            value.flags ^= if any.is_multiple_of(2) {
                flags::INGRESS_ISOLATED
            } else {
                flags::EGRESS_ISOLATED
            };
        }
        _ => return None,
    }
    Some(step)
}

fn opposite(cell: Cell) -> Cell {
    if cell == Cell::ALLOW { Cell::DENY } else { Cell::ALLOW }
}

/// All packets that policy alone decides.
fn probes(cluster: &Cluster, rig: &Rig) -> Vec<Probe> {
    let mut probes = Vec::new();
    for pod in rig.interfaces.keys() {
        for peer in generate::addresses(cluster) {
            let Some(own) = address_towards(cluster, pod, peer) else { continue };
            let always = cluster.node_addresses.contains(&peer)
                || cluster.pods[pod].addresses.contains(&peer);
            for direction in Direction::ALL {
                if always && direction == Direction::Egress {
                    continue;
                }
                let ask = |traffic| Probe { pod: pod.clone(), direction, own, peer, traffic };
                probes.extend(generate::traffic(cluster).into_iter().map(ask));
            }
        }
    }
    probes
}

/// Whether the loaded programs and the reference evaluator disagree anywhere.
fn disagrees(rig: &mut Rig, cluster: &Cluster, probes: &[Probe]) -> bool {
    let mut wrong = false;
    for (number, it) in probes.iter().enumerate() {
        // A separate port, so that no packet is the reply to another one.
        let port = u16::try_from(40_000 + number % 20_000).unwrap();
        let transport = match it.traffic {
            Traffic::Port(protocol, to) => Transport::open(protocol, port, to),
            Traffic::Portless => Transport::echo(port, false),
        };
        let (source, destination) = match it.direction {
            Direction::Ingress => (it.peer, it.own),
            Direction::Egress => (it.own, it.peer),
        };
        let frame = Frame::new(source, destination, transport).build().bytes;
        let passes = rig.judge(&it.pod, it.direction, &frame).unwrap().passes;
        wrong |= passes != policy_allows(cluster, &it.pod, it.peer, it.direction, it.traffic);
    }
    wrong
}

fn answers(image: &Image, rig: &Rig, probes: &[Probe]) -> Vec<Option<bool>> {
    let ask = |it: &Probe| {
        let ifindex = rig.interfaces[&it.pod];
        let (protocol, port) = match it.traffic {
            Traffic::Port(protocol, port) => (protocol.number(), port),
            Traffic::Portless if it.peer.is_ipv4() => (1, 0),
            Traffic::Portless => (58, 0),
        };
        image.judge(ifindex, it.direction, it.peer, protocol, port)
    };
    probes.iter().map(ask).collect()
}
