//! Finding pods' interfaces, with real namespaces and interfaces. Needs root.
//!
//! What belongs here: what `enforcer::node` reads from and hears of the kernel. What does not: the
//! assignment of interfaces to pods, which is pure (`node/assign`).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends with the first thing that fails"
)]

mod support;

use std::collections::BTreeSet;
use std::net::IpAddr;

use enforcer::node::Snapshot;
use netlink_packet_route::route::{RouteHeader, RouteProtocol};
use support::{Namespace, Watched, connect, connect_as, give, pod};

fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
    addresses.iter().map(|it| it.parse().unwrap()).collect()
}

fn has(snapshot: &Snapshot, ifindex: u32, addresses: &[&str]) -> bool {
    snapshot.interfaces.get(&ifindex).is_some_and(|it| it.addresses == set(addresses))
}

fn indices(snapshot: &Snapshot) -> Vec<u32> {
    snapshot.interfaces.keys().copied().collect()
}

#[test]
fn bridged_pods_are_found_by_their_addresses() {
    let node = Namespace::new();
    node.run(async |ip| {
        ip.bridge("any-name").await;
        ip.add("any-name", "10.9.0.1", 24).await;
        ip.up("any-name").await;
    });
    let (_first, a) = pod(&node, "veth-a", &["10.9.0.2"]);
    let (_second, b) = pod(&node, "x1", &["10.9.0.3", "fd00:9::3"]);
    node.run(async |ip| {
        ip.enslave("veth-a", "any-name").await;
        ip.enslave("x1", "any-name").await;
    });
    let snapshot = node.snapshot();
    assert_eq!(indices(&snapshot), [a, b]);
    assert!(has(&snapshot, a, &["10.9.0.2"]), "{snapshot:#?}");
    assert!(has(&snapshot, b, &["10.9.0.3", "fd00:9::3"]), "{snapshot:#?}");
    assert_eq!(snapshot.interfaces[&a].name, "veth-a");
    assert!(snapshot.node_addresses.is_superset(&set(&["10.9.0.1", "127.0.0.1", "::1"])));
    assert!(snapshot.node_addresses.is_disjoint(&set(&["10.9.0.2", "10.9.0.3", "fd00:9::3"])));
}

#[test]
fn an_uplink_is_no_pods_interface_even_if_it_is_a_veth() {
    let node = Namespace::new();
    let (_outside, uplink) = pod(&node, "eth0", &["192.0.2.1"]);
    let (_pod, a) = pod(&node, "veth-a", &["10.9.0.2"]);
    assert_eq!(indices(&node.snapshot()), [uplink, a]);
    node.run(async |ip| {
        ip.add("eth0", "192.0.2.7", 24).await;
        ip.default_route("eth0").await;
    });
    let snapshot = node.snapshot();
    assert_eq!(indices(&snapshot), [a]);
    assert_eq!(
        snapshot.uplinks.get(&uplink).map(|it| (it.name.as_str(), it.is_ethernet)),
        Some(("eth0", true))
    );
    assert!(snapshot.uplinks.keys().all(|it| !indices(&snapshot).contains(it)));
    assert!(snapshot.unaddressed.is_empty());
}

#[test]
fn routed_pods_are_found_by_their_addresses() {
    let node = Namespace::new();
    let (first, a) = pod(&node, "azv1", &[]);
    let (second, b) = pod(&node, "azv2", &[]);
    first.run(async |ip| ip.add("eth0", "10.224.0.5", 32).await);
    second.run(async |ip| {
        ip.add("eth0", "10.224.0.6", 32).await;
        ip.add("eth0", "fd00:224::6", 128).await;
    });
    node.run(async |ip| {
        ip.route("10.224.0.5", "azv1").await;
        ip.route("10.224.0.6", "azv2").await;
        ip.route("fd00:224::6", "azv2").await;
    });
    let snapshot = node.snapshot();
    assert_eq!(indices(&snapshot), [a, b]);
    assert!(has(&snapshot, a, &["10.224.0.5"]), "{snapshot:#?}");
    assert!(has(&snapshot, b, &["10.224.0.6", "fd00:224::6"]), "{snapshot:#?}");
    assert_eq!(snapshot.interfaces[&a].routes, set(&["10.224.0.5"]));
    assert_eq!(snapshot.interfaces[&b].routes, set(&["10.224.0.6", "fd00:224::6"]));
}

