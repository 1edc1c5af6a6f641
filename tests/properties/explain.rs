//! Explanations against the reference evaluator, on generated clusters. Pure: needs no root.
//!
//! `PROPTEST_CASES` sets the number of clusters, `PROPTEST_RNG_SEED` their seed.

#![expect(clippy::unwrap_used, reason = "how a test fails")]

mod matrix;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use enforcer_core::explain::{
    self, Change, Consent, LabelFix, Outcome, Party, RuleRef, RuleResult, Why, Workload, Workloads,
};
use enforcer_core::model::{
    Cluster, ContainerPort, Labels, Namespace, Pod, PodId, Policy, PolicyId, Traffic, View,
};
use enforcer_core::policy::reference;
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_tests::generate;
use proptest::prelude::{ProptestConfig, TestCaseError, prop_assert, prop_assert_eq, proptest};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{FileFailurePersistence, TestRunner};

fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig {
        cases: if asked { default.cases } else { cases },
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..default
    }
}

mod suggest;

/// Every n-th pair of addresses is asked, so that many clusters are.
const STRIDE: usize = 7;

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn explanations_answer_what_the_reference_does(cluster in generate::cluster()) {
        agree(&cluster)?;
    }

    #[test]
    fn a_nearest_miss_is_true(cluster in generate::cluster()) {
        misses(&cluster)?;
    }

    #[test]
    fn a_diff_has_exactly_the_connections_that_change(
        pair in (generate::cluster(), generate::cluster()),
    ) {
        let (old, new) = pair;
        changes(&comparable(old), &comparable(new))?;
    }
}

/// The questions of this run.
static QUESTIONS: AtomicU64 = AtomicU64::new(0);

fn agree(cluster: &Cluster) -> Result<(), TestCaseError> {
    let (addresses, traffic) = (generate::addresses(cluster), generate::traffic(cluster));
    let pairs = addresses.iter().flat_map(|from| addresses.iter().map(move |to| (*from, *to)));
    for (number, (from, to)) in pairs.enumerate().filter(|(number, _)| number % STRIDE == 0) {
        let about = traffic.iter().skip(number % 3).step_by(3);
        for traffic in about {
            QUESTIONS.fetch_add(1, Ordering::Relaxed);
            for view in [View::Enforced, View::WouldBe] {
                let explained = explain::connection_in(cluster, view, from, to, *traffic);
                let expected = reference::connection_in(cluster, view, from, to, *traffic);
                let explained: Vec<_> = explained.into_iter().map(plain).collect();
                prop_assert_eq!(&explained, &expected, "{} to {} {:?}", from, to, traffic);
            }
        }
    }
    Ok(())
}

/// The same decision in the reference evaluator's words.
fn plain(consent: Consent) -> reference::Consent {
    let set = |ids: Vec<PolicyId>| ids.into_iter().collect::<BTreeSet<_>>();
    let why = match consent.why {
        Why::Itself => reference::Why::Itself,
        Why::Node => reference::Why::Node,
        Why::NotIsolated => reference::Why::NotIsolated,
        Why::Allowed { by, .. } => {
            reference::Why::AllowedBy(by.into_iter().map(|it| it.rule.policy).collect())
        }
        Why::Denied { isolating, .. } => reference::Why::Denied(set(isolating)),
    };
    reference::Consent { pod: consent.pod, direction: consent.direction, why }
}

/// Each rule that is said to allow something does, each other does not, and each miss ends with its
/// changes.
fn misses(cluster: &Cluster) -> Result<(), TestCaseError> {
    let (addresses, traffic) = (generate::addresses(cluster), generate::traffic(cluster));
    for pod in cluster.pods.values() {
        for direction in Direction::ALL {
            let peers = addresses.iter().filter(|it| !pod.addresses.contains(it)).step_by(5);
            for (number, peer) in peers.enumerate() {
                for traffic in traffic.iter().skip(number % 4).step_by(4) {
                    let results = explain::results(cluster, &pod.id, direction, *peer, *traffic);
                    let nearest = match explain::why(cluster, &pod.id, direction, *peer, *traffic) {
                        Why::Denied { nearest, .. } => nearest,
                        _ => None,
                    };
                    for result in results {
                        let nearest = nearest.as_ref() == Some(&result);
                        let case = Case { cluster, pod: &pod.id, peer: *peer, traffic: *traffic };
                        case.check(&result, nearest)?;
                    }
                }
            }
        }
    }
    Ok(())
}

