//! Ingress policy on connections through Services: the client decides, although the backend sees
//! the node's address (semantics N3).

use enforcer_tests::lab::{OUTSIDE_CLIENTS, Party, Proxy, Topology};

use super::{OFFICE, Way, all_dropped, both_answer, client, for_each, office, shop};
use crate::scene::{Scene, policy};

fn other() -> Party {
    Party::pod("shop", "other")
}

fn allow(peers: &str) -> String {
    let backends = "podSelector: {matchLabels: {app: web}}";
    policy("shop", "ingress", &format!("{backends}, ingress: [{{from: [{peers}]}}]"))
}

/// The node's addresses, which masquerading puts in place of the client's.
const NODE: &str = "{ipBlock: {cidr: 10.240.0.4/32}}, {ipBlock: {cidr: \"fd00:10:240::4/128\"}}, \
    {ipBlock: {cidr: 10.244.1.1/32}}, {ipBlock: {cidr: \"fd00:10:244:1::1/128\"}}";

pub(super) async fn pods_keep_their_identity(scene: &mut Scene) {
    scene.write("shop.yaml", &shop(""));
    scene.write("policy.yaml", &allow("{podSelector: {matchLabels: {app: client}}}"));
    scene.agree("one client").await;
    for_each(scene, &Way::ALL, async |at| {
        both_answer(scene, &client(), at).await;
        all_dropped(scene, &other(), at).await;
        // Semantics A2: it is the node itself.
        both_answer(scene, &Party::Node, at).await;
    })
    .await;
    for_each(scene, &Way::EXTERNAL, async |at| all_dropped(scene, &office(), at).await).await;
}

pub(super) async fn clients_outside_keep_their_identity(scene: &mut Scene) {
    for spread in ["", "  externalTrafficPolicy: Local\n"] {
        scene.write("shop.yaml", &shop(spread));
        scene.write("policy.yaml", &allow(OFFICE));
        scene.agree("the office").await;
        for_each(scene, &Way::EXTERNAL, async |at| both_answer(scene, &office(), at).await).await;
        for other in [Party::outside("guest"), Party::outside("internet"), client()] {
            for_each(scene, &Way::EXTERNAL, async |at| all_dropped(scene, &other, at).await).await;
        }
        // A client that is masqueraded to the node's address does not get the node's permissions.
        scene.write("policy.yaml", &allow(NODE));
        scene.agree("the node's addresses").await;
        let outside = OUTSIDE_CLIENTS.iter().map(|it| Party::outside(it.name));
        for party in outside.chain([client()]) {
            for_each(scene, &Way::EXTERNAL, async |at| all_dropped(scene, &party, at).await).await;
        }
    }
}

scenarios! {
    n3_pods_keep_their_identity_on_kubenet: (Topology::Kubenet, Proxy::Nftables) =>
        pods_keep_their_identity;
    n3_pods_keep_their_identity_on_azure_cni: (Topology::AzureCni, Proxy::Iptables) =>
        pods_keep_their_identity;
    n3_clients_outside_keep_their_identity_on_kubenet: (Topology::Kubenet, Proxy::Iptables) =>
        clients_outside_keep_their_identity;
    n3_clients_outside_keep_their_identity_on_azure_cni: (Topology::AzureCni, Proxy::Nftables) =>
        clients_outside_keep_their_identity;
}
