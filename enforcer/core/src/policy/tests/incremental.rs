//! The engine against a compile from scratch, after every step of random histories.

use std::collections::BTreeSet;
use std::net::IpAddr;

use enforcer_ebpf::contract::verdict::Direction;
use ipnet::IpNet;
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::histories::{between, history, local};
use crate::model::{Change, Cluster};
use crate::policy::{Compiled, Delta, Engine, Touched, compile};

/// A cluster, and an engine that follows it.
#[derive(Default)]
struct Follower {
    cluster: Cluster,
    engine: Engine,
}

impl Follower {
    fn step(&mut self, changes: &[Change]) -> Delta {
        let mut touched = Touched::default();
        for change in changes {
            touched.note(change);
            self.cluster.apply(change.clone());
        }
        self.engine.update(&self.cluster, &touched, &local(&self.cluster))
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let expected = compile(&self.cluster, &local(&self.cluster));
        same(&self.engine.compiled(), &expected)
    }
}

/// Addresses at which either function may change, on both sides of each prefix's ends.
fn probes(one: &Compiled, two: &Compiled) -> BTreeSet<IpAddr> {
    let nets: BTreeSet<&IpNet> = one.addresses.keys().chain(two.addresses.keys()).collect();
    let next = |address: IpAddr| match address {
        IpAddr::V4(it) => u32::from(it).checked_add(1).map(|it| IpAddr::V4(it.into())),
        IpAddr::V6(it) => u128::from(it).checked_add(1).map(|it| IpAddr::V6(it.into())),
    };
    let ends = nets.iter().flat_map(|it| [Some(it.network()), next(it.broadcast())]);
    let zero = ["0.0.0.0", "::"].map(|it| it.parse().unwrap());
    ends.flatten().chain(zero).collect()
}

/// Both answer every question alike.
fn same(one: &Compiled, two: &Compiled) -> Result<(), TestCaseError> {
    prop_assert_eq!(&one.node_addresses, &two.node_addresses);
    prop_assert_eq!(&one.service_addresses, &two.service_addresses);
    prop_assert_eq!(&one.external_addresses, &two.external_addresses);
    prop_assert!(one.pods.keys().eq(two.pods.keys()));
    let columns = |address| [one.column(address), two.column(address)];
    let probes: Vec<_> = probes(one, two).into_iter().map(|it| (it, columns(it))).collect();
    for pod in two.pods.keys() {
        for direction in Direction::ALL {
            let rows = [one, two].map(|it| it.pods[pod].row(direction).map(|row| &it.rows[row]));
            for (address, columns) in &probes {
                let [a, b] = [0, 1].map(|at| rows[at].map(|row| &row.verdicts[columns[at]]));
                prop_assert_eq!(a, b, "{} {:?} {}", pod, direction, address);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(Config { cases: 48, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() })]

    #[test]
    fn every_step_of_a_history_equals_a_compile_from_scratch(history in history(16)) {
        let mut follower = Follower::default();
        let mut states = vec![Cluster::default()];
        for batch in &history {
            follower.step(batch);
            follower.check()?;
            states.push(follower.cluster.clone());
        }
        // And back.
        for state in states.iter().rev() {
            let changes = between(&follower.cluster, state);
            follower.step(&changes);
            follower.check()?;
        }
        let sizes = follower.engine.sizes();
        prop_assert_eq!(sizes, [0, 1, 0], "nothing is left");
    }

    #[test]
    fn the_order_of_changes_makes_no_difference(
        history in history(12), order in any::<prop::sample::Index>(),
    ) {
        let mut cluster = Cluster::default();
        for change in history.iter().flatten() {
            cluster.apply(change.clone());
        }
        let mut changes = between(&Cluster::default(), &cluster);
        let length = changes.len();
        changes.rotate_left(order.index(length.max(1)));
        let mut follower = Follower::default();
        for change in changes.iter().rev().step_by(2).chain(changes.iter().rev().skip(1).step_by(2)) {
            follower.step(std::slice::from_ref(change));
            follower.check()?;
        }
        prop_assert_eq!(&follower.cluster, &cluster);
        follower.check()?;
    }

    #[test]
    fn what_is_the_same_as_before_changes_nothing(history in history(8)) {
        let mut follower = Follower::default();
        for batch in &history {
            follower.step(batch);
            let again = follower.step(batch);
            prop_assert!(again.is_empty(), "{:?}", again);
        }
        let touched = Touched::all(&follower.cluster);
        let delta = follower.engine.update(&follower.cluster, &touched, &local(&follower.cluster));
        prop_assert!(delta.is_empty(), "{:?}", delta);
    }
}
