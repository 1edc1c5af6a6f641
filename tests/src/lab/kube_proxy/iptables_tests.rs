use enforcer_core::model::Distribution;

use super::super::plan::ProxyNode;
use super::super::plan::tests::{cluster, here, two_pods};
use super::*;
use crate::lab::Family;

fn text(distribution: Distribution, node: &ProxyNode, family: Family) -> String {
    render(&Plan::new(&cluster(&two_pods(), distribution), node, family))
}

/// The rules of a chain, ids replaced by `#`.
fn rules(text: &str, chain: &str) -> Vec<String> {
    let is_id = |word: &str| word.len() == 16 && word.chars().all(|it| it.is_ascii_hexdigit());
    let plain = |word: &str| match word.rsplit_once('-') {
        Some((kind, id)) if is_id(id) => format!("{kind}-#"),
        _ => word.to_owned(),
    };
    let plain = |line: &str| line.split(' ').map(plain).collect::<Vec<_>>().join(" ");
    let start = format!("-A {chain} ");
    let lines = text.lines().map(plain);
    lines.filter_map(|line| line.strip_prefix(&start).map(str::to_owned)).collect()
}

#[test]
fn a_connection_goes_from_address_to_backend() {
    let text = text(Distribution::default(), &here(), Family::V4);
    let to = "-p tcp -m tcp --dport";
    assert_eq!(
        rules(&text, "KUBE-SERVICES"),
        [
            format!(
                "-d 10.0.0.1/32 {to} 80 -m comment --comment \"shop/web:http cluster IP\" \
                 -j KUBE-SVC-#"
            ),
            format!(
                "-d 192.0.2.1/32 {to} 80 -m comment --comment \"shop/web:http external IP\" \
                 -j KUBE-EXT-#"
            ),
            "-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS".to_owned(),
        ]
    );
    assert_eq!(
        rules(&text, "KUBE-SVC-#"),
        [
            format!("! -s 10.244.0.0/16 -d 10.0.0.1/32 {to} 80 -j KUBE-MARK-MASQ"),
            "-m statistic --mode random --probability 0.5000000000 -j KUBE-SEP-#".to_owned(),
            "-j KUBE-SEP-#".to_owned(),
        ]
    );
    assert_eq!(rules(&text, "KUBE-EXT-#"), ["-j KUBE-MARK-MASQ", "-j KUBE-SVC-#"]);
    assert_eq!(
        rules(&text, "KUBE-SEP-#"),
        [
            "-s 10.244.1.2/32 -j KUBE-MARK-MASQ",
            "-p tcp -m tcp -j DNAT --to-destination 10.244.1.2:8080",
            "-s 10.244.1.3/32 -j KUBE-MARK-MASQ",
            "-p tcp -m tcp -j DNAT --to-destination 10.244.1.3:8081",
        ]
    );
}

#[test]
fn with_local_outside_clients_are_not_masqueraded() {
    let external = TrafficPolicy::Local;
    let text = text(Distribution { external, ..Distribution::default() }, &here(), Family::V4);
    assert_eq!(
        rules(&text, "KUBE-EXT-#"),
        [
            "-s 10.244.0.0/16 -j KUBE-SVC-#",
            "-m addrtype --src-type LOCAL -j KUBE-MARK-MASQ",
            "-m addrtype --src-type LOCAL -j KUBE-SVC-#",
            "-j KUBE-SVL-#",
        ]
    );
    assert_eq!(rules(&text, "KUBE-SVL-#"), ["-j KUBE-SEP-#"]);
}

#[test]
fn without_a_backend_here_packets_are_dropped_and_without_any_rejected() {
    let local = Distribution { external: TrafficPolicy::Local, ..Distribution::default() };
    let nowhere = ProxyNode { name: "nowhere".into(), ..here() };
    let dropped = text(local, &nowhere, Family::V4);
    let to = "-p tcp -m tcp --dport";
    assert_eq!(
        rules(&dropped, "KUBE-EXTERNAL-SERVICES"),
        [
            format!("-d 192.0.2.1/32 {to} 80 -j DROP"),
            format!("-m addrtype --dst-type LOCAL {to} 30080 -j DROP"),
        ]
    );
    assert_eq!(rules(&dropped, "KUBE-EXT-#").len(), 3);
    let nobody = cluster(&[], Distribution::default());
    let refused = render(&Plan::new(&nobody, &here(), Family::V6));
    assert!(refused.contains(&format!("-A KUBE-SERVICES -d fd01::1/128 {to} 80 -j REJECT")));
    assert!(!refused.contains("KUBE-SVC-"));
}

#[test]
fn affinity_keeps_a_clients_backend() {
    let affinity = Some(30);
    let text = text(Distribution { affinity, ..Distribution::default() }, &here(), Family::V6);
    let known: Vec<String> = rules(&text, "KUBE-SVC-#");
    assert_eq!(
        known[1..3],
        ["-m recent --name KUBE-SEP-# --rcheck --seconds 30 --reap -j KUBE-SEP-#"; 2]
    );
    let remembered =
        "-p tcp -m recent --name KUBE-SEP-# --set -m tcp -j DNAT --to-destination [fd00::2]:8080";
    assert_eq!(rules(&text, "KUBE-SEP-#")[1], remembered);
}
