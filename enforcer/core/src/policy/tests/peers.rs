//! Semantics R1 to R6 and C5: the addresses that a rule allows.

use super::*;

fn frontends() -> World {
    world()
        .namespace("team-a", "team=a")
        .namespace("team-b", "team=b")
        .pod("near", "role=frontend", "10.0.0.2")
        .pod_in("team-a", "front", "role=frontend", "10.1.0.1")
        .pod_in("team-a", "back", "role=backend", "10.1.0.2")
        .pod_in("team-b", "front", "role=frontend", "10.2.0.1")
}

#[test]
fn r1_a_rule_without_peers_allows_every_address_of_both_families() {
    let world = world().ingress([rule([], [])]);
    assert!(world.accepts("192.0.2.1", Traffic::Portless) && world.accepts("2001:db8::1", WEB));
}

#[test]
fn r2_both_selectors_in_one_entry_mean_and() {
    let world = frontends().ingress([rule([pods_in("team=a", "role=frontend")], [])]);
    assert!(world.accepts("10.1.0.1", WEB));
    assert!(!world.accepts("10.1.0.2", WEB) && !world.accepts("10.2.0.1", WEB));
    assert!(!world.accepts("10.0.0.2", WEB));
}

#[test]
fn r2_two_entries_mean_or() {
    let world =
        frontends().ingress([rule([pods_in("team=a", ""), pods_in("", "role=frontend")], [])]);
    for peer in ["10.1.0.1", "10.1.0.2", "10.2.0.1", "10.0.0.2"] {
        assert!(world.accepts(peer, WEB), "{peer}");
    }
    assert!(!world.accepts("10.0.0.1", WEB));
}

#[test]
fn r2_a_pod_selector_alone_matches_in_the_policys_namespace() {
    let world = frontends().ingress([rule([pods("role=frontend")], [])]);
    assert!(world.accepts("10.0.0.2", WEB) && !world.accepts("10.1.0.1", WEB));
}

#[test]
fn r2_an_empty_selector_matches_all_of_its_kind_and_nothing_outside() {
    let world = frontends().ingress([rule([pods_in("", "")], [])]);
    assert!(world.accepts("10.0.0.1", WEB) && world.accepts("10.2.0.1", WEB));
    assert!(!world.accepts("192.0.2.1", WEB));
}

#[test]
fn r3_not_in_and_does_not_exist_match_when_the_key_is_absent() {
    let not_in = only(Requirement::NotIn("role".into(), values(&["backend"]).into()));
    let absent = only(Requirement::DoesNotExist("role".into()));
    let exists = only(Requirement::Exists("role".into()));
    let by = |pods| {
        let peer = Peer::Pods { namespaces: Some(Selector::default()), pods };
        frontends().ingress([rule([peer], [])])
    };
    let accepts =
        |world: &World| ["10.0.0.1", "10.1.0.1", "10.1.0.2"].map(|it| world.accepts(it, WEB));
    assert_eq!(accepts(&by(not_in)), [true, true, false]);
    assert_eq!(accepts(&by(absent)), [true, false, false]);
    assert_eq!(accepts(&by(exists)), [false, true, true]);
}

#[test]
fn r3_every_namespace_has_its_name_as_a_label() {
    let peer = pods_in("kubernetes.io/metadata.name=team-b", "");
    // One namespace is declared, the other is not.
    let world = frontends().pod_in("undeclared", "x", "", "10.3.0.1");
    let undeclared = pods_in("kubernetes.io/metadata.name=undeclared", "");
    let world = world.ingress([rule([peer, undeclared], [])]);
    assert!(world.accepts("10.2.0.1", WEB) && world.accepts("10.3.0.1", WEB));
    assert!(!world.accepts("10.1.0.1", WEB));
}

#[test]
fn r4_host_network_and_finished_pods_are_no_peers() {
    let changes: [fn(&mut Pod); 2] = [|pod| pod.host_network = true, |pod| pod.finished = true];
    for change in changes {
        let world = frontends().ingress([rule([pods("role=frontend")], [])]);
        assert!(world.accepts("10.0.0.2", WEB));
        assert!(!world.with("default", "near", change).accepts("10.0.0.2", WEB));
    }
}

#[test]
fn r4_an_address_of_several_pods_matches_if_any_of_them_does() {
    let world = frontends()
        .pod("twin", "role=backend", "10.0.0.2")
        .ingress([rule([pods("role=frontend")], [port(Protocol::Tcp, 1, 1)])])
        .ingress([rule([pods("role=backend")], [port(Protocol::Tcp, 2, 2)])]);
    assert!(world.accepts("10.0.0.2", tcp(1)) && world.accepts("10.0.0.2", tcp(2)));
}

