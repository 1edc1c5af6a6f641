//! A node of a few interfaces and pods, made of numbers and names.

use std::time::{Duration, Instant};

use super::super::pod_claims::HELD;
use super::*;
use crate::node::Uplink;

mod over_time;

const HERE: &str = "here";
const NONE: [(u32, &str); 0] = [];

fn addresses(list: &[&str]) -> BTreeSet<IpAddr> {
    list.iter().map(|it| it.parse().unwrap()).collect()
}

fn id(name: &str) -> PodId {
    PodId::new("default", name)
}

fn pod(name: &str, list: &[&str]) -> Pod {
    let node = Some(HERE.into());
    let uid = format!("uid-of-{name}").into();
    Pod { uid, node, addresses: addresses(list).into(), ..Pod::new(id(name)) }
}

fn veth(ifindex: u32, namespace: i32, list: &[&str]) -> PodInterface {
    let name = format!("veth{ifindex}");
    let addresses = addresses(list);
    PodInterface { ifindex, name, namespace, identity: 1, addresses, ..PodInterface::default() }
}

fn routed(ifindex: u32, namespace: i32, list: &[&str], routes: &[&str]) -> PodInterface {
    PodInterface { routes: addresses(routes), ..veth(ifindex, namespace, list) }
}

fn record(name: &str, list: &[&str], interfaces: &[&str]) -> Sandbox {
    Sandbox {
        id: format!("sandbox-of-{name}"),
        pod: id(name),
        uid: format!("uid-of-{name}"),
        labels: None,
        addresses: addresses(list),
        namespace: None,
        interfaces: interfaces.iter().map(|it| (*it).to_owned()).collect(),
    }
}

fn snapshot(veths: &[PodInterface]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    veths.iter().for_each(|it| snapshot.enter(it.clone()));
    snapshot
}

/// The node, the API and the runtime at one moment, and the agent's bindings.
struct Bench {
    bindings: Bindings,
    cluster: Cluster,
    records: Vec<Sandbox>,
    known: Known,
    now: Instant,
}

impl Bench {
    fn new(pods: &[Pod]) -> Self {
        let mut bench = Self {
            bindings: Bindings::default(),
            cluster: Cluster::default(),
            records: Vec::new(),
            known: Known::default(),
            now: Instant::now(),
        };
        bench.pods(pods);
        bench
    }

    /// The API shows exactly these pods.
    fn pods(&mut self, pods: &[Pod]) {
        self.cluster.pods = pods.iter().map(|it| (it.id.clone(), it.clone())).collect();
    }

    /// Time passes in which nothing is reported.
    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    fn assign(&mut self, snapshot: &mut Snapshot) {
        let sandboxes: Vec<&Sandbox> = self.records.iter().collect();
        let addresses = PodAddresses::of(&self.cluster);
        let (cluster, addresses) = (&self.cluster, &addresses);
        let world = World { cluster, addresses, sandboxes: &sandboxes, node_name: HERE };
        self.known = self.bindings.assign(snapshot, world, self.now);
    }

    /// The interfaces that have a pod once these are seen.
    fn see(&mut self, veths: &[PodInterface]) -> Vec<(u32, String)> {
        self.assign(&mut snapshot(veths));
        let pods = self.known.assignment.pods.iter();
        pods.map(|(ifindex, pod)| (*ifindex, pod.name.to_string())).collect()
    }

    fn owner(&self, ifindex: u32) -> Owner {
        self.bindings.owner(ifindex, false).0
    }

    fn is_closed(&self, ifindex: u32) -> bool {
        let podless = self.bindings.podless(&self.known.assignment);
        podless.contains(&ifindex) && self.owner(ifindex) != Owner::Unknown { closed: false }
    }

    /// An agent that follows this one: its owners are all that is left.
    fn restart(&mut self, veths: &[PodInterface]) {
        let mut noted = Vec::new();
        for (ifindex, pod) in &self.known.assignment.pods {
            let uid = self.cluster.pods[pod].uid.to_string();
            noted.push((*ifindex, Owner::Pod(pod.clone()), uid));
        }
        for ifindex in self.bindings.podless(&self.known.assignment) {
            let (owner, uid) = self.bindings.owner(ifindex, false);
            noted.push((ifindex, owner, uid));
        }
        let inherited = noted.into_iter().map(|(ifindex, owner, uid)| Inherited {
            id: ifindex,
            ifindex,
            identity: self.bindings.identity(ifindex),
            owner: Some(owner),
            uid,
        });
        let inherited: Vec<Inherited> = inherited.collect();
        self.bindings = Bindings::default();
        self.bindings.resume(&inherited, &snapshot(veths), &self.cluster, self.now);
    }
}

