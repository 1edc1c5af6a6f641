use enforcer_core::model::Distribution;

use super::super::plan::ProxyNode;
use super::super::plan::tests::{cluster, here, two_pods};
use super::*;

fn text(distribution: Distribution, node: &ProxyNode, family: Family) -> String {
    render(&Plan::new(&cluster(&two_pods(), distribution), node, family))
}

/// The lines with that word, trimmed.
fn lines<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    text.lines().map(str::trim).filter(|line| line.contains(word)).collect()
}

#[test]
fn the_table_is_replaced_in_one_transaction() {
    let text = text(Distribution::default(), &here(), Family::V6);
    let start: Vec<&str> = text.lines().take(3).collect();
    assert_eq!(
        start,
        ["add table ip6 kube-proxy", "delete table ip6 kube-proxy", "table ip6 kube-proxy {"]
    );
    assert_eq!(text.matches('{').count(), text.matches('}').count());
}

#[test]
fn addresses_lead_to_chains_and_chains_to_backends() {
    let text = text(Distribution::default(), &here(), Family::V4);
    let [services] = lines(&text, "map service-ips")[..] else { panic!("{text}") };
    for element in ["10.0.0.1 . tcp . 80 : goto service-", "192.0.2.1 . tcp . 80 : goto external-"]
    {
        assert!(services.contains(element), "{services}");
    }
    let [node_ports] = lines(&text, "map service-nodeports")[..] else { panic!("{text}") };
    assert!(node_ports.contains("{ tcp . 30080 : goto external-"), "{node_ports}");
    assert_eq!(lines(&text, "set nodeport-ips").len(), 1);
    assert!(lines(&text, "set nodeport-ips")[0].contains("{ 10.240.0.4 }"));
    assert_eq!(lines(&text, "numgen random mod 2").len(), 1);
    assert_eq!(
        lines(&text, "dnat to"),
        ["meta l4proto tcp dnat to 10.244.1.2:8080", "meta l4proto tcp dnat to 10.244.1.3:8081",]
    );
    let from_elsewhere =
        "ip daddr 10.0.0.1 tcp dport 80 ip saddr != 10.244.0.0/16 jump mark-for-masquerade";
    assert_eq!(lines(&text, "saddr !="), [from_elsewhere]);
}

#[test]
fn local_has_a_chain_of_its_own() {
    let local = Distribution { external: TrafficPolicy::Local, ..Distribution::default() };
    let with = text(local, &here(), Family::V4);
    assert_eq!(lines(&with, "numgen random mod 1 ").len(), 1);
    assert_eq!(lines(&with, "goto local-").len(), 1);
    let nowhere = ProxyNode { name: "nowhere".into(), ..here() };
    let nowhere = text(local, &nowhere, Family::V4);
    assert_eq!(lines(&nowhere, "goto local-").len(), 0);
    let [dropped] = lines(&nowhere, "map no-endpoint-nodeports")[..] else { panic!("{nowhere}") };
    assert!(dropped.contains("tcp . 30080 : drop"), "{dropped}");
}

#[test]
fn ports_without_backends_are_rejected() {
    let nobody = cluster(&[], Distribution::default());
    let text = render(&Plan::new(&nobody, &here(), Family::V4));
    let [refused] = lines(&text, "map no-endpoint-services")[..] else { panic!("{text}") };
    for element in ["10.0.0.1 . tcp . 80 : goto reject-chain", "192.0.2.1 . tcp . 80 : goto"] {
        assert!(refused.contains(element), "{refused}");
    }
    assert!(!lines(&text, "map service-ips")[0].contains("elements"));
}

#[test]
fn affinity_has_a_timeout() {
    let affinity = Some(30);
    let text = text(Distribution { affinity, ..Distribution::default() }, &here(), Family::V6);
    assert_eq!(lines(&text, "timeout 30s;").len(), 2);
    assert_eq!(lines(&text, "ip6 saddr @affinity-").len(), 2);
    assert_eq!(lines(&text, "update @affinity-").len(), 2);
}
