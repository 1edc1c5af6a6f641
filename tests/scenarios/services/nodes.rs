//! Services whose backends are on two nodes: each node decides by the packets that it sees
//! (semantics N1, N3, A5).

use enforcer_tests::lab::{Fabric, Family, Party, Proxy, Topology};

use super::{
    OFFICE, Way, all_dropped, both_answer, client, for_each, office, only_answers,
    shop_on_two_nodes, web,
};
use crate::scene::{Scene, policy};

fn far() -> Party {
    Party::pod("shop", "far")
}

fn egress_to(number: u8) -> String {
    let to = format!("to: [{{podSelector: {{matchLabels: {{one: \"{number}\"}}}}}}]");
    let client = "podSelector: {matchLabels: {app: client}}, policyTypes: [Egress]";
    policy("shop", "egress", &format!("{client}, egress: [{{{to}}}]"))
}

fn ingress_from(peers: &str) -> String {
    let backends = "podSelector: {matchLabels: {app: web}}";
    policy("shop", "ingress", &format!("{backends}, ingress: [{{from: [{peers}]}}]"))
}

async fn backends_on_any_node_decide(scene: &mut Scene) {
    scene.write("shop.yaml", &shop_on_two_nodes(""));
    scene.agree("no policy").await;
    for number in [1, 2] {
        scene.write("policy.yaml", &egress_to(number));
        scene.agree("one backend").await;
        only(scene, &client(), &Way::ALL, number).await;
        // Another node's port is an outside address (semantics A5).
        for_each(scene, &[Way::Node(1)], async |at| all_dropped(scene, &client(), at).await).await;
    }
}

async fn clients_appear_as_masqueraded(scene: &mut Scene) {
    scene.write("shop.yaml", &shop_on_two_nodes(""));
    scene.write("policy.yaml", &ingress_from("{podSelector: {matchLabels: {app: client}}}"));
    scene.agree("one client").await;
    // Not masqueraded: both nodes see the pod's address.
    for_each(scene, &[Way::Cluster], async |at| {
        both_answer(scene, &client(), at).await;
        all_dropped(scene, &far(), at).await;
    })
    .await;
    // Masqueraded by its own node: the other one sees that node's address.
    only(scene, &client(), &[Way::Balancer, Way::Node(0)], 1).await;
    // Masqueraded by the other node, which sees the pod's address.
    only(scene, &client(), &[Way::Node(1)], 2).await;
    scene.write("policy.yaml", &ingress_from(OFFICE));
    scene.agree("the office").await;
    only(scene, &office(), &[Way::Node(0)], 1).await;
    only(scene, &office(), &[Way::Node(1)], 2).await;
    let guest = Party::outside("guest");
    for_each(scene, &[Way::Node(1)], async |at| all_dropped(scene, &guest, at).await).await;
}

/// Only this backend is reached, through each of the ways.
async fn only(scene: &Scene, from: &Party, ways: &[Way], backend: u8) {
    for_each(scene, ways, async |at| only_answers(scene, from, at, &web(backend)).await).await;
}

/// With the policy Local no client outside is masqueraded, and no node forwards to another.
async fn local_masquerades_no_client(scene: &mut Scene) {
    scene.write("shop.yaml", &shop_on_two_nodes("  externalTrafficPolicy: Local\n"));
    scene.write("policy.yaml", &ingress_from(OFFICE));
    scene.agree("the office").await;
    for_each(scene, &[Way::Node(0), Way::Node(1)], async |at| {
        let found = super::answers(scene, &office(), at).await;
        assert_eq!(found.len(), 1, "{found:?}");
        all_dropped(scene, &Party::outside("guest"), at).await;
    })
    .await;
}

/// The first node's packets come from the node for its own pods, and from outside for others.
async fn other_nodes_are_outside(scene: &mut Scene) {
    scene.write("shop.yaml", &shop_on_two_nodes(""));
    scene.write("policy.yaml", &policy("shop", "deny", "podSelector: {}"));
    scene.agree("nothing in").await;
    for_each(scene, &[Way::Cluster], async |at| {
        only_answers(scene, &Party::Node, at, &web(1)).await;
        only_answers(scene, &Party::OtherNode(1), at, &web(2)).await;
    })
    .await;
    let nodes = Family::ALL.map(|family| {
        let bits = if family == Family::V4 { 32 } else { 128 };
        let address = scene.lab().outward_address(0, family).unwrap();
        format!("{{ipBlock: {{cidr: \"{address}/{bits}\"}}}}")
    });
    scene.write("more.yaml", &ingress_from(&nodes.join(", ")));
    scene.agree("the first node may").await;
    for_each(scene, &[Way::Cluster], async |at| {
        both_answer(scene, &Party::Node, at).await;
        only_answers(scene, &Party::OtherNode(1), at, &web(2)).await;
    })
    .await;
    // The clients that it masquerades appear as the node elsewhere.
    only(scene, &office(), &[Way::Node(0)], 2).await;
}

scenarios! {
    n1_backends_of_two_nodes: (Topology::Kubenet, Proxy::Iptables, Fabric::Routed) =>
        backends_on_any_node_decide;
    n1_backends_behind_tunnels: (Topology::AzureCni, Proxy::Nftables, Fabric::Vxlan) =>
        backends_on_any_node_decide;
    n3_clients_on_two_nodes: (Topology::AzureCni, Proxy::Iptables, Fabric::Routed) =>
        clients_appear_as_masqueraded;
    n3_clients_behind_tunnels: (Topology::Kubenet, Proxy::Nftables, Fabric::Vxlan) =>
        clients_appear_as_masqueraded;
    // One: without masquerading, packets arrive as in other tests.
    n3_local_on_two_nodes: (Topology::AzureCni, Proxy::Nftables, Fabric::Routed) =>
        local_masquerades_no_client;
    a5_another_node_is_outside: (Topology::Kubenet, Proxy::Iptables, Fabric::Routed) =>
        other_nodes_are_outside;
    a5_another_node_behind_tunnels_is_outside:
        (Topology::AzureCni, Proxy::Nftables, Fabric::Vxlan) => other_nodes_are_outside;
}