fn named(list: &[(u32, &str)]) -> Vec<(u32, String)> {
    list.iter().map(|(ifindex, name)| (*ifindex, (*name).to_owned())).collect()
}

/// Pod `a` at interface 5, long ago.
fn placed() -> Bench {
    let mut bench = Bench::new(&[pod("a", &["10.0.0.5"])]);
    assert_eq!(bench.see(&[veth(5, 1, &["10.0.0.5"])]), named(&[(5, "a")]));
    bench.wait(Duration::from_secs(60));
    bench
}

// ── What a pod can change (S6) ──

#[test]
fn s6_a_pod_that_takes_anothers_address_stays_itself() {
    let mut bench = placed();
    bench.pods(&[pod("a", &["10.0.0.5"]), pod("b", &["10.0.0.6"])]);
    let both = [veth(5, 1, &["10.0.0.6"]), veth(6, 2, &["10.0.0.6"])];
    for _ in 0..3 {
        assert_eq!(bench.see(&both), named(&[(5, "a"), (6, "b")]));
        bench.wait(HELD);
    }
    // Also if the other pod is gone.
    assert_eq!(bench.see(&both[..1]), named(&[(5, "a")]));
    bench.wait(HELD);
    assert_eq!(bench.see(&both[..1]), named(&[(5, "a")]));
}

#[test]
fn s6_a_pod_that_takes_the_next_pods_address_in_advance_gets_nothing() {
    let mut bench = Bench::new(&[]);
    assert_eq!(bench.see(&[veth(5, 1, &["10.0.0.5"])]), named(&NONE));
    // The API knows neither; the first pod already has the next one's address.
    let greedy = veth(5, 1, &["10.0.0.5", "10.0.0.6"]);
    assert_eq!(bench.see(std::slice::from_ref(&greedy)), named(&NONE));
    bench.pods(&[pod("b", &["10.0.0.6"])]);
    assert_eq!(bench.see(std::slice::from_ref(&greedy)), named(&NONE));
    assert_eq!(bench.see(&[greedy.clone(), veth(6, 2, &["10.0.0.6"])]), named(&[(6, "b")]));
    bench.pods(&[pod("a", &["10.0.0.5"]), pod("b", &["10.0.0.6"])]);
    let all = bench.see(&[greedy, veth(6, 2, &["10.0.0.6"])]);
    assert_eq!(all, named(&[(5, "a"), (6, "b")]));
}

#[test]
fn s6_a_pod_that_moves_its_end_or_drops_its_addresses_stays_itself() {
    let mut bench = placed();
    for moved in [veth(5, 9, &["192.0.2.77"]), veth(5, 9, &[]), veth(5, -1, &[]), veth(5, 1, &[])] {
        assert_eq!(bench.see(&[moved]), named(&[(5, "a")]));
    }
    assert_eq!(bench.see(&[veth(5, 1, &["10.0.0.5"])]), named(&[(5, "a")]));
}

#[test]
fn s6_a_restart_of_the_agent_does_not_help_a_pod() {
    let mut bench = placed();
    bench.pods(&[pod("a", &["10.0.0.5"]), pod("b", &["10.0.0.6"])]);
    for trick in [veth(5, 1, &["10.0.0.6"]), veth(5, 9, &["192.0.2.77"]), veth(5, 9, &[])] {
        let seen = [trick, veth(6, 2, &["10.0.0.6"])];
        bench.restart(&seen);
        assert_eq!(bench.see(&seen), named(&[(5, "a"), (6, "b")]));
    }
}

/// Where nodes are containers, an uplink is a veth, too; a pod's never becomes one.
#[test]
fn s6_a_route_makes_no_uplink_of_a_pods_interface() {
    let mut bench = placed();
    let uplink = |ifindex, list: &[&str]| {
        let veth = veth(ifindex, 1, list);
        let uplink = Uplink { name: veth.name.clone(), is_ethernet: true, veth: Some(veth) };
        Snapshot { uplinks: BTreeMap::from([(ifindex, uplink)]), ..Snapshot::default() }
    };
    let mut seen = uplink(5, &["10.0.0.5"]);
    bench.assign(&mut seen);
    assert!(seen.uplinks.is_empty() && seen.interfaces.contains_key(&5));
    assert_eq!(bench.known.assignment.pods, BTreeMap::from([(5, id("a"))]));
    // Nor after a restart of the agent.
    bench.restart(&[veth(5, 1, &["10.0.0.5"])]);
    let mut seen = uplink(5, &["10.0.0.5"]);
    bench.assign(&mut seen);
    assert!(seen.uplinks.is_empty());
    // An uplink whose default route is replaced stays an uplink.
    let mut bench = Bench::new(&[pod("a", &["10.0.0.5"])]);
    bench.assign(&mut uplink(2, &["192.0.2.1"]));
    let mut seen = snapshot(&[veth(2, 1, &["10.0.0.5"])]);
    bench.assign(&mut seen);
    assert!(seen.uplinks.contains_key(&2) && seen.interfaces.is_empty());
}

