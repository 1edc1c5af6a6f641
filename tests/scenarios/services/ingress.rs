//! What an ingress policy makes of connections through Services: the client counts, although the
//! backend sees the node's address (semantics N3).

use enforcer_tests::lab::{Family, OUTSIDE_CLIENTS, Party};
use futures::future::join_all;

use super::judged::nobody_answers;
use super::{Way, both_answer, client, on_each_setup, shop};
use crate::scene::{Scene, policy};

fn other() -> Party {
    Party::pod("shop", "other")
}

fn allow(peers: &str) -> String {
    let backends = "podSelector: {matchLabels: {app: web}}";
    policy("shop", "ingress", &format!("{backends}, ingress: [{{from: [{peers}]}}]"))
}

/// The office's addresses, its guests' not among them.
const OFFICE: &str = "{ipBlock: {cidr: 198.51.100.0/25}}, {ipBlock: {cidr: \"2001:db8:100::/64\"}}";
/// What masquerading puts in the place of others.
const NODE: &str = "{ipBlock: {cidr: 10.240.0.4/32}}, {ipBlock: {cidr: \"fd00:10:240::4/128\"}}, \
    {ipBlock: {cidr: 10.244.1.1/32}}, {ipBlock: {cidr: \"fd00:10:244:1::1/128\"}}";

async fn pods_are_themselves(scene: &mut Scene) {
    scene.write("shop.yaml", &shop(""));
    scene.write("policy.yaml", &allow("{podSelector: {matchLabels: {app: client}}}"));
    scene.agree("one client").await;
    for family in Family::ALL {
        for way in Way::ALL {
            let at = way.tcp(scene, family);
            both_answer(scene, &client(), at).await;
            nobody_answers(scene, &other(), at).await;
            // Semantics A2: it is the node itself.
            both_answer(scene, &Party::Node, at).await;
        }
        for way in Way::EXTERNAL {
            nobody_answers(scene, &Party::outside("office"), way.tcp(scene, family)).await;
        }
    }
}

async fn clients_outside_are_themselves(scene: &mut Scene) {
    for spread in ["", "  externalTrafficPolicy: Local\n"] {
        scene.write("shop.yaml", &shop(spread));
        scene.write("policy.yaml", &allow(OFFICE));
        scene.agree("the office").await;
        for family in Family::ALL {
            for way in Way::EXTERNAL {
                let at = way.tcp(scene, family);
                both_answer(scene, &Party::outside("office"), at).await;
                let others = [Party::outside("guest"), Party::outside("internet"), client()];
                join_all(others.each_ref().map(|it| nobody_answers(scene, it, at))).await;
            }
        }
        // The node's address is no key for those that wear it.
        scene.write("policy.yaml", &allow(NODE));
        scene.agree("the node's addresses").await;
        for family in Family::ALL {
            for way in Way::EXTERNAL {
                let at = way.tcp(scene, family);
                let outside = OUTSIDE_CLIENTS.map(|it| Party::outside(it.name));
                join_all(outside.each_ref().map(|it| nobody_answers(scene, it, at))).await;
                nobody_answers(scene, &client(), at).await;
            }
        }
    }
}

on_each_setup! {
    n3_pods_are_judged_as_themselves_on_kubenet_by_iptables(Kubenet, Iptables): pods_are_themselves;
    n3_pods_are_judged_as_themselves_on_kubenet_by_nftables(Kubenet, Nftables): pods_are_themselves;
    n3_pods_are_judged_as_themselves_on_azure_cni_by_iptables(AzureCni, Iptables):
        pods_are_themselves;
    n3_pods_are_judged_as_themselves_on_azure_cni_by_nftables(AzureCni, Nftables):
        pods_are_themselves;
    n3_clients_outside_are_judged_as_themselves_on_kubenet_by_iptables(Kubenet, Iptables):
        clients_outside_are_themselves;
    n3_clients_outside_are_judged_as_themselves_on_kubenet_by_nftables(Kubenet, Nftables):
        clients_outside_are_themselves;
    n3_clients_outside_are_judged_as_themselves_on_azure_cni_by_iptables(AzureCni, Iptables):
        clients_outside_are_themselves;
    n3_clients_outside_are_judged_as_themselves_on_azure_cni_by_nftables(AzureCni, Nftables):
        clients_outside_are_themselves;
}