struct Case<'a> {
    cluster: &'a Cluster,
    pod: &'a PodId,
    peer: IpAddr,
    traffic: Traffic,
}

impl Case<'_> {
    fn check(&self, result: &RuleResult, nearest: bool) -> Result<(), TestCaseError> {
        let mut cluster = self.cluster.clone();
        cluster.policies = alone(&cluster, &result.rule);
        let (mut peer, mut traffic) = (self.peer, self.traffic);
        let direction = result.rule.direction;
        let allowed = |cluster: &Cluster, peer, traffic| {
            reference::why(cluster, self.pod, direction, peer, traffic).allows()
        };
        let now = allowed(&cluster, peer, traffic);
        match &result.outcome {
            Outcome::Allows => prop_assert!(now, "{:?}", result),
            Outcome::Never => prop_assert!(!now && !nearest, "{:?}", result),
            Outcome::Misses(changes) => {
                prop_assert!(!now && !changes.is_empty(), "{:?}", result);
                let mut moved = None;
                for change in changes {
                    apply(change, &mut cluster, &mut peer, &mut traffic, &mut moved);
                }
                prop_assert!(allowed(&cluster, peer, traffic), "{:?} in {:#?}", result, cluster);
            }
        }
        Ok(())
    }
}

/// The rule's policy with only this rule, so that nothing else allows the connection.
fn alone(cluster: &Cluster, rule: &RuleRef) -> BTreeMap<PolicyId, Policy> {
    let policy = &cluster.policies[&rule.policy];
    let list = match rule.direction {
        Direction::Ingress => &policy.ingress,
        Direction::Egress => &policy.egress,
    };
    let only = Some(vec![list.as_ref().unwrap()[rule.index].clone()]);
    let (ingress, egress) = match rule.direction {
        Direction::Ingress => (only, None),
        Direction::Egress => (None, only),
    };
    let policy = Policy {
        id: policy.id.clone(),
        subjects: policy.subjects.clone(),
        ingress,
        egress,
        audit: false,
    };
    BTreeMap::from([(policy.id.clone(), policy)])
}

/// Makes the change. `moved`: the pod of [`Change::BePod`], or the new name of a moved one.
fn apply(
    change: &Change,
    cluster: &mut Cluster,
    peer: &mut IpAddr,
    traffic: &mut Traffic,
    moved: &mut Option<PodId>,
) {
    match change {
        Change::PodLabel { pod, fix } => {
            let id = moved.clone().or_else(|| pod.clone()).unwrap();
            relabel(&mut cluster.pods.get_mut(&id).unwrap().labels, fix);
        }
        Change::NamespaceLabel { namespace, fix } => {
            let declared = cluster.namespaces.entry(namespace.clone());
            let declared = declared.or_insert_with(|| Namespace::new(namespace, Labels::new()));
            relabel(&mut declared.labels, fix);
        }
        Change::Namespace { pod, to } => {
            let mut it = cluster.pods.remove(pod).unwrap();
            it.id = PodId::new(to, format!("moved-{}", pod.name));
            *moved = Some(it.id.clone());
            cluster.pods.insert(it.id.clone(), it);
        }
        Change::BePod { address, namespace, .. } => {
            let id = PodId::new(namespace, "new");
            let pod = Pod { addresses: [*address].into(), ..Pod::new(id.clone()) };
            *moved = Some(id.clone());
            cluster.pods.insert(id, pod);
        }
        Change::Address { instead, .. } => *peer = *instead,
        Change::Port { protocol, port, .. } => *traffic = Traffic::Port(*protocol, *port),
        Change::DeclarePort { pod, name, protocol, port } => {
            let id = match pod {
                Some(pod) if cluster.pods.contains_key(pod) => pod.clone(),
                _ => moved.clone().unwrap(),
            };
            let declared = ContainerPort { name: name.clone(), protocol: *protocol, port: *port };
            cluster.pods.get_mut(&id).unwrap().ports.insert(declared);
        }
    }
}

