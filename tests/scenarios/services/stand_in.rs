//! The stand-in for kube-proxy by itself: no agent, everybody is served, and translated as
//! kube-proxy would do it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use enforcer_tests::lab::{Fabric, Family, Party, Proxy, Topology};
use enforcer_tests::probe::Outcome;

use super::{
    Way, answers, ask, both_answer, client, names, shop, shop_on_two_nodes, two_nodes, web,
};
use crate::scene::{Scene, Setup, with_setup};
use crate::support::{ANSWER, SILENCE};

fn office() -> Party {
    Party::outside("office")
}

fn address(scene: &Scene, party: &Party, family: Family) -> IpAddr {
    scene.lab().address(party, family).unwrap()
}

/// The addresses that backends saw, whichever they were.
async fn seen(scene: &Scene, from: &Party, at: SocketAddr) -> BTreeSet<IpAddr> {
    answers(scene, from, at).await.into_values().flatten().collect()
}

async fn is_itself(scene: &Scene, from: &Party, at: SocketAddr) {
    let own = address(scene, from, Family::of(at.ip()));
    assert_eq!(seen(scene, from, at).await, [own].into(), "{from} → {at}");
}

async fn is_masqueraded(scene: &Scene, from: &Party, at: SocketAddr, node: usize) {
    let node = scene.lab().nodes()[node].addresses();
    let seen = seen(scene, from, at).await;
    assert!(seen.iter().all(|it| node.contains(it)), "{from} → {at}: {seen:?}");
}

async fn everybody_is_served(scene: &mut Scene) {
    scene.write("shop.yaml", &shop(""));
    scene.run_pods().await;
    for family in Family::ALL {
        for way in Way::ALL {
            let at = way.tcp(scene, family);
            both_answer(scene, &client(), at).await;
            both_answer(scene, &Party::Node, at).await;
            both_answer(scene, &web(1), at).await;
        }
        for way in Way::EXTERNAL {
            both_answer(scene, &office(), way.tcp(scene, family)).await;
        }
        is_itself(scene, &client(), Way::Cluster.tcp(scene, family)).await;
        is_masqueraded(scene, &Party::Node, Way::Cluster.tcp(scene, family), 0).await;
        for way in Way::EXTERNAL {
            is_masqueraded(scene, &client(), way.tcp(scene, family), 0).await;
            is_masqueraded(scene, &office(), way.tcp(scene, family), 0).await;
        }
        calling_oneself(scene, family).await;
        echoes_come_back(scene, family).await;
    }
}

/// UDP, through every address.
async fn echoes_come_back(scene: &Scene, family: Family) {
    let namespace = scene.lab().namespace(&client()).unwrap();
    for way in Way::ALL {
        let at = way.udp(scene, family);
        let ask = move || {
            let any: IpAddr = if at.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
            let socket = std::net::UdpSocket::bind((any, 0))?;
            socket.set_read_timeout(Some(ANSWER))?;
            socket.connect(at)?;
            socket.send(b"hello")?;
            let mut answer = [0; 16];
            let length = socket.recv(&mut answer)?;
            Ok(answer[..length].to_vec())
        };
        assert_eq!(namespace.io("ask for an echo", ask).await.unwrap(), b"hello", "{at}");
    }
}

/// A backend that gets itself is masqueraded, and only then.
async fn calling_oneself(scene: &Scene, family: Family) {
    let found = answers(scene, &web(1), Way::Cluster.tcp(scene, family)).await;
    let own = address(scene, &web(1), family);
    assert_eq!(found[&web(2).to_string()], [own].into());
    let node = scene.lab().nodes()[0].addresses();
    let itself = &found[&web(1).to_string()];
    assert!(itself.iter().all(|it| node.contains(it)), "{itself:?}");
}

async fn policies_and_changes(scene: &mut Scene) {
    scene.write("shop.yaml", &shop("  externalTrafficPolicy: Local\n"));
    scene.run_pods().await;
    for family in Family::ALL {
        for way in Way::EXTERNAL {
            is_itself(scene, &office(), way.tcp(scene, family)).await;
            is_itself(scene, &client(), way.tcp(scene, family)).await;
            both_answer(scene, &Party::Node, way.tcp(scene, family)).await;
        }
    }
    scene.write("shop.yaml", &shop("  sessionAffinity: ClientIP\n"));
    scene.run_pods().await;
    for family in Family::ALL {
        let at = Way::Cluster.tcp(scene, family);
        let first = ask(scene, &client(), at, ANSWER).await.unwrap();
        let later = answers(scene, &client(), at).await;
        assert_eq!(later.into_keys().collect::<BTreeSet<_>>(), [first.by].into());
    }
    let without = shop("").replace("app: web, ", "app: gone, ");
    scene.write("shop.yaml", &without);
    scene.run_pods().await;
    for family in Family::ALL {
        for way in Way::ALL {
            let at = way.tcp(scene, family);
            assert_eq!(ask(scene, &client(), at, ANSWER).await, Err(Outcome::Refused), "{at}");
        }
    }
    scene.write("shop.yaml", &shop(""));
    scene.run_pods().await;
    both_answer(scene, &client(), Way::Cluster.tcp(scene, Family::V6)).await;
}

