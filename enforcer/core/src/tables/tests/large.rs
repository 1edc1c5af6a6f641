//! The largest supported cluster, and the cost of small changes to it.

use std::net::{IpAddr, Ipv4Addr};

use enforcer_ebpf::contract::table::Limits;
use enforcer_ebpf::contract::verdict::Direction;

use super::expected;
use super::fixtures::{self, pod, tcp};
use crate::policy::{Compiled, PodPolicy, Row, Verdict};
use crate::tables::oracle::Image;
use crate::tables::{Desired, Interface, Owner, State, Step};

const COLUMNS: usize = 400;
const ROWS: usize = 100;

fn address(at: u32) -> Ipv4Addr {
    // Nodes have a /24 each.
    Ipv4Addr::from(0x0a00_0000 + ((at / 200) << 8) + at % 200 + 4)
}

fn ports(number: usize) -> Verdict {
    let first = u16::try_from(1 + number * 3).unwrap();
    tcp(first, first + 1)
}

/// 100,000 addresses, 100 rows, 1,000 distinct port sets.
fn cluster() -> Desired {
    let verdict = |row: usize, column: usize| match (row * 31 + column * 7) % 5 {
        0 => Verdict::Allow,
        1 => ports((row * 10 + column) % 1_000),
        _ => Verdict::Deny,
    };
    let row = |row| Row { verdicts: (0..COLUMNS).map(|column| verdict(row, column)).collect() };
    let interface = |at: usize| Interface {
        addresses: [IpAddr::from(address(u32::try_from(at).unwrap()))].into(),
        check_source: true,
        ..fixtures::interface(Owner::Pod(pod(at)))
    };
    Desired {
        compiled: Compiled {
            columns: COLUMNS,
            rows: (0..ROWS).map(row).collect(),
            addresses: (0..100_000u32)
                .map(|at| (IpAddr::from(address(at)).into(), 1 + at as usize * 13 % (COLUMNS - 1)))
                .collect(),
            node_addresses: [IpAddr::from(address(0)).into()].into(),
            external_addresses: Default::default(),
            service_addresses: (200_000..210_000)
                .map(|at| IpAddr::from(address(at)).into())
                .collect(),
            pods: (0..ROWS)
                .map(|at| (pod(at), PodPolicy { ingress: Some(at), egress: Some((at + 1) % ROWS) }))
                .collect(),
        },
        interfaces: (0..ROWS).map(|at| (u32::try_from(at).unwrap() + 2, interface(at))).collect(),
    }
}

fn sample(image: &Image, desired: &Desired) {
    for at in (0..120_000).step_by(1_237) {
        let peer = IpAddr::from(address(at));
        let column = desired.compiled.column(peer);
        for ifindex in (2..102).step_by(9) {
            for direction in Direction::ALL {
                let verdict = expected::verdict(desired, ifindex, direction, column);
                for port in (0..3_010).step_by(301) {
                    assert_eq!(
                        image.judge(ifindex, direction, peer, 6, port),
                        Some(expected::allows(verdict, (6, port)))
                    );
                }
            }
        }
    }
}

#[test]
fn a_large_cluster_fits_the_default_limits_and_small_changes_are_small() {
    let mut state = State::new(Limits::DEFAULT);
    let mut image = Image::new(Limits::DEFAULT);
    let mut desired = cluster();
    let go = |state: &mut State, image: &mut Image, desired: &Desired| -> Vec<Step> {
        let plan = state.plan(desired);
        assert!(plan.unrepresented.is_empty());
        for step in &plan.steps {
            image.apply(step).unwrap();
        }
        plan.steps
    };
    let steps = go(&mut state, &mut image, &desired);
    assert!(steps.len() < 20_000, "{} steps", steps.len());
    sample(&image, &desired);

    // A pod of a known class is added: only its address is flipped.
    desired.compiled.addresses.insert("10.250.0.9/32".parse().unwrap(), 17);
    let steps = go(&mut state, &mut image, &desired);
    assert!(matches!(steps[..], [Step::Block4 { .. }, Step::Block4 { .. }, Step::Trie4 { .. }]));
    // A neighbour of it needs one store.
    desired.compiled.addresses.insert("10.250.0.10/32".parse().unwrap(), 18);
    assert!(matches!(go(&mut state, &mut image, &desired)[..], [Step::Trie4 { .. }]));
    // Its labels change, then it is removed.
    desired.compiled.addresses.insert("10.250.0.10/32".parse().unwrap(), 19);
    assert!(matches!(go(&mut state, &mut image, &desired)[..], [Step::Trie4 { .. }]));
    desired.compiled.addresses.remove(&"10.250.0.10/32".parse().unwrap());
    assert!(matches!(go(&mut state, &mut image, &desired)[..], [Step::Trie4 { .. }]));

    // A policy that changes for many addresses writes a row and flips its endpoints.
    for verdict in desired.compiled.rows[5].verdicts.iter_mut().step_by(2) {
        *verdict = if *verdict == Verdict::Allow { Verdict::Deny } else { Verdict::Allow };
    }
    let steps = go(&mut state, &mut image, &desired);
    let kinds = |steps: &[Step]| {
        let rows = steps.iter().filter(|step| matches!(step, Step::Verdicts { .. })).count();
        let flips = steps.iter().filter(|step| matches!(step, Step::Interface { .. })).count();
        (rows, flips)
    };
    assert_eq!(kinds(&steps), (1, 2));
    let [effect @ .., Step::Grace] = &steps[..] else { panic!("no grace period for the old row") };
    assert!(!effect.iter().any(|step| matches!(step, Step::Trie4 { .. } | Step::Grace)));
    sample(&image, &desired);
}
