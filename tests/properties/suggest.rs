//! Suggested policies: exactly the observed flows are allowed, by the reference evaluator.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use enforcer::inspect::{Basis, Suggested};
use enforcer::source::manifests::Manifests;
use enforcer_core::explain::{Workload, Workloads};
use enforcer_core::flows::FlowEnd;
use enforcer_core::model::{Change, Cluster, Pod, Policy, PolicyId, Protocol, Selector, Traffic};
use enforcer_core::policy::reference;
use enforcer_core::suggest::{Denied, Observed, Suggestion, Suggestions, allow, suggest};
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_tests::generate;
use proptest::collection::vec;
use proptest::prelude::{TestCaseError, any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::select;
use proptest::strategy::Strategy;

use super::config;

const PORTS: [(Protocol, u16); 5] = [
    (Protocol::Tcp, 80),
    (Protocol::Tcp, 8_080),
    (Protocol::Udp, 53),
    (Protocol::Tcp, 53),
    (Protocol::Sctp, 79),
];

/// A port, and the positions of two pods.
type Seen = ((Protocol, u16), usize, usize);

fn seen() -> impl Strategy<Value = Vec<Seen>> {
    vec((select(PORTS.to_vec()), 0_usize..64, 0_usize..64), 0..24)
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn suggestions_allow_exactly_what_was_observed(
        (cluster, seen) in (generate::cluster(), seen()),
    ) {
        exact(cluster, &seen)?;
    }

    #[test]
    fn rules_for_audit_allow_exactly_what_would_be_denied(
        (cluster, seen, closed) in (generate::cluster(), seen(), vec([any::<bool>(), any::<bool>()], 8)),
    ) {
        complements(cluster, &seen, &closed)?;
    }
}

/// `closed`: by namespace, whether a policy in audit denies all ingress, and all egress.
fn complements(cluster: Cluster, seen: &[Seen], closed: &[[bool; 2]]) -> Result<(), TestCaseError> {
    let mut cluster = open(cluster);
    let namespaces: Vec<String> = cluster.namespaces.keys().cloned().collect();
    let closed: BTreeMap<String, [bool; 2]> =
        namespaces.into_iter().zip(closed.iter().copied().cycle()).collect();
    let denies =
        |pod: &Pod, at: usize| closed.get(pod.id.namespace.as_str()).is_some_and(|it| it[at]);
    for (namespace, [ingress, egress]) in &closed {
        let nothing = |it: &bool| it.then(Vec::new);
        cluster.apply(Change::Policy(Policy {
            id: PolicyId::new(namespace, "deny"),
            subjects: Selector::default(),
            ingress: nothing(ingress),
            egress: nothing(egress),
            audit: true,
        }));
    }
    let pods: Vec<&Pod> = cluster.pods.values().filter(|it| it.is_peer()).collect();
    if pods.is_empty() {
        return Ok(());
    }
    let pick = |number: usize| pods[number % pods.len()];
    let name = |pod: &Pod| Workload::of(pod).to_string();
    let (mut denied, mut flows) = (Vec::new(), BTreeSet::new());
    for (port, from, to) in seen {
        let (from, to) = (pick(*from), pick(*to));
        let flow = flow(&(name(from), name(to), *port));
        flows.insert((name(from), name(to), *port));
        let (at_sender, at_receiver) = (denies(from, 1), denies(to, 0));
        denied.push(Denied { flow, at_sender, at_receiver });
    }
    let made = allow(&cluster, &Workloads::default(), &denied, None);
    same_as_manifests(&made)?;
    // Workloads that no selector distinguishes are one.
    let observed: Vec<Observed> = denied.iter().map(|it| it.flow.clone()).collect();
    let groups = suggest(&cluster, &Workloads::default(), &observed, None);
    let group = |pod: &Pod| {
        let mut all = groups.policies.iter();
        all.find(|it| it.workloads.contains(&name(pod))).map(|it| &it.workloads)
    };
    // As if nothing were in audit.
    let mut after = cluster.clone();
    after.policies.values_mut().for_each(|it| it.audit = false);
    for it in &made.policies {
        after.apply(Change::Policy(it.policy.clone()));
    }
    for (from, to) in pods.iter().flat_map(|from| pods.iter().map(move |to| (from, to))) {
        let (Some(of), Some(at)) = (group(from), group(to)) else { continue };
        if from.id == to.id {
            continue;
        }
        let ([one], [two]) = (addresses(from), addresses(to));
        for port in PORTS {
            let traffic = Traffic::Port(port.0, port.1);
            let is_wanted =
                flows.iter().any(|it| of.contains(&it.0) && at.contains(&it.1) && it.2 == port);
            for end in reference::connection(&after, one, two, traffic) {
                let closed = match end.direction {
                    Direction::Egress => denies(from, 1),
                    Direction::Ingress => denies(to, 0),
                };
                let allows = end.why.allows();
                prop_assert_eq!(
                    allows,
                    !closed || is_wanted,
                    "{} to {} {:?}",
                    &from.id,
                    &to.id,
                    port
                );
            }
        }
    }
    Ok(())
}

/// The cluster without policies, or namespaces in audit; each pod has one address of its own.
fn open(mut cluster: Cluster) -> Cluster {
    cluster.policies.clear();
    cluster.node_addresses.clear();
    cluster.namespaces.values_mut().for_each(|it| it.audit = false);
    for (pod, last) in cluster.pods.values_mut().zip(1..) {
        pod.addresses = [IpAddr::from(Ipv4Addr::new(10, 9, 8, last))].into();
    }
    cluster
}

fn exact(cluster: Cluster, seen: &[Seen]) -> Result<(), TestCaseError> {
    let cluster = open(cluster);
    let pods: Vec<&Pod> = cluster.pods.values().filter(|it| it.is_peer()).collect();
    if pods.is_empty() {
        return Ok(());
    }
    let pick = |number: usize| pods[number % pods.len()];
    let name = |pod: &Pod| Workload::of(pod).to_string();
    let mut flows = BTreeSet::new();
    for (port, from, to) in seen {
        flows.insert((name(pick(*from)), name(pick(*to)), *port));
    }
    let observed: Vec<Observed> = flows.iter().map(flow).collect();
    let made = suggest(&cluster, &Workloads::default(), &observed, None);
    same_as_manifests(&made)?;

    // Workloads that share a policy are one.
    let mut policy_of: BTreeMap<&str, &PolicyId> = BTreeMap::new();
    let mut after = cluster.clone();
    for it in &made.policies {
        policy_of.extend(it.workloads.iter().map(|name| (name.as_str(), &it.policy.id)));
        after.apply(Change::Policy(it.policy.clone()));
    }
    let mut wanted = BTreeSet::new();
    for (from, to, port) in &flows {
        let (from, to) = (policy_of.get(from.as_str()), policy_of.get(to.as_str()));
        prop_assert!(from.is_some() && to.is_some(), "an observed workload has no policy");
        wanted.insert((from, to, *port));
        if *port == (Protocol::Udp, 53) {
            wanted.insert((from, to, (Protocol::Tcp, 53)));
        }
    }
    for (from, to) in pods.iter().flat_map(|from| pods.iter().map(move |to| (from, to))) {
        let (of, at) = (name(from), name(to));
        let (of, at) = (policy_of.get(of.as_str()), policy_of.get(at.as_str()));
        let ([one], [two]) = (addresses(from), addresses(to));
        if of.is_none() || at.is_none() || from.id == to.id {
            continue;
        }
        for port in PORTS {
            let traffic = Traffic::Port(port.0, port.1);
            let decisions = reference::connection(&after, one, two, traffic);
            let allowed = decisions.iter().all(|it| it.why.allows());
            prop_assert_eq!(
                allowed,
                wanted.contains(&(of, at, port)),
                "{} to {} {:?}",
                &from.id,
                &to.id,
                port
            );
        }
        let ping = reference::connection(&after, one, two, Traffic::Portless);
        prop_assert!(!ping.iter().all(|it| it.why.allows()));
    }
    Ok(())
}

fn addresses(pod: &Pod) -> [IpAddr; 1] {
    [*pod.addresses.first().unwrap()]
}

fn flow((from, to, port): &(String, String, (Protocol, u16))) -> Observed {
    Observed {
        from: FlowEnd::Workload(from.clone()),
        to: FlowEnd::Workload(to.clone()),
        port: Some(*port),
        evidence: format!("# {from}: \"seen\"\n- injected: [{to}"),
    }
}

/// The manifests say the same.
fn same_as_manifests(made: &Suggestions) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let suggested = Suggested { suggestions: made.clone(), audit: true, basis: Basis::WouldDeny };
    let text = suggested.to_string();
    std::fs::write(folder.path().join("suggested.yaml"), &text).unwrap();
    let mut manifests = Manifests::new(vec![folder.path().to_owned()]).unwrap();
    let reports = manifests.rescan().reports;
    prop_assert!(reports.is_empty(), "{}\n{}", reports[0], text);
    let read: Vec<&Policy> = manifests.cluster().policies.values().collect();
    let in_audit = |it: &Suggestion| Policy { audit: true, ..it.policy.clone() };
    let mut made: Vec<Policy> = made.policies.iter().map(in_audit).collect();
    made.sort_by(|one, two| one.id.cmp(&two.id));
    prop_assert_eq!(read, made.iter().collect::<Vec<&Policy>>(), "{}", text);
    Ok(())
}
