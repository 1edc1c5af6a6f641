//! Tables that are too small (semantics R9): what can't be represented is closed and reported;
//! everything else is exact at every step (semantics C1).

use enforcer_ebpf::contract::endpoint::Endpoint;
use enforcer_ebpf::contract::lookup;
use enforcer_ebpf::contract::table::Limits;
use enforcer_ebpf::contract::verdict::Direction;
use proptest::prelude::*;

use super::fixtures::{pod, single_ports, state, wide};
use super::generate::chain;
use super::harness::{Harness, SMALL, config};
use crate::model::PodId;
use crate::policy::{PodPolicy, Row, Verdict};
use crate::tables::rows::Rows;
use crate::tables::{Plan, Table, Unrepresented};

/// The only direction that is not represented.
fn only(plan: &Plan) -> &Unrepresented {
    let [closed] = &plan.unrepresented[..] else { panic!("{:?}", plan.unrepresented) };
    closed
}

fn tiny() -> impl Strategy<Value = (Limits, u32)> {
    let large = |small: std::ops::Range<u32>, large: u32| prop_oneof![1 => small, 1 => Just(large)];
    (
        large(256..262, 330),
        large(1..8, 400),
        large(0..6, 200),
        large(2..8, 60),
        large(0..120, 1536),
        large(0..7, 12),
    )
        .prop_map(|(trie4_blocks, trie6_nodes, trie6_leaves, port_sets, cells, endpoints)| {
            let limits =
                Limits { trie4_blocks, trie6_nodes, trie6_leaves, port_sets, endpoints, ..SMALL };
            (limits, cells)
        })
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn what_does_not_fit_is_closed_and_the_rest_is_exact((limits, cells) in tiny(), states in chain()) {
        let mut harness = Harness::new(limits);
        harness.state.rows = Rows::with_cells(cells);
        for (at, state) in states.iter().enumerate() {
            harness.go(state).map_err(|problem| {
                TestCaseError::fail(format!("state {at}: {problem}"))
            })?;
        }
    }
}

#[test]
fn the_row_with_most_port_sets_is_closed_first() {
    let mut harness = Harness::new(Limits { port_sets: 6, ..wide() });
    let plan = harness.go(&state(vec![single_ports(1..3), single_ports(100..110)])).unwrap();
    let closed = only(&plan);
    assert_eq!(closed.pod, pod(1));
    assert_eq!(closed.direction, Direction::Ingress);
    assert_eq!(closed.shortage.table, Table::PortSets);
    assert_eq!(closed.shortage.limit, 6);
    assert_eq!(closed.shortage.needed, 14, "twelve sets and the two reserved ids");
    assert!(
        closed.reason.contains("14") && closed.reason.contains("--table-sizes port_sets=17"),
        "{}",
        closed.reason
    );
}

#[test]
fn port_classes_can_run_out() {
    let mut harness = Harness::new(wide());
    let hog = single_ports(1..8296);
    let plan = harness.go(&state(vec![single_ports(1..4), hog, single_ports(4..9)])).unwrap();
    let closed = only(&plan);
    assert_eq!(closed.pod, pod(1));
    assert_eq!(closed.shortage.table, Table::PortClasses);
    assert_eq!(closed.shortage.needed, 8296);
    assert!(plan.closed_meanwhile.is_empty());
}

#[test]
fn addresses_that_only_a_closed_row_distinguishes_take_no_room() {
    let mut harness = Harness::new(Limits { trie4_blocks: 260, ..wide() });
    let hog: Vec<Verdict> = (0..100)
        .map(|column| if column % 2 == 0 { Verdict::Allow } else { Verdict::Deny })
        .collect();
    let plan = harness.go(&state(vec![hog, single_ports(1..3)])).unwrap();
    let closed = only(&plan);
    assert_eq!(closed.pod, pod(0));
    assert_eq!(closed.shortage.table, Table::Trie4Blocks);
    assert!(closed.shortage.needed > 300);
}

#[test]
fn old_and_new_rows_that_do_not_fit_together_are_closed_only_meanwhile() {
    let mut harness = Harness::new(wide());
    harness.state.rows = Rows::with_cells(40);
    harness.go(&state(vec![single_ports(1..20)])).unwrap();
    let mut other = state(vec![vec![Verdict::Allow; 20]]);
    // The old row can't be kept: the pod's ingress goes to another row, so the pod is flipped.
    other.compiled.rows[0].verdicts[0] = Verdict::Deny;
    other.compiled.rows.push(Row { verdicts: single_ports(200..219) });
    other.compiled.pods.insert(pod(0), PodPolicy { ingress: Some(1), egress: Some(0) });
    let plan = harness.go(&other).unwrap();
    assert!(plan.unrepresented.is_empty(), "{:?}", plan.unrepresented);
    assert!(!plan.closed_meanwhile.is_empty());
}

/// Closed rows are removed first, so that new ones can have their place.
#[test]
fn a_closed_row_makes_room_for_other_rows() {
    let mut harness = Harness::new(Limits { port_sets: 30, ..wide() });
    harness.state.rows = Rows::with_cells(45);
    harness.go(&state(vec![single_ports(1..20)])).unwrap();
    let plan = harness.go(&state(vec![single_ports(100..140), single_ports(1..3)])).unwrap();
    assert_eq!(only(&plan).pod, pod(0));
    assert!(plan.closed_meanwhile.is_empty(), "{:?}", plan.closed_meanwhile);
}

/// As the programs find it: with a slot or without.
fn is_closed(harness: &Harness, ifindex: u32) -> bool {
    let endpoint = lookup::endpoint_or_closed(&*harness.image, ifindex);
    endpoint.is_some_and(|it| *it == Endpoint::CLOSED)
}

#[test]
fn r9_interfaces_beyond_the_records_are_closed() {
    let mut harness = Harness::new(Limits { endpoints: 4, ..wide() });
    let (two, three) = (state(vec![single_ports(1..3); 2]), state(vec![single_ports(1..3); 3]));
    harness.go(&two).unwrap();
    assert!(lookup::endpoint_or_closed(&*harness.image, 12).is_none(), "no agent has closed it");
    let plan = harness.go(&three).unwrap();
    assert_eq!(plan.unplaced, [12].into());
    assert!(is_closed(&harness, 12));
    assert!(!is_closed(&harness, 10) && !is_closed(&harness, 11), "those that fit are exact");
    let mut other = three.clone();
    other.interfaces.remove(&10);
    assert!(harness.go(&other).unwrap().unplaced.is_empty());
    assert!(!is_closed(&harness, 12), "there is room now");
}

#[test]
fn interfaces_beyond_the_records_are_reported() {
    let mut harness = Harness::new(Limits { endpoints: 4, ..wide() });
    let rows = vec![single_ports(1..3); 3];
    let plan = harness.go(&state(rows.clone())).unwrap();
    let pods: Vec<&PodId> = plan.unrepresented.iter().map(|item| &item.pod).collect();
    assert_eq!(pods, [&pod(2); 2], "both directions");
    assert_eq!(plan.unrepresented[0].shortage.needed, 5);
    // Interfaces that have a record can still change, and free records are used at once.
    let mut next = state(vec![single_ports(5..7); 3]);
    assert_eq!(harness.go(&next).unwrap().unrepresented.len(), 2);
    next.interfaces.remove(&10);
    assert!(harness.go(&next).unwrap().unrepresented.is_empty());
}
