//! Changes from any state to any other (semantics C1), with enough room.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::fixtures::{single_ports, state, wide};
use super::generate::chain;
use super::harness::{Harness, SMALL, config};
use super::shortcuts::HASHES;
use crate::tables::Step;

proptest! {
    #![proptest_config(config(64))]

    /// After every step, each verdict is that of before or of after. After the last step, it is
    /// that of after. Nothing is written while a packet may be reading it.
    #[test]
    fn every_step_of_every_plan_keeps_c1(states in chain(), secrets in select(HASHES.to_vec())) {
        let mut harness = Harness::with_secrets(SMALL, secrets);
        for (at, state) in states.iter().enumerate() {
            let plan = harness.go(state).map_err(|problem| {
                TestCaseError::fail(format!("state {at}: {problem}"))
            })?;
            prop_assert!(plan.unrepresented.is_empty(), "state {}: {:?}", at, plan.unrepresented);
            prop_assert!(plan.closed_meanwhile.is_empty());
            prop_assert!(harness.state.plan(state).steps.is_empty(), "a second plan does nothing");
        }
    }
}

/// Why [`Order`] makes the address's look-up depend on the endpoint's: a processor that swaps the two
/// reads would combine a new row with an old class.
///
/// [`Order`]: enforcer_ebpf::contract::endpoint::Order
#[test]
fn c1_would_fail_in_the_other_order_of_reads() {
    let mut runner = TestRunner::deterministic();
    let mut reversals = 0;
    for _ in 0..16 {
        let mut harness = Harness::new(SMALL);
        for state in chain().new_tree(&mut runner).unwrap().current() {
            harness.go(&state).unwrap();
        }
        reversals += harness.reversals;
    }
    assert!(reversals > 0);
}

/// Each change adds one class of peers. The rows move when their room is used up: two rows, each in
/// both directions of the same endpoints.
#[test]
fn rows_grow_as_peers_are_added() {
    let mut harness = Harness::new(wide());
    let mut moves = 0;
    for kinds in 2..70 {
        let mut desired = state(vec![single_ports(1..kinds), single_ports(100..99 + kinds)]);
        for policy in desired.compiled.pods.values_mut() {
            policy.egress = policy.ingress.map(|row| 1 - row);
        }
        let plan = harness.go(&desired).unwrap();
        assert!(plan.unrepresented.is_empty());
        let rows = plan.steps.iter().filter(|step| matches!(step, Step::Verdicts { .. })).count();
        assert!(rows == 0 || rows == 2);
        moves += usize::from(kinds > 2 && rows > 0);
    }
    assert!((2..10).contains(&moves), "{moves}");
}