/// Semantics S6: neither a route that the kernel learned, nor one of another table, nor one without an
/// address of the node makes an uplink.
#[test]
fn s6_a_default_route_to_a_pod_makes_no_uplink() {
    for (table, protocol, address) in [
        (RouteHeader::RT_TABLE_MAIN, RouteProtocol::Ra, "10.9.0.1"),
        (RouteHeader::RT_TABLE_MAIN, RouteProtocol::IcmpRedirect, "10.9.0.1"),
        (100, RouteProtocol::Static, "10.9.0.1"),
        (RouteHeader::RT_TABLE_MAIN, RouteProtocol::Static, "fe80::1"),
    ] {
        let node = Namespace::new();
        let (_pod, a) = pod(&node, "a", &["10.9.0.2"]);
        node.run(async |ip| {
            ip.add("a", address, 24).await;
            ip.default_route_of("a", table, protocol).await;
        });
        let snapshot = node.snapshot();
        assert_eq!(indices(&snapshot), [a], "{table} {protocol:?} {address}");
        assert!(snapshot.uplinks.is_empty());
    }
}

/// CNI plugins build a pod's interface here and move it; the bandwidth plugin's ifb puts packets back.
#[test]
fn s6_what_leads_only_to_the_node_is_no_uplink() {
    let node = Namespace::new();
    node.run(async |ip| {
        ip.veth("left", "right").await;
        ip.ifb("bw1").await;
        ip.up("left").await;
        ip.up("bw1").await;
    });
    let snapshot = node.snapshot();
    assert!(snapshot.uplinks.is_empty(), "{snapshot:#?}");
}

#[test]
fn s6_another_interface_of_the_same_index_has_another_identity() {
    let node = Namespace::new();
    let (_old, index) = pod(&node, "old", &["10.9.0.2"]);
    let before = node.snapshot().interfaces[&index].identity;
    node.run(async |ip| ip.remove("old").await);
    let new = Namespace::new();
    new.run(async |ip| {
        ip.veth_as("host", index).await;
        ip.hand_over("host", &node).await;
    });
    let after = node.snapshot();
    let after = after.unaddressed.get(&index).expect("the index is free, and kept");
    assert_ne!(after.identity, before);
}

#[test]
fn secondary_addresses_count_and_link_local_ones_do_not() {
    let node = Namespace::new();
    let (_full, a) = pod(&node, "a", &["10.9.0.2", "10.9.0.77", "fd00::2", "fd00::77"]);
    let (_bare, b) = pod(&node, "b", &["fe80::b"]);
    let snapshot = node.snapshot();
    assert_eq!(indices(&snapshot), [a]);
    assert!(has(&snapshot, a, &["10.9.0.2", "10.9.0.77", "fd00::2", "fd00::77"]));
    assert_eq!(snapshot.unaddressed.get(&b).map(|it| it.name.as_str()), Some("b"));
}

#[test]
fn a_veth_pair_within_the_node_is_no_pod() {
    let node = Namespace::new();
    node.run(async |ip| {
        ip.veth("left", "right").await;
        ip.add("left", "10.9.0.8", 24).await;
        ip.add("right", "10.9.1.8", 24).await;
    });
    let snapshot = node.snapshot();
    assert!(snapshot.interfaces.is_empty() && snapshot.unaddressed.is_empty());
    assert!(snapshot.node_addresses.is_superset(&set(&["10.9.0.8", "10.9.1.8"])));
}

#[test]
fn each_interface_of_a_pod_has_its_own_addresses() {
    let node = Namespace::new();
    let (pod, a) = pod(&node, "a", &["10.9.0.2"]);
    let b = connect_as(&node, &pod, "b", "eth1");
    pod.run(async |ip| ip.add("eth1", "10.8.0.2", 24).await);
    let snapshot = node.snapshot();
    assert!(has(&snapshot, a, &["10.9.0.2"]), "{snapshot:#?}");
    assert!(has(&snapshot, b, &["10.8.0.2"]), "{snapshot:#?}");
    assert_eq!(snapshot.interfaces[&a].namespace, snapshot.interfaces[&b].namespace);
}

