//! Plans that follow an engine, after every step of random histories (semantics C1).

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::harness::{Harness, SMALL, config};
use crate::estates;
use crate::model::{Change, Cluster};
use crate::policy::tests::histories::{between, history, local};
use crate::policy::{Delta, Engine, Touched};
use crate::tables::{Interface, Step, Table};
use enforcer_ebpf::contract::table::Limits;

/// A cluster, and an engine that follows it.
#[derive(Default)]
struct Follower {
    cluster: Cluster,
    engine: Engine,
}

impl Follower {
    fn step(&mut self, changes: &[Change]) -> (Delta, BTreeMap<u32, Interface>) {
        let mut touched = Touched::default();
        for change in changes {
            touched.note(change);
            self.cluster.apply(change.clone());
        }
        let local = local(&self.cluster);
        let delta = self.engine.update(&self.cluster, &touched, &local);
        (delta, estates::interfaces(&self.cluster, &local))
    }
}

fn limits() -> Limits {
    Limits { verdict_blocks: 64, trie4_blocks: 400, ..SMALL }
}

proptest! {
    #![proptest_config(config(24))]

    /// After every step, each verdict is that of before or of after.
    #[test]
    fn every_step_of_a_plan_that_follows_keeps_c1(history in history(8)) {
        let (mut follower, mut harness) = (Follower::default(), Harness::new(limits()));
        let mut states = vec![Cluster::default()];
        let mut go = |follower: &mut Follower, changes: &[Change]| {
            let (delta, interfaces) = follower.step(changes);
            let plan = harness.follow(&mut follower.engine, &delta, &interfaces);
            let plan = plan.map_err(TestCaseError::fail)?;
            prop_assert!(harness.state.link.is_some(), "it follows");
            let (delta, _) = follower.step(&[]);
            let again = harness.state.follow(&mut follower.engine, &delta, &interfaces);
            prop_assert!(again.steps.is_empty(), "a second plan does nothing: {:?}", again.steps);
            let mut fresh = Harness::new(limits());
            let compiled = follower.engine.compiled();
            let result = fresh.go(&crate::tables::Desired { compiled, interfaces });
            result.map_err(TestCaseError::fail)?;
            let [used, needed] = [&harness, &fresh].map(|it| it.state.usage(Table::PortSets));
            prop_assert_eq!(used, needed, "nothing unused is left");
            Ok(plan)
        };
        for batch in &history {
            go(&mut follower, batch)?;
            states.push(follower.cluster.clone());
        }
        for state in states.iter().rev().step_by(3) {
            let changes = between(&follower.cluster, state);
            go(&mut follower, &changes)?;
        }
    }

    /// Plans of both kinds, and engines whose changes were missed, can follow each other.
    #[test]
    fn a_state_of_another_plan_is_taken_over(history in history(6), kinds in any::<u16>()) {
        let (mut follower, mut harness) = (Follower::default(), Harness::new(limits()));
        for (at, batch) in history.iter().enumerate() {
            let (delta, interfaces) = follower.step(batch);
            let result = match kinds >> (2 * (at % 8)) & 3 {
                0 => {
                    let compiled = follower.engine.compiled();
                    harness.go(&crate::tables::Desired { compiled, interfaces })
                }
                1 => continue,
                _ => harness.follow(&mut follower.engine, &delta, &interfaces),
            };
            result.map_err(TestCaseError::fail)?;
        }
    }

    /// With tables that are too small, what does not fit is closed and the rest is exact.
    #[test]
    fn what_does_not_fit_is_closed_and_the_rest_is_exact(
        history in history(6), blocks in 1u32..3, sets in 3u32..8,
    ) {
        let limits = Limits { verdict_blocks: blocks, port_sets: sets, ..limits() };
        let (mut follower, mut harness) = (Follower::default(), Harness::new(limits));
        for batch in &history {
            let (delta, interfaces) = follower.step(batch);
            let result = harness.follow(&mut follower.engine, &delta, &interfaces);
            result.map_err(TestCaseError::fail)?;
        }
    }
}

