//! What an egress policy makes of connections through Services: the backend counts, whatever
//! address was asked (semantics N1, N2), and a pod always reaches itself (A1) and its node (A2).

use std::net::SocketAddr;

use enforcer_tests::lab::{Family, Party};
use futures::future::join_all;

use super::judged::{nobody_answers, only_answers};
use super::{Way, both_answer, client, on_each_setup, shop, web};
use crate::scene::{Scene, namespace, pod, policy};

/// Restricts what the client may send to.
fn allow(rule: &str) -> String {
    let client = "podSelector: {matchLabels: {app: client}}, policyTypes: [Egress]";
    policy("shop", "egress", &format!("{client}, egress: [{rule}]"))
}

/// Everything that the client asks a Service for is one backend's, and the other's is dropped.
async fn only_the_first(scene: &Scene) {
    let each = async |at| only_answers(scene, &client(), at, &web(1)).await;
    join_all(everywhere(scene).map(each)).await;
}

async fn nobody(scene: &Scene) {
    let each = async |at| nobody_answers(scene, &client(), at).await;
    join_all(everywhere(scene).map(each)).await;
}

/// All of the Service's addresses. Those that drop are asked at once: each takes its time.
fn everywhere(scene: &Scene) -> impl Iterator<Item = SocketAddr> {
    let of = |family| Way::ALL.map(|way| way.tcp(scene, family));
    Family::ALL.into_iter().flat_map(of).collect::<Vec<_>>().into_iter()
}

async fn both(scene: &Scene) {
    for family in Family::ALL {
        for way in Way::ALL {
            both_answer(scene, &client(), way.tcp(scene, family)).await;
        }
    }
}

async fn backends_count(scene: &mut Scene) {
    scene.write("shop.yaml", &shop(""));
    scene.agree("no policy").await;
    both(scene).await;
    let first = "to: [{podSelector: {matchLabels: {one: \"1\"}}}]";
    let all = "to: [{podSelector: {matchLabels: {app: web}}}]";
    for (what, rule) in [
        ("one backend", format!("{{{first}}}")),
        ("one backend's port", format!("{{{all}, ports: [{{port: 8080}}]}}")),
    ] {
        scene.write("policy.yaml", &allow(&rule));
        scene.agree(what).await;
        only_the_first(scene).await;
    }
    scene.write("policy.yaml", &allow(&format!("{{{all}, ports: [{{port: http}}]}}")));
    scene.agree("the port's name").await;
    both(scene).await;
    // The Service's own port and the node port mean nothing.
    scene.write(
        "policy.yaml",
        &allow(&format!("{{{all}, ports: [{{port: 80}}, {{port: 30080}}]}}")),
    );
    scene.agree("the Service's ports").await;
    nobody(scene).await;
    // Neither does the direction or the order of policies: rules add up.
    scene.write("more.yaml", &allow(&format!("{{{first}}}")).replace("egress}", "more}"));
    scene.agree("one backend more").await;
    only_the_first(scene).await;
}

async fn blocks_are_of_backends(scene: &mut Scene) {
    scene.write("shop.yaml", &shop(""));
    let virtual_addresses = [
        "10.0.0.0/24",
        "192.0.2.0/24",
        "10.240.0.0/24",
        "fd00:10::/112",
        "2001:db8:2::/48",
        "fd00:10:240::/64",
    ];
    let blocks = |list: &[String]| {
        let all: Vec<String> =
            list.iter().map(|it| format!("{{ipBlock: {{cidr: \"{it}\"}}}}")).collect();
        format!("{{to: [{}]}}", all.join(", "))
    };
    scene.write("policy.yaml", &allow(&blocks(&virtual_addresses.map(str::to_owned))));
    scene.agree("blocks of virtual addresses").await;
    nobody(scene).await;
    let backend = Family::ALL.map(|family| {
        let bits = if family == Family::V4 { 32 } else { 128 };
        format!("{}/{bits}", scene.lab().address(&web(1), family).unwrap())
    });
    scene.write("policy.yaml", &allow(&blocks(&backend)));
    scene.agree("blocks of a backend").await;
    only_the_first(scene).await;
}

/// A backend that may neither send nor receive still reaches itself through its own Service.
async fn itself(scene: &mut Scene) {
    scene.write("shop.yaml", &shop(""));
    scene.write(
        "policy.yaml",
        &policy("shop", "deny", "podSelector: {}, policyTypes: [Ingress, Egress]"),
    );
    scene.agree("nothing at all").await;
    for family in Family::ALL {
        for way in Way::ALL {
            only_answers(scene, &web(1), way.tcp(scene, family), &web(1)).await;
            nobody_answers(scene, &client(), way.tcp(scene, family)).await;
            both_answer(scene, &Party::Node, way.tcp(scene, family)).await;
        }
    }
}

/// A Service of pods that use the node's network: their node is always reached.
async fn the_own_node(scene: &mut Scene) {
    let agent = pod("shop", "agent", "app: agent", &["http/TCP/8088"]);
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {namespace: shop, name: agent}\n\
        spec: {selector: {app: agent}, clusterIP: 10.0.0.11, clusterIPs: [10.0.0.11, \"fd00:10::11\"], \
        ports: [{port: 80, targetPort: 8088}]}\n";
    let manifests = [
        namespace("shop", ""),
        agent.replace("spec:\n", "spec:\n  hostNetwork: true\n"),
        pod("shop", "client", "app: client", &["http/TCP/80"]),
        service.to_owned(),
        policy("shop", "deny", "podSelector: {}, policyTypes: [Ingress, Egress]"),
    ];
    scene.write("all.yaml", &manifests.concat());
    scene.agree("the node only").await;
    for address in ["10.0.0.11:80", "[fd00:10::11]:80"] {
        let found = super::answers(scene, &client(), address.parse().unwrap()).await;
        assert_eq!(found.into_keys().collect::<Vec<_>>(), ["shop/agent"]);
    }
}

on_each_setup! {
    n1_the_chosen_backend_counts_on_kubenet_by_iptables(Kubenet, Iptables): backends_count;
    n1_the_chosen_backend_counts_on_kubenet_by_nftables(Kubenet, Nftables): backends_count;
    n1_the_chosen_backend_counts_on_azure_cni_by_iptables(AzureCni, Iptables): backends_count;
    n1_the_chosen_backend_counts_on_azure_cni_by_nftables(AzureCni, Nftables): backends_count;
    n2_blocks_match_backends_on_kubenet_by_iptables(Kubenet, Iptables): blocks_are_of_backends;
    n2_blocks_match_backends_on_azure_cni_by_nftables(AzureCni, Nftables): blocks_are_of_backends;
    a1_a_pod_reaches_itself_on_kubenet_by_iptables(Kubenet, Iptables): itself;
    a1_a_pod_reaches_itself_on_kubenet_by_nftables(Kubenet, Nftables): itself;
    a1_a_pod_reaches_itself_on_azure_cni_by_iptables(AzureCni, Iptables): itself;
    a1_a_pod_reaches_itself_on_azure_cni_by_nftables(AzureCni, Nftables): itself;
    a2_the_own_node_serves_on_kubenet(Kubenet, Nftables): the_own_node;
    a2_the_own_node_serves_on_azure_cni(AzureCni, Iptables): the_own_node;
}