#[test]
fn two_pods_may_claim_one_address() {
    let node = Namespace::new();
    let (_old, a) = pod(&node, "a", &["10.9.0.2"]);
    let (_new, b) = pod(&node, "b", &["10.9.0.2"]);
    let snapshot = node.snapshot();
    assert!(has(&snapshot, a, &["10.9.0.2"]) && has(&snapshot, b, &["10.9.0.2"]));
}

#[test]
fn a_pod_starts_changes_and_ends() {
    let node = Namespace::new();
    node.run(async |_| {
        let mut watched = Watched::start().await;
        assert!(watched.now().interfaces.is_empty());
        let pod = Namespace::new();
        let index = connect(&node, &pod, "p");
        watched.until("an interface", |it| it.unaddressed.contains_key(&index)).await;
        give(&pod, &["10.9.0.2"]);
        watched.until("its address", |it| has(it, index, &["10.9.0.2"])).await;
        give(&pod, &["fd00::2"]);
        watched.until("its second", |it| has(it, index, &["10.9.0.2", "fd00::2"])).await;
        pod.run(async |ip| ip.take("eth0", "10.9.0.2").await);
        watched.until("its loss", |it| has(it, index, &["fd00::2"])).await;
        pod.run(async |ip| ip.add("eth0", "10.9.0.3", 24).await);
        watched.until("another", |it| has(it, index, &["10.9.0.3", "fd00::2"])).await;
        pod.run(async |ip| ip.remove("eth0").await);
        watched.until("its end", |it| it.interfaces.is_empty() && it.unaddressed.is_empty()).await;
    });
}

#[test]
fn an_interface_ends_with_its_namespace() {
    let node = Namespace::new();
    node.run(async |_| {
        let (stays, kept) = pod(&node, "a", &["10.9.0.1"]);
        let (goes, lost) = pod(&node, "b", &["10.9.0.2"]);
        let mut watched = Watched::start().await;
        assert_eq!(indices(&watched.now()), [kept, lost]);
        drop(goes);
        watched.until("its end", |it| indices(it) == [kept]).await;
        drop(stays);
        watched.until("the other's end", |it| it.interfaces.is_empty()).await;
    });
}

#[test]
fn a_new_interface_of_the_same_name_is_another() {
    let node = Namespace::new();
    node.run(async |ip| {
        let (_old, before) = pod(&node, "p", &["10.9.0.2"]);
        let mut watched = Watched::start().await;
        ip.remove("p").await;
        // The watcher has not run since: it sees both changes at once.
        let (_new, after) = pod(&node, "p", &["10.9.0.3"]);
        assert_ne!(before, after);
        watched
            .until("the new", |it| indices(it) == [after] && has(it, after, &["10.9.0.3"]))
            .await;
    });
}

#[test]
fn a_reused_namespace_id_brings_no_old_addresses() {
    // The kernel assigns the lowest free id. It ends namespaces one after the other, so on a busy machine the
    // old id may be free a moment later than the interface is gone.
    const TRIES: usize = 50;
    let is_reused = (0..TRIES).any(|_| replaced_pod_has_its_own_address());
    assert!(is_reused, "no id was reused in {TRIES} tries");
}

/// Replaces a pod by another one. Returns whether its namespace has the same id.
fn replaced_pod_has_its_own_address() -> bool {
    let node = Namespace::new();
    node.run(async |_| {
        let (old, before) = pod(&node, "old", &["10.9.0.2"]);
        let mut watched = Watched::start().await;
        let id = watched.now().interfaces[&before].namespace;
        drop(old);
        // Without yielding to the runtime: the watcher runs after all of this.
        while node.snapshot().interfaces.contains_key(&before) {
            std::thread::yield_now();
        }
        let (_new, after) = pod(&node, "new", &["10.9.0.3"]);
        let snapshot = watched.until("the new", |it| indices(it) == [after]).await;
        watched.until("its address", |it| has(it, after, &["10.9.0.3"])).await;
        snapshot.interfaces[&after].namespace == id
    })
}