// ── Conflicts close, and nothing but a record opens (S6) ──

#[test]
fn s6_an_interface_with_two_pods_addresses_is_closed_for_good() {
    let two = [pod("a", &["10.0.0.5"]), pod("b", &["10.0.0.6", "fd00::6"])];
    let mut bench = Bench::new(&two);
    let split = veth(5, 1, &["10.0.0.5", "10.0.0.6"]);
    assert_eq!(bench.see(std::slice::from_ref(&split)), named(&NONE));
    assert!(bench.is_closed(5));
    assert_eq!(bench.known.assignment.ambiguous[&5], [id("a"), id("b")]);
    // More of the second pod's addresses, the end of the first, time, a restart of the agent.
    let more = veth(5, 1, &["10.0.0.5", "10.0.0.6", "fd00::6"]);
    assert_eq!(bench.see(std::slice::from_ref(&more)), named(&NONE));
    bench.pods(&two[1..]);
    bench.wait(2 * HELD);
    assert_eq!(bench.see(std::slice::from_ref(&more)), named(&NONE));
    assert!(bench.is_closed(5));
    bench.restart(std::slice::from_ref(&more));
    assert_eq!(bench.see(&[more]), named(&NONE));
    assert!(bench.is_closed(5));
    // The runtime's record resolves it.
    bench.pods(&two);
    bench.records = vec![record("a", &["10.0.0.5"], &["cbr0", "veth5"])];
    assert_eq!(bench.see(&[split]), named(&[(5, "a")]));
}

/// Nothing is addressed to it, and it may send from no address (P4).
#[test]
fn s6_p4_an_interface_with_conflicting_evidence_has_no_addresses() {
    let mut bench = Bench::new(&[pod("a", &["10.0.0.1"]), pod("b", &["10.0.0.2"])]);
    let veths = [veth(5, 1, &["10.0.0.1", "10.0.0.2"]), veth(6, 2, &["10.0.0.9"])];
    assert_eq!(bench.see(&veths), NONE.map(|(it, name)| (it, name.to_owned())));
    let of = |ifindex| bench.bindings.without_pod(ifindex, true, &snapshot(&veths));
    assert!(of(5).check_source && of(5).addresses.is_empty());
    assert!(!of(6).check_source && of(6).addresses == addresses(&["10.0.0.9"]));
}

#[test]
fn s6_two_interfaces_with_one_pods_address_are_both_closed() {
    let mut bench = Bench::new(&[pod("a", &["10.0.0.5"])]);
    let both = [veth(5, 1, &["10.0.0.5"]), veth(6, 2, &["10.0.0.5"])];
    assert_eq!(bench.see(&both), named(&NONE));
    assert!(bench.is_closed(5) && bench.is_closed(6));
    // The end of one proves nothing about the other.
    assert_eq!(bench.see(&both[1..]), named(&NONE));
    assert!(bench.is_closed(6));
}

#[test]
fn s6_a_second_claim_does_not_open_an_interface_that_is_held_back() {
    let mut bench = placed();
    let reused = veth(6, 2, &["10.0.0.5"]);
    assert_eq!(bench.see(std::slice::from_ref(&reused)), named(&NONE));
    assert!(bench.is_closed(6));
    // The API shows the address at two pods.
    bench.pods(&[pod("a", &["10.0.0.5"]), pod("b", &["10.0.0.5"])]);
    assert_eq!(bench.see(std::slice::from_ref(&reused)), named(&NONE));
    assert!(bench.is_closed(6));
    // That is resolved by the API alone: no interface has two pods' addresses.
    bench.pods(&[pod("b", &["10.0.0.5"])]);
    assert_eq!(bench.see(&[reused]), named(&[(6, "b")]));
}

// ── The runtime's record, and routes ──

#[test]
fn s6_the_record_names_the_interface() {
    let mut bench = Bench::new(&[pod("a", &["10.0.0.5"]), pod("b", &["10.0.0.6"])]);
    bench.records = vec![record("b", &["10.0.0.6"], &["cbr0", "veth5"])];
    // Whatever is seen inside.
    assert_eq!(bench.see(&[veth(5, 1, &["10.0.0.5"])]), named(&[(5, "b")]));
    assert!(bench.bindings.has_recorded());
}

