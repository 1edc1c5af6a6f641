//! What an engine keeps.

use std::collections::BTreeSet;

use enforcer_ebpf::contract::verdict::Direction;

use super::{Engine, Touched};
use crate::estates::{Greedy, local};
use crate::model::{Change, Cluster, PodId, PortRange, PortRule, PortSpec, Protocol};

/// A cluster, this node's pods, and an engine that follows them.
struct Scene {
    cluster: Cluster,
    local: BTreeSet<PodId>,
    engine: Engine,
}

impl Scene {
    fn new(estate: Greedy) -> Self {
        let cluster = estate.cluster();
        let local = local(&cluster);
        let (engine, _) = Engine::new(&cluster, &local);
        Self { cluster, local, engine }
    }

    fn change(&mut self, change: Change) {
        let mut touched = Touched::default();
        touched.note(&change);
        self.cluster.apply(change);
        self.engine.update(&self.cluster, &touched, &self.local);
    }

    /// Looks at every cell, as a plan does.
    fn ask(&mut self) {
        let rows: Vec<_> = self.engine.rows().collect();
        let classes: Vec<_> = self.engine.classes().collect();
        self.engine.grants(&rows, &classes);
    }

    /// Gives the rules of a policy the ports from `first` on.
    fn renumber(&mut self, first: u16) {
        let policy = self.cluster.policies.values().next();
        let mut policy = policy.expect("the estate has policies").clone();
        for (number, rule) in (first..).zip(policy.ingress.iter_mut().flatten()) {
            let port = PortSpec::Range(PortRange::single(number));
            rule.ports = vec![PortRule { protocol: Protocol::Tcp, port }];
        }
        self.change(Change::Policy(policy));
    }
}

#[test]
fn r9_a_tenant_that_keeps_changing_its_ports_does_not_fill_the_memory() {
    let mut scene = Scene::new(Greedy { nested: true, ..Greedy::alone(2, 40) });
    let mut most = 0;
    for round in 0..600 {
        scene.renumber(1 + round * 97);
        scene.ask();
        most = most.max(scene.engine.verdicts.size());
    }
    assert!(most < 20_000, "{most} verdicts, ranges and unions");
}

#[test]
fn verdicts_in_use_keep_their_numbers() {
    let mut scene = Scene::new(Greedy { nested: true, ..Greedy::alone(2, 40) });
    let other = scene.cluster.pods.keys().next_back().expect("a pod").clone();
    let peer = "100.0.0.9".parse().expect("an address");
    let expected = scene.engine.verdict_of(&other, Direction::Ingress, peer);
    for round in 0..600 {
        scene.renumber(1 + round * 97);
        scene.ask();
        let verdict = scene.engine.verdict_of(&other, Direction::Ingress, peer);
        assert_eq!(verdict, expected, "after {round} changes");
    }
}