#[test]
fn a_pod_may_be_complete_before_it_is_connected() {
    let node = Namespace::new();
    node.run(async |ip| {
        let (old, before) = pod(&node, "old", &["10.9.0.2"]);
        let mut watched = Watched::start().await;
        drop(old);
        while node.snapshot().interfaces.contains_key(&before) {
            std::thread::yield_now();
        }
        // The pair is made inside, so nothing happens in the pod's namespace after it has an id
        // here: only the event of the id itself, the old pod's, shows that the namespace is new.
        let new = Namespace::new();
        new.run(async |ip| {
            ip.veth("eth0", "host").await;
            ip.add("eth0", "10.9.0.3", 24).await;
            ip.hand_over("host", &node).await;
        });
        let after = ip.index("host").await;
        watched.until("its address", |it| has(it, after, &["10.9.0.3"])).await;
    });
}

#[test]
fn the_other_end_may_move_to_another_namespace() {
    let node = Namespace::new();
    node.run(async |_| {
        let (first, index) = pod(&node, "p", &["10.9.0.2"]);
        let mut watched = Watched::start().await;
        let second = Namespace::new();
        first.run(async |ip| ip.hand_over("eth0", &second).await);
        watched.until("the move", |it| it.unaddressed.contains_key(&index)).await;
        second.run(async |ip| ip.add("eth0", "10.9.0.3", 24).await);
        watched.until("its address", |it| has(it, index, &["10.9.0.3"])).await;
    });
}

#[test]
fn node_addresses_appear_and_disappear() {
    let node = Namespace::new();
    node.run(async |ip| {
        let mut watched = Watched::start().await;
        ip.bridge("br").await;
        for address in ["192.0.2.7", "2001:db8::7"] {
            let parsed: IpAddr = address.parse().unwrap();
            ip.add("br", address, 32).await;
            watched.until(address, |it| it.node_addresses.contains(&parsed)).await;
            ip.take("br", address).await;
            watched.until("its end", |it| !it.node_addresses.contains(&parsed)).await;
        }
    });
}

#[test]
fn lost_events_lose_nothing() {
    let node = Namespace::new();
    node.run(async |_| {
        let (noisy, a) = pod(&node, "noisy", &["10.9.0.2"]);
        let (quiet, b) = pod(&node, "quiet", &["10.9.0.3"]);
        let mut watched = Watched::start().await;
        // The watcher shares this thread, so it reads nothing before the end: far more events than
        // its socket holds, and the one of the quiet pod is among the lost ones.
        noisy.run(async |ip| {
            for _ in 0..4_000 {
                ip.add("eth0", "10.7.0.1", 24).await;
                ip.take("eth0", "10.7.0.1").await;
            }
        });
        give(&quiet, &["10.9.0.9"]);
        let quiet = ["10.9.0.3", "10.9.0.9"];
        let wanted = |it: &Snapshot| has(it, a, &["10.9.0.2"]) && has(it, b, &quiet);
        watched.until("the change of the quiet pod", wanted).await;
    });
}

#[test]
fn many_pods_start_and_end_at_once() {
    let node = Namespace::new();
    node.run(async |_| {
        let mut watched = Watched::start().await;
        let pods: Vec<_> = (0..40_u8)
            .map(|i| pod(&node, &format!("p{i}"), &[&format!("10.9.0.{}", i + 1)]))
            .collect();
        let all = watched.until("all pods", |it| it.interfaces.len() == pods.len()).await;
        for (i, (_, index)) in pods.iter().enumerate() {
            assert!(has(&all, *index, &[&format!("10.9.0.{}", i + 1)]));
        }
        let kept: Vec<_> = pods.into_iter().step_by(2).collect();
        let indices: BTreeSet<u32> = kept.iter().map(|(_, index)| *index).collect();
        let rest = watched
            .until("half of them", |it| {
                // The others' interfaces outlive the addresses for a moment.
                it.interfaces.keys().copied().collect::<BTreeSet<_>>() == indices
                    && it.unaddressed.is_empty()
            })
            .await;
        assert_eq!(rest, node.snapshot());
    });
}

#[test]
fn watching_ends_with_its_receiver() {
    let node = Namespace::new();
    node.run(async |_| {
        let (sender, receiver) = tokio::sync::watch::channel(enforcer::node::Seen::default());
        drop(receiver);
        enforcer::node::watch(sender, tokio::sync::mpsc::channel(1).1).await.unwrap();
    });
}