#[test]
fn s6_without_a_name_the_host_route_to_its_address_names_the_interface() {
    let mut bench = Bench::new(&[pod("a", &["10.0.0.5"]), pod("b", &["10.0.0.6"])]);
    bench.records =
        vec![record("a", &["10.0.0.5"], &["eth0"]), record("b", &["10.0.0.6"], &["eth0"])];
    let seen =
        [routed(5, 1, &["10.0.0.6"], &["10.0.0.5"]), routed(6, 2, &["10.0.0.6"], &["10.0.0.6"])];
    assert_eq!(bench.see(&seen), named(&[(5, "a"), (6, "b")]));
}

#[test]
fn s6_a_host_route_precedes_what_is_seen_inside() {
    let mut bench = Bench::new(&[pod("a", &["10.0.0.5"]), pod("b", &["10.0.0.6"])]);
    let forged = routed(5, 1, &["10.0.0.6"], &["10.0.0.5"]);
    assert_eq!(bench.see(&[forged]), named(&[(5, "a")]));
}

#[test]
fn s6_a_record_whose_pod_is_unknown_binds_when_the_api_reports_it() {
    let mut bench = Bench::new(&[pod("old", &["10.0.0.5"])]);
    bench.records = vec![record("new", &["10.0.0.5"], &["veth5"])];
    // Not the pod that the API still shows with that address.
    let seen = [veth(5, 1, &["10.0.0.5"])];
    assert_eq!(bench.see(&seen), named(&NONE));
    assert_eq!(bench.owner(5), Owner::Unknown { closed: false });
    bench.pods(&[pod("old", &["10.0.0.5"]), pod("new", &["10.0.0.5"])]);
    assert_eq!(bench.see(&seen), named(&[(5, "new")]));
}

#[test]
fn s6_a_record_of_another_pod_of_the_same_name_binds_nothing() {
    let mut bench = Bench::new(&[pod("a", &["10.0.0.5"])]);
    bench.records = vec![Sandbox { uid: "other".to_owned(), ..record("a", &[], &["veth5"]) }];
    assert_eq!(bench.see(&[veth(5, 1, &["10.0.0.5"])]), named(&NONE));
}

#[test]
fn s6_a_record_corrects_weaker_evidence() {
    let mut bench = placed();
    bench.pods(&[pod("a", &["10.0.0.5"]), pod("b", &["10.0.0.6"])]);
    bench.records = vec![record("b", &["10.0.0.6"], &["veth5"])];
    assert_eq!(bench.see(&[veth(5, 1, &["10.0.0.5"])]), named(&[(5, "b")]));
    // Without the record it stays.
    bench.records.clear();
    assert_eq!(bench.see(&[veth(5, 1, &["10.0.0.5"])]), named(&[(5, "b")]));
}

#[test]
fn s6_records_that_contradict_each_other_close_the_interface() {
    let mut bench = Bench::new(&[pod("a", &["10.0.0.5"]), pod("b", &["10.0.0.6"])]);
    let seen = [veth(5, 1, &["10.0.0.5"])];
    bench.records = vec![record("a", &[], &["veth5"])];
    assert_eq!(bench.see(&seen), named(&[(5, "a")]));
    bench.records.push(record("b", &[], &["veth5"]));
    assert_eq!(bench.see(&seen), named(&NONE));
    assert!(bench.is_closed(5));
    // The record of a pod that is gone is stale.
    let mut bench = Bench::new(&[pod("b", &["10.0.0.6"])]);
    bench.records = vec![record("a", &[], &["veth5"]), record("b", &[], &["veth5"])];
    assert_eq!(bench.see(&seen), named(&[(5, "b")]));
    // So is that of a pod that is being deleted.
    let ending = Pod { terminating: true, ..pod("a", &["10.0.0.5"]) };
    let mut bench = Bench::new(&[ending, pod("b", &["10.0.0.5"])]);
    bench.records = vec![record("a", &["10.0.0.5"], &[]), record("b", &["10.0.0.5"], &[])];
    assert_eq!(bench.see(&seen), named(&[(5, "b")]));
}

#[test]
fn a_record_with_a_namespace_names_the_interfaces_that_lead_there() {
    let mut bench = Bench::new(&[pod("a", &["10.0.0.5"])]);
    bench.records = vec![Sandbox { namespace: Some(1), ..record("a", &[], &[]) }];
    let seen = [veth(5, 1, &["192.0.2.1"]), veth(6, 2, &["192.0.2.2"])];
    assert_eq!(bench.see(&seen), named(&[(5, "a")]));
}