fn relabel(labels: &mut Labels, fix: &LabelFix) {
    match fix.value() {
        Some(value) => labels.insert(fix.key.clone(), value.to_owned()),
        None => labels.remove(&fix.key),
    };
}

/// A cluster whose pods have addresses of their own, so that each connection has two certain ends.
fn comparable(mut cluster: Cluster) -> Cluster {
    cluster.node_addresses.clear();
    let mut taken = BTreeSet::new();
    cluster.pods.retain(|_, pod| {
        pod.is_peer()
            && !pod.addresses.is_empty()
            && pod.addresses.iter().all(|address| taken.insert(*address))
    });
    cluster
}

/// Every pod as a workload of its own.
fn workloads(clusters: [&Cluster; 2]) -> Workloads {
    let pods = clusters.into_iter().flat_map(|it| it.pods.keys());
    let workload = |id: &PodId| Workload {
        namespace: id.namespace.to_string(),
        name: id.name.to_string(),
        kind: "pod",
    };
    Workloads::new(pods.map(|id| (id.clone(), workload(id))).collect())
}

fn allowed(cluster: &Cluster, from: &[IpAddr], to: &[IpAddr], traffic: Traffic) -> bool {
    let pairs = from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to)));
    pairs
        .filter(|(from, to)| from.is_ipv4() == to.is_ipv4())
        .any(|(from, to)| reference::connection_allowed(cluster, from, to, traffic))
}

fn changes(old: &Cluster, new: &Cluster) -> Result<(), TestCaseError> {
    let workloads = workloads([old, new]);
    let diff = explain::diff(old, new, &workloads);
    let traffic: BTreeSet<Traffic> =
        generate::traffic(old).into_iter().chain(generate::traffic(new)).collect();
    let both: Vec<&PodId> = old.pods.keys().filter(|id| new.pods.contains_key(*id)).collect();
    let ends = |cluster: &Cluster, id: &PodId| -> Vec<IpAddr> {
        cluster.pods[id].addresses.iter().copied().collect()
    };
    let party = |id: &PodId| Party::Workload(workloads.of(&new.pods[id]));
    for from in &both {
        for to in both.iter().filter(|to| *to != from) {
            let found =
                diff.differences.iter().find(|it| it.from == party(from) && it.to == party(to));
            for traffic in traffic.iter().copied() {
                let before = allowed(old, &ends(old, from), &ends(old, to), traffic);
                let after = allowed(new, &ends(new, from), &ends(new, to), traffic);
                let opened = found.is_some_and(|it| it.opened.contains(traffic));
                let closed = found.is_some_and(|it| it.closed.contains(traffic));
                let expected = (after && !before, before && !after);
                prop_assert_eq!((opened, closed), expected, "{} to {} {:?}", from, to, traffic);
            }
        }
    }
    outside(old, new, &diff, &both, &traffic)
}

