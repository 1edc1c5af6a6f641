//! Semantics S5, A1, A2, A5 and explanations, which only the reference evaluator decides.

use super::naive::{Consent, Why, connection, connection_allowed};
use super::*;

/// `web` accepts only `client`, and `client` may send only to `web`.
fn pair() -> World {
    world()
        .pod("client", "app=client", "10.0.0.2")
        .pod("stranger", "", "10.0.0.3")
        .ingress([rule([pods("app=client")], [])])
        .policy("client", select("app=client"), None, Some(vec![rule([pods("app=web")], [])]))
}

fn connects(world: &World, from: &str, to: &str) -> bool {
    connection_allowed(&world.cluster, ip(from), ip(to), WEB)
}

#[test]
fn s5_both_ends_must_consent() {
    let world = pair();
    assert!(connects(&world, "10.0.0.2", "10.0.0.1"));
    assert!(!connects(&world, "10.0.0.3", "10.0.0.1"), "the receiver's ingress");
    assert!(!connects(&world, "10.0.0.2", "10.0.0.3"), "the sender's egress");
    assert!(connects(&world, "10.0.0.1", "10.0.0.3"), "neither isolates this way");
    assert!(connects(&world, "192.0.2.1", "192.0.2.2"), "no pods at all");
}

#[test]
fn s5_every_pod_that_claims_an_address_must_consent() {
    let world = pair().pod("twin", "", "10.0.0.1");
    assert!(connects(&world, "10.0.0.2", "10.0.0.1"));
    assert!(!connects(&world, "10.0.0.3", "10.0.0.1"));
}

#[test]
fn a1_a_pod_always_reaches_itself() {
    let world = world().ingress([]).egress([]);
    assert!(connects(&world, "10.0.0.1", "10.0.0.1"));
    assert!(!connects(&world, "10.0.0.1", "10.0.0.2"));
}

#[test]
fn a2_the_node_is_always_allowed_both_ways() {
    let mut world = world().ingress([]).egress([]);
    assert!(!connects(&world, "10.0.0.254", "10.0.0.1"));
    world.cluster.node_addresses.insert(ip("10.0.0.254"));
    assert!(connects(&world, "10.0.0.254", "10.0.0.1"));
    assert!(connects(&world, "10.0.0.1", "10.0.0.254"));
    assert!(!world.accepts("10.0.0.254", WEB), "by policy alone it is not");
}

#[test]
fn a5_other_nodes_are_outside_addresses() {
    let mut world = world().ingress([rule([block("10.9.0.2/32", &[])], [])]);
    world.cluster.node_addresses.insert(ip("10.9.0.1"));
    assert!(connects(&world, "10.9.0.1", "10.0.0.1") && connects(&world, "10.9.0.2", "10.0.0.1"));
    assert!(!connects(&world, "10.9.0.3", "10.0.0.1"));
}

#[test]
fn the_deciding_policies_are_reported() {
    let world = pair().ingress([]).ingress([rule([], [port(Protocol::Tcp, 443, 443)])]);
    let decisions = |from: &str, to: &str, port| {
        let consents = connection(&world.cluster, ip(from), ip(to), tcp(port)).into_iter();
        consents
            .map(|Consent { pod, direction, why }| (pod.name.to_string(), direction, why))
            .collect::<Vec<_>>()
    };
    let ids = |names: &[&str]| -> BTreeSet<_> {
        names.iter().map(|it| PolicyId::new("default", *it)).collect()
    };
    let all = ids(&["ingress-0", "ingress-2", "ingress-3"]);
    let expected: Vec<_> = vec![
        ("stranger".to_owned(), Egress, Why::NotIsolated),
        ("web".to_owned(), Ingress, Why::Denied(all)),
    ];
    assert_eq!(expected, decisions("10.0.0.3", "10.0.0.1", 80));
    let expected = vec![
        ("client".to_owned(), Egress, Why::AllowedBy(ids(&["client"]))),
        ("web".to_owned(), Ingress, Why::AllowedBy(ids(&["ingress-0", "ingress-3"]))),
    ];
    assert_eq!(expected, decisions("10.0.0.2", "10.0.0.1", 443));
}
