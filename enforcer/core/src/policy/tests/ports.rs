//! Semantics R1, R7, R8, R9: the ports that a rule allows.

use super::*;
use crate::policy::{PortSet, Verdict};

fn every_port(protocol: Protocol) -> PortRule {
    PortRule { protocol, port: PortSpec::All }
}

/// `web` beside two servers that use one port name for different numbers.
fn servers() -> World {
    world()
        .pod("old", "app=api", "10.0.0.2")
        .serving("old", "http", Protocol::Tcp, 8080)
        .pod("new", "app=api", "10.0.0.3")
        .serving("new", "http", Protocol::Tcp, 9090)
        .pod("none", "app=api", "10.0.0.4")
}

#[test]
fn r1_a_rule_without_ports_allows_protocols_without_ports() {
    let world = world().ingress([rule([block("10.0.0.0/8", &[])], [])]);
    assert!(world.accepts("10.0.0.9", Traffic::Portless) && world.accepts("10.0.0.9", WEB));
}

#[test]
fn r1_a_rule_with_all_ports_never_allows_protocols_without_ports() {
    let world = world().ingress([rule([], Protocol::ALL.map(every_port))]);
    assert!(!world.accepts("10.0.0.9", Traffic::Portless));
    for protocol in Protocol::ALL {
        for port in [0, 1, u16::MAX] {
            assert!(world.accepts("10.0.0.9", Traffic::Port(protocol, port)));
        }
    }
    let all = Protocol::ALL.map(|it| (it, PortRange::ALL));
    let compiled = world.compile();
    assert_eq!(compiled.rows[0].verdicts, [Verdict::ports(PortSet::new(all))]);
}

#[test]
fn r1_a_rule_without_ports_outweighs_one_with_ports() {
    let world = world()
        .ingress([rule([], [port(Protocol::Tcp, 80, 80)]), rule([block("10.0.0.0/8", &[])], [])]);
    assert!(world.accepts("10.0.0.9", Traffic::Portless));
    assert!(!world.accepts("192.0.2.1", Traffic::Portless) && world.accepts("192.0.2.1", WEB));
}

#[test]
fn r7_a_range_includes_both_ends() {
    let world = world().ingress([rule([], [port(Protocol::Tcp, 100, 200)])]);
    let accepts = |port| world.accepts("10.0.0.9", tcp(port));
    assert_eq!([99, 100, 200, 201].map(accepts), [false, true, true, false]);
}

#[test]
fn r7_ranges_reach_the_first_and_the_last_port() {
    let world = world()
        .ingress([rule([], [port(Protocol::Tcp, 1, 1), port(Protocol::Tcp, 65_535, 65_535)])]);
    let accepts = |port| world.accepts("10.0.0.9", tcp(port));
    assert_eq!([0, 1, 2, 65_534, 65_535].map(accepts), [false, true, false, false, true]);
}

#[test]
fn r7_a_named_port_of_ingress_is_the_subjects() {
    let world = servers().policy(
        "api",
        select("app=api"),
        Some(vec![rule([], [named(Protocol::Tcp, "http")])]),
        None,
    );
    let accepts = |pod, port| world.allows(pod, Ingress, "10.0.0.1", tcp(port));
    assert!(accepts("old", 8080) && !accepts("old", 9090));
    assert!(accepts("new", 9090) && !accepts("new", 8080));
    assert!(!accepts("none", 8080) && !accepts("none", 9090));
}

#[test]
fn r7_a_named_port_of_ingress_holds_for_clients_in_a_block() {
    let rules = vec![rule([block("192.0.2.0/24", &[])], [named(Protocol::Tcp, "http")])];
    let world = servers().policy("api", select("app=api"), Some(rules), None);
    assert!(world.allows("old", Ingress, "192.0.2.1", tcp(8080)));
    assert!(!world.allows("old", Ingress, "10.0.0.3", tcp(8080)));
}

/// A bug report of other implementations: one port name with different numbers on different pods.
#[test]
fn r7_a_named_port_of_egress_is_each_peers_own() {
    let world = servers().egress([rule([pods("app=api")], [named(Protocol::Tcp, "http")])]);
    assert!(world.sends("10.0.0.2", tcp(8080)) && !world.sends("10.0.0.2", tcp(9090)));
    assert!(world.sends("10.0.0.3", tcp(9090)) && !world.sends("10.0.0.3", tcp(8080)));
    assert!(!world.sends("10.0.0.4", tcp(8080)) && !world.sends("10.0.0.4", tcp(9090)));
}

#[test]
fn r7_a_named_port_of_a_rule_without_peers_is_each_pods_own() {
    let world = servers().egress([rule([], [named(Protocol::Tcp, "http")])]);
    assert!(world.sends("10.0.0.2", tcp(8080)) && !world.sends("10.0.0.2", tcp(9090)));
    assert!(world.sends("10.0.0.3", tcp(9090)));
    assert!(!world.sends("192.0.2.1", tcp(8080)));
}

#[test]
fn r7_a_named_port_towards_a_block_matches_nothing() {
    let ports = [named(Protocol::Tcp, "http"), port(Protocol::Tcp, 443, 443)];
    let world = servers().egress([rule([block("10.0.0.0/8", &[])], ports)]);
    assert!(!world.sends("10.0.0.2", tcp(8080)) && !world.sends("10.5.0.1", tcp(8080)));
    assert!(world.sends("10.0.0.2", tcp(443)) && world.sends("10.5.0.1", tcp(443)));
}

#[test]
fn r7_a_port_name_counts_for_its_protocol_only() {
    let world = servers().egress([
        rule([pods("app=api")], [named(Protocol::Udp, "http")]),
        rule([pods("app=other")], [named(Protocol::Tcp, "http")]),
    ]);
    assert!(!world.sends("10.0.0.2", Traffic::Port(Protocol::Udp, 8080)));
    assert!(!world.sends("10.0.0.2", tcp(8080)));
}

#[test]
fn r7_of_pods_that_share_an_address_only_matched_ones_define_names() {
    let world = servers()
        .pod("twin", "app=other", "10.0.0.2")
        .serving("twin", "http", Protocol::Tcp, 7070)
        .egress([rule([pods("app=api")], [named(Protocol::Tcp, "http")])]);
    assert!(world.sends("10.0.0.2", tcp(8080)) && !world.sends("10.0.0.2", tcp(7070)));
}

#[test]
fn r8_protocols_are_distinguished() {
    let world = world().ingress([rule([], [port(Protocol::Sctp, 80, 80)])]);
    assert!(world.accepts("10.0.0.9", Traffic::Port(Protocol::Sctp, 80)));
    assert!(!world.accepts("10.0.0.9", Traffic::Port(Protocol::Udp, 80)));
    assert!(!world.accepts("10.0.0.9", WEB));
}

/// A bug report of other implementations: more than 24 ports of one peer were cut off.
#[test]
fn r9_a_hundred_ports_on_one_peer_are_a_hundred_ports() {
    let ports: Vec<_> =
        (0..100).map(|it| port(Protocol::Tcp, 1_000 + 2 * it, 1_000 + 2 * it)).collect();
    let world = world().ingress([rule([block("192.0.2.1/32", &[])], ports)]);
    let compiled = world.compile();
    let web = PodId::new("default", "web");
    let verdict = compiled.verdict(&web, Ingress, ip("192.0.2.1")).unwrap();
    for port in 900..1_300 {
        let expected = (1_000..1_200).contains(&port) && port % 2 == 0;
        assert_eq!(verdict.allows(tcp(port)), expected, "{port}");
    }
}
