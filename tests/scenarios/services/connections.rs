//! Connections through a Service that stay open while policies change (semantics C2, N4, A3).

use std::net::SocketAddr;

use enforcer_tests::lab::{Fabric, Family, Party, Proxy, Topology};

use super::{OFFICE, client, office};
use crate::connection::{Connection, PORT, all_are_cut, all_resume, exchange_all};
use crate::scene::{Scene, pod_on, policy, shop_of};

/// The server's second port, which only the node port is translated to.
const OTHER_PORT: u16 = PORT + 1;
const NODE_PORT: u16 = 30_700;

/// One of the Service's addresses.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Cluster,
    Node,
}

fn server() -> Party {
    Party::pod("shop", "server")
}

/// A client, a server on a node of the lab, and the server's Service `shop/talk`.
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
    [shop_of(&["client"]), pod_on(node, "shop", "server", "app: server", &["http/TCP/80"]), service]
        .concat()
}

/// TCP and UDP of each family, through the cluster address or the first node's port.
async fn connections(scene: &Scene, from: &Party, ways: &[Way]) -> Vec<Connection> {
    let mut all = Vec::new();
    for family in Family::ALL {
        for way in ways {
            let cluster = if family == Family::V4 { "10.0.0.12" } else { "fd00:10::12" };
            let node = scene.lab().address(&Party::Node, family).unwrap();
            let (at, port) = match way {
                Way::Cluster => (SocketAddr::new(cluster.parse().unwrap(), PORT), PORT),
                Way::Node => (SocketAddr::new(node, NODE_PORT), OTHER_PORT),
            };
            all.push(Connection::tcp_through(scene.lab(), from, &server(), port, at).await);
            all.push(Connection::udp_through(scene.lab(), from, &server(), port, at).await);
        }
    }
    exchange_all(&mut all).await;
    all
}

/// Policies that each deny the client's packets to the server.
const DENIALS: [&str; 2] = [
    "podSelector: {matchLabels: {app: server}}",
    "podSelector: {matchLabels: {app: client}}, policyTypes: [Egress]",
];

/// The server may send replies only, and the client receive replies only, so the flow decides at
/// both ends, with the translation between them.
fn replies_only() -> String {
    policy("shop", "server", "podSelector: {matchLabels: {app: server}}, policyTypes: [Egress]")
        + &policy("shop", "client", "podSelector: {matchLabels: {app: client}}")
}

async fn cut_and_resumed(scene: &mut Scene, node: &str) {
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
        all_resume(&mut all).await;
    }
}

/// A client outside, masqueraded by the node.
async fn outside_is_cut_and_resumed(scene: &mut Scene) {
    scene.write("talk.yaml", &talk("lab-node"));
    scene.write("base.yaml", &replies_only());
    scene.agree("replies only").await;
    let mut all = connections(scene, &office(), &[Way::Node]).await;
    let [deny, _] = DENIALS;
    scene.write("deny.yaml", &policy("shop", "deny", deny));
    scene.agree("denied").await;
    all_are_cut(&mut all).await;
    let allow = format!("{deny}, ingress: [{{from: [{OFFICE}]}}]");
    scene.write("allow.yaml", &policy("shop", "allow", &allow));
    scene.agree("the office").await;
    all_resume(&mut all).await;
}

pub(super) async fn on_one_node(scene: &mut Scene) {
    cut_and_resumed(scene, "lab-node").await;
}

async fn on_another_node(scene: &mut Scene) {
    cut_and_resumed(scene, "lab-node-2").await;
}

scenarios! {
    c2_n4_open_connections_on_kubenet: (Topology::Kubenet, Proxy::Iptables) => on_one_node;
    c2_n4_open_connections_on_azure_cni: (Topology::AzureCni, Proxy::Nftables) => on_one_node;
    // One: the packets take the path of the tests above, from the uplink instead of a pod.
    c2_n4_open_connections_from_outside: (Topology::Kubenet, Proxy::Nftables) =>
        outside_is_cut_and_resumed;
    c2_n4_open_connections_to_another_node:
        (Topology::Kubenet, Proxy::Iptables, Fabric::Routed) => on_another_node;
    c2_n4_open_connections_through_a_tunnel:
        (Topology::AzureCni, Proxy::Iptables, Fabric::Vxlan) => on_another_node;
}