#[test]
fn c5_an_address_that_was_passed_on_belongs_to_the_next_pod_only() {
    let twins = || {
        frontends()
            .with("default", "near", |pod| pod.terminating = true)
            .pod("twin", "role=backend", "10.0.0.2")
            .ingress([rule([pods("role=frontend")], [port(Protocol::Tcp, 1, 1)])])
            .ingress([rule([pods("role=backend")], [port(Protocol::Tcp, 2, 2)])])
    };
    assert!(!twins().accepts("10.0.0.2", tcp(1)) && twins().accepts("10.0.0.2", tcp(2)));
    // S1: while no other pod has it, it belongs to the pod that is being deleted.
    let changes: [fn(&mut Pod); 2] = [|pod| pod.finished = true, |pod| pod.terminating = true];
    for change in changes {
        assert!(twins().with("default", "twin", change).accepts("10.0.0.2", tcp(1)));
    }
}

#[test]
fn r5_except_only_subtracts_from_its_own_entry() {
    let world = world()
        .ingress([rule([block("10.0.0.0/8", &["10.9.0.0/16"]), block("10.9.9.0/24", &[])], [])])
        .ingress([rule([block("10.9.8.0/24", &[])], [])])
        .ingress([rule([block("10.8.0.0/15", &[])], [port(Protocol::Tcp, 7, 7)])]);
    assert!(world.accepts("10.8.0.1", WEB) && !world.accepts("10.9.0.1", WEB));
    assert!(world.accepts("10.9.9.1", WEB), "another entry of the rule");
    assert!(world.accepts("10.9.8.1", WEB), "another policy");
    assert!(world.accepts("10.9.0.1", tcp(7)), "another policy's wider block");
}

/// A bug report of other implementations: the same CIDR with ports and with exceptions was merged
/// wrongly.
#[test]
fn r5_the_same_cidr_with_ports_and_with_except_stays_two_entries() {
    let world = world().egress([
        rule([block("0.0.0.0/0", &[])], [port(Protocol::Tcp, 443, 443)]),
        rule([block("0.0.0.0/0", &["10.0.0.0/8", "169.254.169.254/32"])], []),
    ]);
    assert!(world.sends("192.0.2.1", tcp(22)) && world.sends("192.0.2.1", Traffic::Portless));
    assert!(world.sends("10.3.3.3", tcp(443)) && world.sends("169.254.169.254", tcp(443)));
    assert!(!world.sends("10.3.3.3", tcp(22)) && !world.sends("169.254.169.254", tcp(80)));
    assert!(!world.sends("2001:db8::1", tcp(443)), "the other family");
}

#[test]
fn r5_exceptions_may_nest_lie_outside_or_cover_the_block() {
    let world = world().ingress([rule(
        [
            block("10.0.0.0/16", &["10.0.1.0/24", "10.0.1.128/25", "192.0.2.0/24"]),
            block("172.16.0.0/24", &["172.16.0.0/24"]),
            block("172.17.0.0/24", &["172.16.0.0/12"]),
            block("fd00::/8", &["fd00::/16"]),
        ],
        [],
    )]);
    assert!(world.accepts("10.0.2.1", WEB));
    assert!(!world.accepts("10.0.1.1", WEB) && !world.accepts("10.0.1.200", WEB));
    assert!(!world.accepts("192.0.2.1", WEB));
    assert!(!world.accepts("172.16.0.1", WEB) && !world.accepts("172.17.0.1", WEB));
    assert!(world.accepts("fd01::1", WEB) && !world.accepts("fd00::1", WEB));
}

#[test]
fn r5_host_bits_are_masked() {
    let world = world().ingress([rule([block("10.0.1.77/24", &["10.0.1.99/30"])], [])]);
    assert!(world.accepts("10.0.1.0", WEB) && world.accepts("10.0.1.255", WEB));
    assert!(!world.accepts("10.0.1.96", WEB) && world.accepts("10.0.1.100", WEB));
}

#[test]
fn r6_a_block_matches_the_addresses_of_pods() {
    let world = frontends().ingress([rule([block("10.1.0.0/31", &["10.1.0.0/32"])], [])]);
    assert!(world.accepts("10.1.0.1", WEB) && !world.accepts("10.1.0.2", WEB));
}

#[test]
fn r6_a_pods_address_in_a_block_has_the_grants_of_both() {
    let world = frontends()
        .ingress([rule([block("10.1.0.0/24", &[])], [port(Protocol::Tcp, 1, 1)])])
        .ingress([rule([pods_in("team=a", "role=frontend")], [port(Protocol::Tcp, 3, 3)])]);
    assert!(world.accepts("10.1.0.1", tcp(1)) && world.accepts("10.1.0.1", tcp(3)));
    assert!(world.accepts("10.1.0.2", tcp(1)) && !world.accepts("10.1.0.2", tcp(3)));
}

#[test]
fn r6_a_block_of_all_addresses_covers_one_family() {
    let world = world().ingress([rule([block("::/0", &[])], [])]);
    assert!(world.accepts("fd00::9", WEB) && !world.accepts("10.0.0.9", WEB));
}
