//! Egress policy on connections through Services: the backend decides, not the Service's address
//! (semantics N1, N2), and a pod always reaches itself (A1) and its node (A2).

use enforcer_tests::lab::{Family, Party, Proxy, Topology};

use super::{Way, all_dropped, both_answer, client, for_each, only_answers, shop, web};
use crate::scene::{Scene, pod, policy, shop_of};

/// Allows the client only this rule's connections.
fn allow(rule: &str) -> String {
    let client = "podSelector: {matchLabels: {app: client}}, policyTypes: [Egress]";
    policy("shop", "egress", &format!("{client}, egress: [{rule}]"))
}

/// The client's connections to the first backend succeed; those to the other one are dropped.
async fn only_the_first(scene: &Scene) {
    for_each(scene, &Way::ALL, async |at| only_answers(scene, &client(), at, &web(1)).await).await;
}

async fn none(scene: &Scene) {
    for_each(scene, &Way::ALL, async |at| all_dropped(scene, &client(), at).await).await;
}

async fn both(scene: &Scene) {
    for_each(scene, &Way::ALL, async |at| both_answer(scene, &client(), at).await).await;
}

pub(super) async fn the_backend_decides(scene: &mut Scene) {
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
    // The Service's own port and the node port do not count.
    scene.write(
        "policy.yaml",
        &allow(&format!("{{{all}, ports: [{{port: 80}}, {{port: 30080}}]}}")),
    );
    scene.agree("the Service's ports").await;
    none(scene).await;
    // Rules of several policies add up.
    scene.write("more.yaml", &allow(&format!("{{{first}}}")).replace("egress}", "more}"));
    scene.agree("one backend more").await;
    only_the_first(scene).await;
}

pub(super) async fn blocks_match_backends(scene: &mut Scene) {
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
    none(scene).await;
    let backend = Family::ALL.map(|family| {
        let bits = if family == Family::V4 { 32 } else { 128 };
        format!("{}/{bits}", scene.lab().address(&web(1), family).unwrap())
    });
    scene.write("policy.yaml", &allow(&blocks(&backend)));
    scene.agree("blocks of a backend").await;
    only_the_first(scene).await;
}

/// A backend that may neither send nor receive reaches itself through its own Service.
pub(super) async fn itself(scene: &mut Scene) {
    scene.write("shop.yaml", &shop(""));
    scene.write(
        "policy.yaml",
        &policy("shop", "deny", "podSelector: {}, policyTypes: [Ingress, Egress]"),
    );
    scene.agree("nothing at all").await;
    for_each(scene, &Way::ALL, async |at| {
        only_answers(scene, &web(1), at, &web(1)).await;
        all_dropped(scene, &client(), at).await;
        both_answer(scene, &Party::Node, at).await;
    })
    .await;
}

/// A Service of pods on the node's network: their own node is always reachable.
pub(super) async fn the_own_node(scene: &mut Scene) {
    let agent = pod("shop", "agent", "app: agent", &["http/TCP/8088"]);
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {namespace: shop, name: agent}\n\
        spec: {selector: {app: agent}, clusterIP: 10.0.0.11, clusterIPs: [10.0.0.11, \"fd00:10::11\"], \
        ports: [{port: 80, targetPort: 8088}]}\n";
    let manifests = [
        shop_of(&["client"]),
        agent.replace("spec:\n", "spec:\n  hostNetwork: true\n"),
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

scenarios! {
    n1_the_chosen_backend_decides_on_kubenet: (Topology::Kubenet, Proxy::Iptables) =>
        the_backend_decides;
    n1_the_chosen_backend_decides_on_azure_cni: (Topology::AzureCni, Proxy::Nftables) =>
        the_backend_decides;
    n2_blocks_match_backends_on_kubenet: (Topology::Kubenet, Proxy::Iptables) =>
        blocks_match_backends;
    n2_blocks_match_backends_on_azure_cni: (Topology::AzureCni, Proxy::Nftables) =>
        blocks_match_backends;
    a1_a_pod_reaches_itself_on_kubenet: (Topology::Kubenet, Proxy::Nftables) => itself;
    a1_a_pod_reaches_itself_on_azure_cni: (Topology::AzureCni, Proxy::Iptables) => itself;
    a2_the_own_node_serves_on_kubenet: (Topology::Kubenet, Proxy::Nftables) => the_own_node;
    a2_the_own_node_serves_on_azure_cni: (Topology::AzureCni, Proxy::Iptables) => the_own_node;
}
