//! The stand-in for kube-proxy by itself: no agent, all clients are served, and translated as by
//! kube-proxy.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use enforcer_tests::lab::{Fabric, Family, Party, Proxy, Topology};
use enforcer_tests::probe::Outcome;

use super::{Way, answers, ask, both_answer, client, names, office, shop, shop_on_two_nodes, web};
use crate::scene::{Scene, Setup};
use crate::support::{ANSWER, SILENCE};

fn address(scene: &Scene, party: &Party, family: Family) -> IpAddr {
    scene.lab().address(party, family).unwrap()
}

/// The client addresses that the backends saw.
async fn seen(scene: &Scene, from: &Party, at: SocketAddr) -> BTreeSet<IpAddr> {
    answers(scene, from, at).await.into_values().flatten().collect()
}

async fn keeps_its_address(scene: &Scene, from: &Party, at: SocketAddr) {
    let own = address(scene, from, Family::of(at.ip()));
    assert_eq!(seen(scene, from, at).await, [own].into(), "{from} → {at}");
}

async fn is_masqueraded(scene: &Scene, from: &Party, at: SocketAddr, node: usize) {
    let node = scene.lab().nodes()[node].addresses();
    let seen = seen(scene, from, at).await;
    assert!(seen.iter().all(|it| node.contains(it)), "{from} → {at}: {seen:?}");
}

pub(super) async fn all_are_served(scene: &mut Scene) {
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
        keeps_its_address(scene, &client(), Way::Cluster.tcp(scene, family)).await;
        is_masqueraded(scene, &Party::Node, Way::Cluster.tcp(scene, family), 0).await;
        for way in Way::EXTERNAL {
            is_masqueraded(scene, &client(), way.tcp(scene, family), 0).await;
            is_masqueraded(scene, &office(), way.tcp(scene, family), 0).await;
        }
        a_backend_reaches_itself(scene, family).await;
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

/// A backend that connects to itself is masqueraded, and only then.
async fn a_backend_reaches_itself(scene: &Scene, family: Family) {
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
            keeps_its_address(scene, &office(), way.tcp(scene, family)).await;
            keeps_its_address(scene, &client(), way.tcp(scene, family)).await;
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
            keeps_its_address(scene, &from, Way::Cluster.tcp(scene, family)).await;
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

/// For clients outside each node serves its own backend only; pods reach both.
async fn local_stays_on_its_node(scene: &mut Scene) {
    scene.write("shop.yaml", &shop_on_two_nodes("  externalTrafficPolicy: Local\n"));
    scene.run_pods().await;
    for family in Family::ALL {
        for (node, backend) in [(0, 1), (1, 2)] {
            let at = Way::Node(node).tcp(scene, family);
            let found = answers(scene, &office(), at).await;
            assert_eq!(found.into_keys().collect::<BTreeSet<_>>(), names(&[web(backend)]));
            keeps_its_address(scene, &office(), at).await;
        }
        both_answer(scene, &client(), Way::Node(0).tcp(scene, family)).await;
    }
    let all = shop_on_two_nodes("  externalTrafficPolicy: Local\n");
    scene.write("shop.yaml", &all.replacen("app: web, ", "app: gone, ", 1));
    scene.run_pods().await;
    for family in Family::ALL {
        // The load balancer sends to the node that has a backend.
        keeps_its_address(scene, &office(), Way::Balancer.tcp(scene, family)).await;
        let answer = ask(scene, &office(), Way::Node(0).tcp(scene, family), SILENCE).await;
        assert_eq!(answer, Err(Outcome::TimedOut));
        keeps_its_address(scene, &client(), Way::Balancer.tcp(scene, family)).await;
    }
}

// All pairs of topology and mode: the lab itself is under test.
scenarios! {
    all_are_served_on_kubenet_by_iptables:
        Setup::unguarded((Topology::Kubenet, Proxy::Iptables)) => all_are_served;
    all_are_served_on_kubenet_by_nftables:
        Setup::unguarded((Topology::Kubenet, Proxy::Nftables)) => all_are_served;
    all_are_served_on_azure_cni_by_iptables:
        Setup::unguarded((Topology::AzureCni, Proxy::Iptables)) => all_are_served;
    all_are_served_on_azure_cni_by_nftables:
        Setup::unguarded((Topology::AzureCni, Proxy::Nftables)) => all_are_served;
    spreading_and_changes_by_iptables:
        Setup::unguarded((Topology::Kubenet, Proxy::Iptables)) => policies_and_changes;
    spreading_and_changes_by_nftables:
        Setup::unguarded((Topology::AzureCni, Proxy::Nftables)) => policies_and_changes;
    two_kubenet_nodes_are_served_by_iptables:
        Setup::unguarded((Topology::Kubenet, Proxy::Iptables, Fabric::Routed)) =>
            two_nodes_are_served;
    two_azure_cni_nodes_are_served_by_nftables:
        Setup::unguarded((Topology::AzureCni, Proxy::Nftables, Fabric::Routed)) =>
            two_nodes_are_served;
    two_nodes_with_tunnels_are_served_by_iptables:
        Setup::unguarded((Topology::AzureCni, Proxy::Iptables, Fabric::Vxlan)) =>
            two_nodes_are_served;
}
