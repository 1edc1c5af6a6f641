//! Services whose backends are on two nodes: each node judges with what it can see (semantics N1,
//! N3, A5).

use enforcer_tests::lab::{Fabric, Family, Party, Proxy, Topology};

use super::judged::{nobody_answers, only_answers};
use super::{Way, both_answer, client, shop_on_two_nodes, two_nodes, web};
use crate::scene::{Scene, policy, with_setup};

fn far() -> Party {
    Party::pod("shop", "far")
}

fn office() -> Party {
    Party::outside("office")
}

const OWN_WAYS: [Way; 4] = Way::ALL;

/// The office's addresses, its guests' not among them.
const OFFICE: &str = "{ipBlock: {cidr: 198.51.100.0/25}}, {ipBlock: {cidr: \"2001:db8:100::/64\"}}";

fn egress_to(number: u8) -> String {
    let to = format!("to: [{{podSelector: {{matchLabels: {{one: \"{number}\"}}}}}}]");
    let client = "podSelector: {matchLabels: {app: client}}, policyTypes: [Egress]";
    policy("shop", "egress", &format!("{client}, egress: [{{{to}}}]"))
}

fn ingress_from(peers: &str) -> String {
    let backends = "podSelector: {matchLabels: {app: web}}";
    policy("shop", "ingress", &format!("{backends}, ingress: [{{from: [{peers}]}}]"))
}

async fn backends_anywhere_are_judged(scene: &mut Scene) {
    scene.write("shop.yaml", &shop_on_two_nodes(""));
    scene.agree("no policy").await;
    for number in [1, 2] {
        scene.write("policy.yaml", &egress_to(number));
        scene.agree("one backend").await;
        for family in Family::ALL {
            for way in OWN_WAYS {
                only_answers(scene, &client(), way.tcp(scene, family), &web(number)).await;
            }
            // Another node's port is that node's: it is no pod's address (semantics A5).
            nobody_answers(scene, &client(), Way::Node(1).tcp(scene, family)).await;
        }
    }
}

async fn clients_are_what_their_way_makes_of_them(scene: &mut Scene) {
    scene.write("shop.yaml", &shop_on_two_nodes(""));
    scene.write("policy.yaml", &ingress_from("{podSelector: {matchLabels: {app: client}}}"));
    scene.agree("one client").await;
    for family in Family::ALL {
        // Not masqueraded: both nodes see the pod.
        both_answer(scene, &client(), Way::Cluster.tcp(scene, family)).await;
        nobody_answers(scene, &far(), Way::Cluster.tcp(scene, family)).await;
        // Masqueraded by its own node: the other one sees that node.
        only_answers(scene, &client(), Way::Balancer.tcp(scene, family), &web(1)).await;
        only_answers(scene, &client(), Way::Node(0).tcp(scene, family), &web(1)).await;
        // Masqueraded by the other node, which saw the pod.
        only_answers(scene, &client(), Way::Node(1).tcp(scene, family), &web(2)).await;
    }
    scene.write("policy.yaml", &ingress_from(OFFICE));
    scene.agree("the office").await;
    for family in Family::ALL {
        only_answers(scene, &office(), Way::Node(0).tcp(scene, family), &web(1)).await;
        only_answers(scene, &office(), Way::Node(1).tcp(scene, family), &web(2)).await;
        nobody_answers(scene, &Party::outside("guest"), Way::Node(1).tcp(scene, family)).await;
    }
}

/// With the policy Local nobody outside is masqueraded, and no node gives to another.
async fn local_spares_the_masquerading(scene: &mut Scene) {
    scene.write("shop.yaml", &shop_on_two_nodes("  externalTrafficPolicy: Local\n"));
    scene.write("policy.yaml", &ingress_from(OFFICE));
    scene.agree("the office").await;
    for family in Family::ALL {
        for node in [0, 1] {
            let at = Way::Node(node).tcp(scene, family);
            let found = super::answers(scene, &office(), at).await;
            assert_eq!(found.len(), 1, "{found:?}");
            nobody_answers(scene, &Party::outside("guest"), at).await;
        }
    }
}

/// What the first node sends is its own pods' node's, and to others an outside address.
async fn other_nodes_are_outside(scene: &mut Scene) {
    scene.write("shop.yaml", &shop_on_two_nodes(""));
    scene.write("policy.yaml", &policy("shop", "deny", "podSelector: {}"));
    scene.agree("nothing in").await;
    for family in Family::ALL {
        let at = Way::Cluster.tcp(scene, family);
        only_answers(scene, &Party::Node, at, &web(1)).await;
        only_answers(scene, &Party::OtherNode(1), at, &web(2)).await;
    }
    let nodes = Family::ALL.map(|family| {
        let bits = if family == Family::V4 { 32 } else { 128 };
        let address = scene.lab().outward_address(0, family).unwrap();
        format!("{{ipBlock: {{cidr: \"{address}/{bits}\"}}}}")
    });
    scene.write("more.yaml", &ingress_from(&nodes.join(", ")));
    scene.agree("the first node may").await;
    for family in Family::ALL {
        let at = Way::Cluster.tcp(scene, family);
        both_answer(scene, &Party::Node, at).await;
        only_answers(scene, &Party::OtherNode(1), at, &web(2)).await;
        // Whom it masquerades is seen as it, elsewhere.
        only_answers(scene, &office(), Way::Node(0).tcp(scene, family), &web(2)).await;
    }
}

macro_rules! on_two_nodes {
    ($($name:ident($topology:ident, $proxy:ident, $fabric:ident): $test:ident;)*) => {
        $(#[test]
        fn $name() {
            let setup = two_nodes(Topology::$topology, Proxy::$proxy, Fabric::$fabric);
            with_setup(setup, $test);
        })*
    };
}

on_two_nodes! {
    n1_backends_of_two_kubenet_nodes(Kubenet, Iptables, Routed): backends_anywhere_are_judged;
    n1_backends_of_two_azure_cni_nodes(AzureCni, Nftables, Routed): backends_anywhere_are_judged;
    n1_backends_behind_tunnels(AzureCni, Iptables, Vxlan): backends_anywhere_are_judged;
    n3_clients_on_two_kubenet_nodes(Kubenet, Nftables, Routed):
        clients_are_what_their_way_makes_of_them;
    n3_clients_on_two_azure_cni_nodes(AzureCni, Iptables, Routed):
        clients_are_what_their_way_makes_of_them;
    n3_clients_behind_tunnels(Kubenet, Iptables, Vxlan): clients_are_what_their_way_makes_of_them;
    n3_local_on_two_kubenet_nodes(Kubenet, Nftables, Routed): local_spares_the_masquerading;
    n3_local_on_two_azure_cni_nodes(AzureCni, Iptables, Routed): local_spares_the_masquerading;
    a5_another_kubenet_node_is_outside(Kubenet, Iptables, Routed): other_nodes_are_outside;
    a5_another_azure_cni_node_is_outside(AzureCni, Iptables, Routed): other_nodes_are_outside;
    a5_another_node_behind_tunnels_is_outside(AzureCni, Nftables, Vxlan): other_nodes_are_outside;
}
