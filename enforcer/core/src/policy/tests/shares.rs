//! Fair shares on generated estates of greedy tenants (semantics R9).

use std::collections::BTreeSet;

use enforcer_ebpf::contract::table::Limits;
use enforcer_ebpf::contract::verdict::Direction;
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::super::reference::why;
use crate::estates::{self, Greedy};
use crate::model::{
    Change, Pod, PodId, Policy, PolicyId, Protocol, Requirement, Selector, Traffic,
};
use crate::policy::{Engine, Judge, Touched};

fn engine(estate: &Greedy, limits: Limits) -> (crate::model::Cluster, BTreeSet<PodId>, Engine) {
    let cluster = estate.cluster();
    let local = estates::local(&cluster);
    let mut engine = Engine::with(limits);
    engine.update(&cluster, &Touched::all(&cluster), &local);
    (cluster, local, engine)
}

fn closed(engine: &Engine) -> BTreeSet<(PodId, Direction)> {
    engine.excess().map(|(pod, direction, _)| (pod.clone(), direction)).collect()
}

fn small() -> Limits {
    Limits { verdict_blocks: 16, port_sets: 256, ..Limits::DEFAULT }
}

proptest! {
    #![proptest_config(Config { cases: 24, failure_persistence: None, ..Config::default() })]

    #[test]
    fn r9_a_modest_namespace_is_never_closed_and_the_rest_is_exact(
        pods in 1u32..12, pairs in 1u32..80, shared: bool, nested: bool, modest in 2u32..8,
    ) {
        let estate = Greedy { pods, pairs, shared, nested, modest };
        let (cluster, local, mut engine) = engine(&estate, small());
        let closed = closed(&engine);
        prop_assert!(closed.iter().all(|(pod, _)| Greedy::is_greedy(pod)), "{:?}", closed);
        let again = self::engine(&estate, small()).2;
        prop_assert_eq!(&self::closed(&again), &closed, "deterministic");
        let peers = ["10.1.0.0", "10.0.0.0", "10.0.10.10", "100.0.0.9", "20.0.0.5", "20.0.1.77"];
        for pod in &local {
            for direction in Direction::ALL {
                for peer in peers.map(|it| it.parse().unwrap()) {
                    for port in [53, 8080, 1 + u16::try_from(pairs / 2).unwrap()] {
                        let traffic = Traffic::Port(Protocol::Tcp, port);
                        let allowed = engine
                            .verdict_of(pod, direction, peer)
                            .is_none_or(|verdict| verdict.allows(traffic));
                        let expected = !closed.contains(&(pod.clone(), direction))
                            && why(&cluster, pod, direction, peer, traffic).allows();
                        prop_assert_eq!(allowed, expected, "{} {:?} {} {}", pod, direction, peer, port);
                    }
                }
            }
        }
    }
}

#[test]
fn r9_a_share_says_what_is_needed_and_what_there_is() {
    let (_, _, engine) = engine(&Greedy::alone(10, 100), small());
    let (pod, _, excess) = engine.excess().next().expect("something is closed");
    assert_eq!(pod.namespace, "greedy");
    assert_eq!((excess.needed, excess.share), (1_000, 358), "of 4,096 cells, for ten rows");
    assert_eq!(closed(&engine).len(), 7);
}

/// Without hysteresis, a pod of another namespace that comes and goes would open and close others.
#[test]
fn r9_a_row_at_the_edge_opens_only_with_room_to_spare() {
    let (mut cluster, mut local, mut engine) = engine(&Greedy::alone(10, 100), small());
    let before = closed(&engine);
    // One pod less: a larger share, but not large enough.
    let gone: PodId = local.pop_last().expect("there are pods");
    let mut go = |change: Change, local: &BTreeSet<PodId>| {
        let mut touched = Touched::default();
        touched.note(&change);
        cluster.apply(change);
        engine.update(&cluster, &touched, local);
        closed(&engine)
    };
    let after = go(Change::PodGone(gone.clone()), &local);
    assert!(after.is_subset(&before));
    // All but three of the tenant's pods go: the rest opens.
    let rest: BTreeSet<PodId> = local.iter().take(3).cloned().collect();
    let after = go(Change::Pod(Pod::new(PodId::new("other", "pod"))), &rest);
    assert!(after.is_empty(), "{after:?}");
    assert!(rest.iter().all(|pod| matches!(engine.judges(pod), Some([Judge::Row(_), _]))));
}

/// A tenant copies another's policy and asks for too much: the copy is closed, not the original.
#[test]
fn r9_equal_rules_of_a_greedy_namespace_close_nobody_elses() {
    let mut cluster = Greedy::alone(10, 40).cluster();
    let victim = Greedy { pods: 1, pairs: 50, shared: false, nested: false, modest: 0 }.cluster();
    for namespace in ["greedy", "victim"] {
        let [pod, policy] = ["copied-pod", "copied-policy"];
        let known = victim.pods.values().next().expect("one pod").clone();
        let labels = [("copied".to_owned(), "yes".to_owned())].into_iter().collect();
        let number = if namespace == "victim" { 1 } else { 2 };
        let addresses = [[10, 3, 0, number].into()].into();
        cluster.apply(Change::Pod(Pod {
            id: PodId::new(namespace, pod),
            labels,
            addresses,
            ..known
        }));
        let known = victim.policies.values().next().expect("one policy").clone();
        let selected = Requirement::In("copied".to_owned(), ["yes".to_owned()].into());
        let subjects = Selector { requirements: [selected].into() };
        let id = PolicyId::new(namespace, policy);
        cluster.apply(Change::Policy(Policy { id, subjects, ..known }));
    }
    let local = estates::local(&cluster);
    let mut engine = Engine::with(small());
    engine.update(&cluster, &Touched::all(&cluster), &local);
    let closed: BTreeSet<PodId> = closed(&engine).into_iter().map(|it| it.0).collect();
    assert!(closed.contains(&PodId::new("greedy", "copied-pod")), "{closed:?}");
    assert!(!closed.contains(&PodId::new("victim", "copied-pod")), "{closed:?}");
}