fn on_two_nodes(topology: Topology, proxy: Proxy, fabric: Fabric) {
    let setup = Setup { agent: false, ..two_nodes(topology, proxy, fabric) };
    with_setup(setup, two_nodes_are_served);
}

#[test]
fn two_kubenet_nodes_are_served_by_iptables() {
    on_two_nodes(Topology::Kubenet, Proxy::Iptables, Fabric::Routed);
}

#[test]
fn two_azure_cni_nodes_are_served_by_nftables() {
    on_two_nodes(Topology::AzureCni, Proxy::Nftables, Fabric::Routed);
}

#[test]
fn two_nodes_with_tunnels_are_served_by_iptables() {
    on_two_nodes(Topology::AzureCni, Proxy::Iptables, Fabric::Vxlan);
}

macro_rules! on_each_setup {
    ($($name:ident($topology:ident, $proxy:ident): $test:ident;)*) => {
        $(#[test]
        fn $name() {
            let proxy = Proxy::$proxy;
            let setup = Setup { proxy, agent: false, ..Setup::one_node(Topology::$topology) };
            with_setup(setup, $test);
        })*
    };
}

on_each_setup! {
    everybody_is_served_on_kubenet_by_iptables(Kubenet, Iptables): everybody_is_served;
    everybody_is_served_on_kubenet_by_nftables(Kubenet, Nftables): everybody_is_served;
    everybody_is_served_on_azure_cni_by_iptables(AzureCni, Iptables): everybody_is_served;
    everybody_is_served_on_azure_cni_by_nftables(AzureCni, Nftables): everybody_is_served;
    spreading_and_changes_by_iptables(Kubenet, Iptables): policies_and_changes;
    spreading_and_changes_by_nftables(AzureCni, Nftables): policies_and_changes;
}

/// One backend on each of two nodes, and a client on each.
async fn two_nodes_are_served(scene: &mut Scene) {
    scene.write("shop.yaml", &shop_on_two_nodes(""));
    scene.run_pods().await;
    let far = Party::pod("shop", "far");
    for family in Family::ALL {
        for from in [client(), far.clone()] {
            for way in Way::ALL.into_iter().chain([Way::Node(1)]) {
                both_answer(scene, &from, way.tcp(scene, family)).await;
            }
            is_itself(scene, &from, Way::Cluster.tcp(scene, family)).await;
        }
        for node in [0, 1] {
            let at = Way::Node(node).tcp(scene, family);
            both_answer(scene, &office(), at).await;
            is_masqueraded(scene, &office(), at, node).await;
            both_answer(scene, &Party::node(node), Way::Cluster.tcp(scene, family)).await;
        }
    }
    local_stays_on_its_node(scene).await;
}

/// Of what comes from outside each node gives its own backend only; pods get both.
async fn local_stays_on_its_node(scene: &mut Scene) {
    scene.write("shop.yaml", &shop_on_two_nodes("  externalTrafficPolicy: Local\n"));
    scene.run_pods().await;
    for family in Family::ALL {
        for (node, backend) in [(0, 1), (1, 2)] {
            let at = Way::Node(node).tcp(scene, family);
            let found = answers(scene, &office(), at).await;
            assert_eq!(found.into_keys().collect::<BTreeSet<_>>(), names(&[web(backend)]));
            is_itself(scene, &office(), at).await;
        }
        both_answer(scene, &client(), Way::Node(0).tcp(scene, family)).await;
    }
    let all = shop_on_two_nodes("  externalTrafficPolicy: Local\n");
    scene.write("shop.yaml", &all.replacen("app: web, ", "app: gone, ", 1));
    scene.run_pods().await;
    for family in Family::ALL {
        // The load balancer sends to the node that has one.
        is_itself(scene, &office(), Way::Balancer.tcp(scene, family)).await;
        let answer = ask(scene, &office(), Way::Node(0).tcp(scene, family), SILENCE).await;
        assert_eq!(answer, Err(Outcome::TimedOut));
        is_itself(scene, &client(), Way::Balancer.tcp(scene, family)).await;
    }
}
