//! Reduces a cluster to the smallest one that still shows a fault.

use enforcer_core::model::{Cluster, Peer, Policy, Rule};

/// Removes policies, pods, rules, peers, ports, exceptions and node addresses, one after another,
/// as long as the cluster still `fails`. The result fails if `cluster` does.
#[must_use]
pub fn smaller(cluster: &Cluster, mut fails: impl FnMut(&Cluster) -> bool) -> Cluster {
    let mut smallest = cluster.clone();
    loop {
        let found = without_one(&smallest).into_iter().find(|it| fails(it));
        let Some(next) = found else { return smallest };
        smallest = next;
    }
}

/// The cluster without one element, for each removable element: large ones first.
fn without_one(cluster: &Cluster) -> Vec<Cluster> {
    let mut all = Vec::new();
    for id in cluster.policies.keys() {
        let mut less = cluster.clone();
        less.policies.remove(id);
        all.push(less);
    }
    for id in cluster.pods.keys() {
        let mut less = cluster.clone();
        less.pods.remove(id);
        all.push(less);
    }
    for address in &cluster.node_addresses {
        let mut less = cluster.clone();
        less.node_addresses.remove(address);
        all.push(less);
    }
    for (id, policy) in &cluster.policies {
        for policy in smaller_policies(policy) {
            let mut less = cluster.clone();
            less.policies.insert(id.clone(), policy);
            all.push(less);
        }
    }
    all
}

fn smaller_policies(policy: &Policy) -> Vec<Policy> {
    let mut all = Vec::new();
    if policy.audit {
        all.push(Policy { audit: false, ..policy.clone() });
    }
    if policy.ingress.is_some() && policy.egress.is_some() {
        all.push(Policy { ingress: None, ..policy.clone() });
        all.push(Policy { egress: None, ..policy.clone() });
    }
    for rules in policy.ingress.iter().flat_map(|it| smaller_rules(it)) {
        all.push(Policy { ingress: Some(rules), ..policy.clone() });
    }
    for rules in policy.egress.iter().flat_map(|it| smaller_rules(it)) {
        all.push(Policy { egress: Some(rules), ..policy.clone() });
    }
    all
}

fn smaller_rules(rules: &[Rule]) -> Vec<Vec<Rule>> {
    let mut all: Vec<Vec<Rule>> = lists_without_one(rules);
    for (at, rule) in rules.iter().enumerate() {
        // An empty list means everything: a different rule, not a smaller one.
        let peers = lists_without_one(&rule.peers).into_iter().filter(|it| !it.is_empty());
        let ports = lists_without_one(&rule.ports).into_iter().filter(|it| !it.is_empty());
        let with_peers = peers.chain(fewer_exceptions(&rule.peers));
        let fewer = with_peers
            .map(|peers| Rule { peers, ..rule.clone() })
            .chain(ports.map(|ports| Rule { ports, ..rule.clone() }));
        for rule in fewer {
            let mut less = rules.to_vec();
            less.splice(at..=at, [rule]);
            all.push(less);
        }
    }
    all
}

fn fewer_exceptions(peers: &[Peer]) -> Vec<Vec<Peer>> {
    let mut all = Vec::new();
    for (at, peer) in peers.iter().enumerate() {
        let Peer::Block(block) = peer else { continue };
        for exception in &block.except {
            let mut block = block.clone();
            block.except.remove(exception);
            let mut less = peers.to_vec();
            less.splice(at..=at, [Peer::Block(block)]);
            all.push(less);
        }
    }
    all
}

fn lists_without_one<T: Clone>(list: &[T]) -> Vec<Vec<T>> {
    let without = |at: usize| {
        let others = list.iter().enumerate().filter(|(index, _)| *index != at);
        others.map(|(_, it)| it.clone()).collect()
    };
    (0..list.len()).map(without).collect()
}

#[cfg(test)]
mod tests {
    use proptest::strategy::{Strategy, ValueTree};
    use proptest::test_runner::TestRunner;

    use super::super::{Size, size};
    use super::*;

    fn exceptions(cluster: &Cluster) -> usize {
        let policies = cluster.policies.values();
        let rules = policies.flat_map(|it| it.ingress.iter().chain(&it.egress)).flatten();
        let peers = rules.flat_map(|it| &it.peers);
        peers.map(|it| if let Peer::Block(block) = it { block.except.len() } else { 0 }).sum()
    }

    #[test]
    fn only_the_cause_of_the_fault_remains() {
        let mut runner = TestRunner::deterministic();
        let clusters = (0..100).map(|_| size(Size::LARGE).new_tree(&mut runner).unwrap().current());
        let cluster = clusters.into_iter().find(|it| exceptions(it) > 3).unwrap();
        let fails = |it: &Cluster| exceptions(it) >= 1 && it.pods.len() >= 2;
        let smallest = smaller(&cluster, fails);
        assert_eq!((smallest.policies.len(), smallest.pods.len()), (1, 2));
        assert_eq!(exceptions(&smallest), 1);
        assert!(smallest.node_addresses.is_empty());
        let policy = smallest.policies.values().next().unwrap();
        let rules: Vec<_> = policy.ingress.iter().chain(&policy.egress).flatten().collect();
        assert_eq!((rules.len(), rules[0].peers.len()), (1, 1));
        assert!(rules[0].ports.len() <= 1);
    }
}
