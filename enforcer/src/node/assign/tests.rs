use super::*;

const NODE: &str = "here";

fn addresses(list: &[&str]) -> BTreeSet<IpAddr> {
    list.iter().map(|it| it.parse().unwrap()).collect()
}

fn pod(name: &str, node: Option<&str>, list: &[&str]) -> Pod {
    Pod {
        node: node.map(Into::into),
        addresses: addresses(list).into(),
        ..Pod::new(PodId::new("hello", name))
    }
}

fn interface(ifindex: u32, list: &[&str]) -> (u32, BTreeSet<IpAddr>) {
    (ifindex, addresses(list))
}

fn assigned(interfaces: &[(u32, BTreeSet<IpAddr>)], pods: &[Pod]) -> Assignment {
    let interfaces = interfaces.iter().cloned().collect();
    let with = |address: &IpAddr| pods.iter().filter(|it| it.addresses.contains(address)).collect();
    assign(&interfaces, with, NODE)
}

fn only(ifindex: u32, name: &str) -> Assignment {
    Assignment {
        pods: BTreeMap::from([(ifindex, PodId::new("hello", name))]),
        ..Assignment::default()
    }
}

fn unknown(ifindex: u32) -> Assignment {
    Assignment { unknown: BTreeSet::from([ifindex]), ..Assignment::default() }
}

#[test]
fn a_pod_is_found_by_any_of_its_addresses() {
    let pods = [pod("one", Some(NODE), &["10.0.0.1", "fd00::1"])];
    for list in [&["10.0.0.1"][..], &["fd00::1"], &["10.0.0.1", "10.0.0.99"]] {
        assert_eq!(assigned(&[interface(7, list)], &pods), only(7, "one"));
    }
    assert_eq!(assigned(&[interface(7, &["10.0.0.2"])], &pods), unknown(7));
}

#[test]
fn each_interface_gets_its_own_pod() {
    let interfaces = [interface(7, &["10.0.0.1"]), interface(8, &["10.0.0.2"])];
    let pods = [pod("two", None, &["10.0.0.2"]), pod("one", Some(NODE), &["10.0.0.1"])];
    let expected = [(7, PodId::new("hello", "one")), (8, PodId::new("hello", "two"))];
    assert_eq!(assigned(&interfaces, &pods).pods, BTreeMap::from(expected));
}

#[test]
fn pods_elsewhere_and_pods_that_are_no_peers_claim_nothing() {
    let elsewhere = pod("one", Some("there"), &["10.0.0.1"]);
    let host = Pod { host_network: true, ..pod("one", Some(NODE), &["10.0.0.1"]) };
    let finished = Pod { finished: true, ..pod("one", Some(NODE), &["10.0.0.1"]) };
    for it in [elsewhere, host, finished] {
        assert_eq!(assigned(&[interface(7, &["10.0.0.1"])], &[it]), unknown(7));
    }
}

/// Semantics C5: the finished pod must not get the interface of the pod that reuses its address.
#[test]
fn an_address_of_a_finished_pod_is_its_successors() {
    let old = Pod { finished: true, ..pod("a-old", Some(NODE), &["10.0.0.1"]) };
    let new = pod("new", Some(NODE), &["10.0.0.1"]);
    assert_eq!(assigned(&[interface(7, &["10.0.0.1"])], &[old, new]), only(7, "new"));
}

#[test]
fn a_pod_known_to_be_here_precedes() {
    let maybe = pod("maybe", None, &["10.0.0.1", "fd00::1"]);
    let here = pod("here", Some(NODE), &["10.0.0.1"]);
    let interfaces = [interface(7, &["10.0.0.1", "fd00::1"])];
    assert_eq!(assigned(&interfaces, &[maybe, here]), only(7, "here"));
}

#[test]
fn the_pod_that_shares_more_addresses_precedes() {
    let one = pod("one", Some(NODE), &["10.0.0.1", "fd00::9"]);
    let both = pod("both", Some(NODE), &["10.0.0.1", "fd00::1"]);
    let interfaces = [interface(7, &["10.0.0.1", "fd00::1"])];
    assert_eq!(assigned(&interfaces, &[one, both]), only(7, "both"));
}

/// Semantics C5: neither of two equal claims wins.
#[test]
fn equal_claims_are_ambiguous() {
    let pods = [pod("b", Some(NODE), &["10.0.0.1"]), pod("a", Some(NODE), &["10.0.0.1"])];
    let found = assigned(&[interface(7, &["10.0.0.1"])], &pods);
    let both = vec![PodId::new("hello", "a"), PodId::new("hello", "b")];
    let ambiguous = BTreeMap::from([(7, both)]);
    assert_eq!(found, Assignment { ambiguous, ..Assignment::default() });
}

#[test]
fn one_address_each_is_ambiguous_too() {
    let pods = [pod("four", None, &["10.0.0.1"]), pod("six", None, &["fd00::1"])];
    let found = assigned(&[interface(7, &["10.0.0.1", "fd00::1"])], &pods);
    assert_eq!(found.ambiguous[&7].len(), 2);
    assert!(found.split.contains(&7), "no pod has both");
    assert!(found.pods.is_empty() && found.unknown.is_empty());
}

#[test]
fn c5_an_address_passed_on_is_the_next_pods() {
    let old = Pod { terminating: true, ..pod("a-old", Some(NODE), &["10.0.0.1"]) };
    let seen = [interface(7, &["10.0.0.1"])];
    assert_eq!(assigned(&seen, std::slice::from_ref(&old)), only(7, "a-old"));
    let new = pod("b-new", Some(NODE), &["10.0.0.1"]);
    assert_eq!(assigned(&seen, &[old.clone(), new]), only(7, "b-new"));
    // Also if the other pod is on another node: then the interface is unknown.
    let elsewhere = pod("c", Some("there"), &["10.0.0.1"]);
    assert_eq!(assigned(&seen, &[old.clone(), elsewhere]), unknown(7));
    let finished = Pod { finished: true, ..pod("d", Some(NODE), &["10.0.0.1"]) };
    assert_eq!(assigned(&seen, &[old, finished]), only(7, "a-old"));
}