/// One of two pods with the same row loses its isolation, and an address moves in the same change.
#[test]
fn c1_an_endpoint_that_leaves_a_row_of_others_sees_no_moved_address() {
    use crate::model::{Peer, Pod, PodId, Policy, PolicyId, Rule, Selector};
    let pod = |at: u8, address: &[u8]| {
        let addresses = address.iter().map(|it| [10, 0, 0, *it].into()).collect();
        Change::Pod(Pod { addresses, ..Pod::new(PodId::new("blue", format!("pod-{at}"))) })
    };
    let own = Peer::Pods { namespaces: None, pods: Selector::default() };
    let egress = Some(vec![Rule { peers: vec![own], ports: vec![] }]);
    let id = PolicyId::new("blue", "policy");
    let policy = Policy { id, subjects: Selector::default(), ingress: None, egress, audit: false };
    let (mut follower, mut harness) = (Follower::default(), Harness::new(limits()));
    let batches =
        [vec![pod(0, &[1])], vec![Change::Policy(policy)], vec![pod(2, &[2]), pod(0, &[])]];
    for batch in batches {
        let (delta, interfaces) = follower.step(&batch);
        harness.follow(&mut follower.engine, &delta, &interfaces).unwrap();
    }
}

/// The last endpoint of a row goes together with its policy.
#[test]
fn the_port_set_of_a_row_whose_endpoints_went_is_removed() {
    use crate::model::{
        Pod, PodId, Policy, PolicyId, PortRule, PortSpec, Protocol, Rule, Selector,
    };
    let pod = PodId::new("blue", "pod-0");
    let ports = vec![PortRule { protocol: Protocol::Tcp, port: PortSpec::All }];
    let egress = Some(vec![Rule { peers: vec![], ports }]);
    let id = PolicyId::new("blue", "policy");
    let policy = Policy {
        id: id.clone(),
        subjects: Selector::default(),
        ingress: None,
        egress,
        audit: false,
    };
    let (mut follower, mut harness) = (Follower::default(), Harness::new(limits()));
    let unused = harness.state.usage(Table::PortSets);
    let batches = [
        vec![Change::Pod(Pod {
            addresses: [[10, 0, 0, 1].into()].into(),
            ..Pod::new(pod.clone())
        })],
        vec![Change::Policy(policy)],
        vec![Change::PodGone(pod), Change::PolicyGone(id)],
    ];
    let used = batches.map(|batch| {
        let (delta, interfaces) = follower.step(&batch);
        harness.follow(&mut follower.engine, &delta, &interfaces).unwrap();
        harness.state.usage(Table::PortSets)
    });
    assert_eq!(used.map(|it| it.0), [unused.0, unused.0 + 1, unused.0]);
}

/// Only what a change concerns is written.
#[test]
fn a_pod_that_matches_nothing_new_is_one_store() {
    let estate = estates::Large { pods: 400, policies: 40, local: 10, relevant: 20 };
    let (mut cluster, mut harness) = (estate.cluster(), Harness::new(Limits::DEFAULT));
    let local = estates::local(&cluster);
    let interfaces = estates::interfaces(&cluster, &local);
    let (mut engine, delta) = Engine::new(&cluster, &local);
    harness.state.follow(&mut engine, &delta, &interfaces);
    let mut go = |change: Change| {
        let mut touched = Touched::default();
        touched.note(&change);
        cluster.apply(change);
        let delta = engine.update(&cluster, &touched, &local);
        harness.state.follow(&mut engine, &delta, &interfaces).steps
    };
    // A replica of an application goes and comes.
    let pod = estate.pod(57);
    assert!(matches!(go(Change::PodGone(pod.id.clone()))[..], [Step::Trie4 { .. }]));
    assert!(matches!(go(Change::Pod(pod.clone()))[..], [Step::Trie4 { .. }]));
    // A label that no selector names.
    let mut labelled = pod;
    labelled.labels.insert("revision", "2");
    assert!(go(Change::Pod(labelled)).is_empty());
    // A policy that selects no pod of this node.
    let elsewhere = estate.policy(25, estate.namespaces());
    assert!(go(Change::PolicyGone(elsewhere.id)).is_empty());
}
