//! Connections through a Service that live on while policies change (semantics C2, N4, A3).

use std::net::SocketAddr;

use enforcer_tests::lab::{Fabric, Family, Party, Proxy, Topology};

use super::{client, on_each_setup, two_nodes};
use crate::connection::{Living, PORT, all_are_cut, all_go_on};
use crate::scene::{Scene, namespace, pod, pod_on, policy, with_setup};

/// The server's second port, which only the node port leads to.
const OTHER_PORT: u16 = PORT + 1;
const NODE_PORT: u16 = 30_700;

/// Which of the Service's addresses.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Cluster,
    Node,
}

fn server() -> Party {
    Party::pod("shop", "server")
}

/// A client, a server on a node of the lab's, and the Service `shop/talk` before it.
fn talk(node: &str) -> String {
    let ports = ["TCP", "UDP"].map(|it| {
        let name = it.to_lowercase();
        format!(
            "{{name: {name}, protocol: {it}, port: {PORT}}}, \
             {{name: {name}2, protocol: {it}, port: {OTHER_PORT}, nodePort: {NODE_PORT}}}"
        )
    });
    let service = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{namespace: shop, name: talk}}\n\
         spec: {{type: NodePort, selector: {{app: server}}, clusterIP: 10.0.0.12, \
         clusterIPs: [10.0.0.12, \"fd00:10::12\"], ports: [{}]}}\n",
        ports.join(", ")
    );
    [
        namespace("shop", ""),
        pod_on(node, "shop", "server", "app: server", &["http/TCP/80"]),
        pod("shop", "client", "app: client", &["http/TCP/80"]),
        service,
    ]
    .concat()
}

/// TCP and UDP of each family, through the cluster address or the first node's port.
async fn connections(scene: &Scene, from: &Party, ways: &[Way]) -> Vec<Living> {
    let mut all = Vec::new();
    for family in Family::ALL {
        for way in ways {
            let cluster = if family == Family::V4 { "10.0.0.12" } else { "fd00:10::12" };
            let node = scene.lab().address(&Party::Node, family).unwrap();
            let (at, port) = match way {
                Way::Cluster => (SocketAddr::new(cluster.parse().unwrap(), PORT), PORT),
                Way::Node => (SocketAddr::new(node, NODE_PORT), OTHER_PORT),
            };
            all.push(Living::tcp_through(scene.lab(), from, &server(), port, at).await);
            all.push(Living::udp_through(scene.lab(), from, &server(), port, at).await);
        }
    }
    for living in &mut all {
        living.exchange().await;
    }
    all
}

/// Policies that each forbid what a client sends to the server.
const DENIALS: [&str; 2] = [
    "podSelector: {matchLabels: {app: server}}",
    "podSelector: {matchLabels: {app: client}}, policyTypes: [Egress]",
];

/// The server may send replies only, and the client receive replies only: what comes back hangs
/// on the flow at both ends, and on the translation between them.
fn replies_only() -> String {
    policy("shop", "server", "podSelector: {matchLabels: {app: server}}, policyTypes: [Egress]")
        + &policy("shop", "client", "podSelector: {matchLabels: {app: client}}")
}

async fn cut_and_healed(scene: &mut Scene, node: &str) {
    scene.write("talk.yaml", &talk(node));
    scene.write("base.yaml", &replies_only());
    scene.agree("replies only").await;
    let mut all = connections(scene, &client(), &[Way::Cluster, Way::Node]).await;
    for spec in DENIALS {
        scene.write("deny.yaml", &policy("shop", "deny", spec));
        scene.agree("denied").await;
        all_are_cut(&mut all).await;
        scene.remove("deny.yaml");
        scene.agree("allowed again").await;
        all_go_on(&mut all).await;
    }
}

/// A client outside, masqueraded by the node.
async fn outside_is_cut_and_healed(scene: &mut Scene) {
    scene.write("talk.yaml", &talk("lab-node"));
    scene.write("base.yaml", &replies_only());
    scene.agree("replies only").await;
    let mut all = connections(scene, &Party::outside("office"), &[Way::Node]).await;
    let [deny, _] = DENIALS;
    scene.write("deny.yaml", &policy("shop", "deny", deny));
    scene.agree("denied").await;
    all_are_cut(&mut all).await;
    let office = "{ipBlock: {cidr: 198.51.100.0/25}}, {ipBlock: {cidr: \"2001:db8:100::/64\"}}";
    let allow = format!("{deny}, ingress: [{{from: [{office}]}}]");
    scene.write("allow.yaml", &policy("shop", "allow", &allow));
    scene.agree("the office").await;
    all_go_on(&mut all).await;
}

async fn on_one_node(scene: &mut Scene) {
    cut_and_healed(scene, "lab-node").await;
}

async fn on_another_node(scene: &mut Scene) {
    cut_and_healed(scene, "lab-node-2").await;
}

on_each_setup! {
    c2_n4_living_connections_on_kubenet_by_iptables(Kubenet, Iptables): on_one_node;
    c2_n4_living_connections_on_azure_cni_by_nftables(AzureCni, Nftables): on_one_node;
    c2_n4_living_connections_from_outside_on_kubenet(Kubenet, Nftables): outside_is_cut_and_healed;
    c2_n4_living_connections_from_outside_on_azure_cni(AzureCni, Iptables):
        outside_is_cut_and_healed;
}

#[test]
fn c2_n4_living_connections_to_another_kubenet_node() {
    let setup = two_nodes(Topology::Kubenet, Proxy::Iptables, Fabric::Routed);
    with_setup(setup, on_another_node);
}

#[test]
fn c2_n4_living_connections_through_a_tunnel() {
    let setup = two_nodes(Topology::AzureCni, Proxy::Iptables, Fabric::Vxlan);
    with_setup(setup, on_another_node);
}