/// The same for addresses that no pod has.
fn outside(
    old: &Cluster,
    new: &Cluster,
    diff: &explain::Diff,
    both: &[&PodId],
    traffic: &BTreeSet<Traffic>,
) -> Result<(), TestCaseError> {
    let workloads = workloads([old, new]);
    let pods: BTreeSet<IpAddr> = [old, new]
        .into_iter()
        .flat_map(|it| it.pods.values())
        .flat_map(|it| &it.addresses)
        .copied()
        .collect();
    let addresses: BTreeSet<IpAddr> = generate::addresses(old)
        .into_iter()
        .chain(generate::addresses(new))
        .filter(|it| !pods.contains(it))
        .collect();
    for id in both {
        let own = Party::Workload(workloads.of(&new.pods[*id]));
        for direction in Direction::ALL {
            for address in &addresses {
                let family = |cluster: &Cluster| {
                    cluster.pods[*id].addresses.iter().any(|it| it.is_ipv4() == address.is_ipv4())
                };
                if !family(old) || !family(new) {
                    continue;
                }
                let found = diff.differences.iter().find(|it| match direction {
                    Direction::Ingress => it.from.is_outside(*address) && it.to == own,
                    Direction::Egress => it.from == own && it.to.is_outside(*address),
                });
                for traffic in traffic.iter().copied().step_by(3) {
                    let verdict = |cluster: &Cluster| {
                        reference::why(cluster, id, direction, *address, traffic).allows()
                    };
                    let expected = (!verdict(old) && verdict(new), verdict(old) && !verdict(new));
                    let is = found.map_or((false, false), |it| {
                        (it.opened.contains(traffic), it.closed.contains(traffic))
                    });
                    prop_assert_eq!(is, expected, "{} {:?} {}", id, direction, address);
                }
            }
        }
    }
    Ok(())
}

/// A thousand pods of a hundred workloads, and every pod a workload.
#[test]
fn a_diff_of_a_thousand_pods() {
    let mut old = Cluster::default();
    let mut runner = TestRunner::deterministic();
    let clusters = std::iter::repeat_with(|| {
        generate::size(generate::Size::LARGE).new_tree(&mut runner).unwrap().current()
    });
    let mut various = clusters.filter(|it| it.policies.len() >= 20 && it.pods.len() >= 40);
    let cluster = various.next().unwrap();
    old.policies = cluster.policies.clone();
    old.namespaces = cluster.namespaces.clone();
    for number in 0..1_000_u32 {
        let like = cluster.pods.values().nth(number as usize % cluster.pods.len()).unwrap();
        let id = PodId::new(&like.id.namespace, format!("pod-{number}"));
        let address = IpAddr::V4((0x0a00_0000 + number).into());
        let pod = Pod {
            id: id.clone(),
            addresses: [address].into(),
            host_network: false,
            finished: false,
            ..like.clone()
        };
        old.pods.insert(id, pod);
    }
    let mut new = old.clone();
    for policy in new.policies.values_mut().step_by(3) {
        policy.ingress = Some(Vec::new());
    }
    let workloads = workloads([&old, &new]);
    let begun = Instant::now();
    let diff = explain::diff(&old, &new, &workloads);
    println!("{} differences in {:?}", diff.differences.len(), begun.elapsed());
    assert!(!diff.is_empty());
}

/// The questions are as many as promised, and of every kind.
#[test]
fn a_run_asks_a_hundred_thousand_questions() {
    let mut runner = TestRunner::deterministic();
    let before = QUESTIONS.load(Ordering::Relaxed);
    let mut kinds = BTreeMap::<&str, u64>::new();
    for _ in 0..96 {
        let cluster = generate::cluster().new_tree(&mut runner).unwrap().current();
        agree(&cluster).unwrap();
        let (addresses, traffic) = (generate::addresses(&cluster), generate::traffic(&cluster));
        for (from, to) in addresses.iter().zip(addresses.iter().rev()) {
            for consent in explain::connection(&cluster, *from, *to, traffic[0]) {
                let kind = match consent.why {
                    Why::Itself => "itself",
                    Why::Node => "node",
                    Why::NotIsolated => "not isolated",
                    Why::Allowed { .. } => "allowed",
                    Why::Denied { nearest: Some(_), .. } => "missed",
                    Why::Denied { nearest: None, .. } => "closed",
                };
                *kinds.entry(kind).or_default() += 1;
            }
        }
    }
    let asked = QUESTIONS.load(Ordering::Relaxed) - before;
    assert!(asked >= 100_000, "{asked}");
    for kind in ["itself", "node", "not isolated", "allowed", "missed", "closed"] {
        assert!(kinds.get(kind).is_some_and(|it| *it >= 5), "{kinds:?}");
    }
}
