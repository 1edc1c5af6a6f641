//! UDP through Services: datagrams larger than a packet (semantics P2), and what ICMP has to say
//! of translated packets (N4, A3), between pods that are isolated both ways.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use enforcer_tests::lab::{Fabric, Family, Party, Proxy, Topology};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::{client, on_each_setup, two_nodes};
use crate::fragments::socket;
use crate::scene::{PATIENCE, Scene, namespace, pod, pod_on, policy, with_setup};
use crate::support::SILENCE;

/// Three fragments and a bit, at the usual 1,500 bytes.
const LENGTH: usize = 5_000;
/// The server's ports; the Service has its own numbers for them.
const ALLOWED: u16 = 7_000;
const FORBIDDEN: u16 = 7_001;
const NODE_PORT: u16 = 30_700;

fn server() -> Party {
    Party::pod("shop", "server")
}

fn isolated(pod: &str, direction: &str) -> String {
    let spec = format!(
        "podSelector: {{matchLabels: {{app: {pod}}}}}, policyTypes: [Ingress, Egress], \
         {direction}: [{{ports: [{{protocol: UDP, port: {ALLOWED}}}]}}]"
    );
    policy("shop", pod, &spec)
}

/// Client and server, isolated but for one port in one direction, and a Service for two ports.
fn talk(node: &str) -> String {
    let service = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{namespace: shop, name: talk}}\n\
         spec: {{type: NodePort, selector: {{app: server}}, clusterIP: 10.0.0.13, \
         clusterIPs: [10.0.0.13, \"fd00:10::13\"], ports: [\
         {{name: a, protocol: UDP, port: 80, targetPort: {ALLOWED}, nodePort: {NODE_PORT}}}, \
         {{name: b, protocol: UDP, port: 81, targetPort: {FORBIDDEN}, nodePort: {}}}]}}\n",
        NODE_PORT + 1
    );
    [
        namespace("shop", ""),
        pod_on(node, "shop", "server", "app: server", &["http/TCP/80"]),
        pod("shop", "client", "app: client", &["http/TCP/80"]),
        service,
        isolated("server", "ingress"),
        isolated("client", "egress"),
    ]
    .concat()
}

/// The Service's cluster address and the first node's port, for the allowed port of the server.
fn ways(scene: &Scene, family: Family) -> [SocketAddr; 2] {
    let cluster = if family == Family::V4 { "10.0.0.13" } else { "fd00:10::13" };
    let node = scene.lab().address(&Party::Node, family).unwrap();
    [SocketAddr::new(cluster.parse().unwrap(), 80), SocketAddr::new(node, NODE_PORT)]
}

/// The same for the forbidden port.
fn forbidden(at: SocketAddr) -> SocketAddr {
    SocketAddr::new(at.ip(), at.port() + 1)
}

/// Sends a large datagram and waits for it; who sent it, if it came.
async fn arrives(
    from: &UdpSocket,
    at: SocketAddr,
    to: &UdpSocket,
    patience: Duration,
) -> Option<SocketAddr> {
    let sent: Vec<u8> = (0..=250).cycle().take(LENGTH).collect();
    from.send_to(&sent, at).await.unwrap();
    let mut buffer = vec![0; 2 * LENGTH];
    let (length, sender) = timeout(patience, to.recv_from(&mut buffer)).await.ok()?.unwrap();
    assert_eq!(&buffer[..length], sent);
    Some(sender)
}

/// The same until it comes: the sender may first have to learn how large packets may be.
async fn arrives_at_last(from: &UdpSocket, at: SocketAddr, to: &UdpSocket) -> SocketAddr {
    const TRIES: usize = 20;
    for _ in 0..TRIES {
        if let Some(sender) = arrives(from, at, to, PATIENCE / 20).await {
            return sender;
        }
    }
    panic!("{LENGTH} bytes to {at} never came");
}

async fn large_datagrams(scene: &mut Scene, node: &str) {
    scene.write("talk.yaml", &talk(node));
    scene.agree("one port").await;
    for family in Family::ALL {
        let allowed = socket(scene, &server(), family, ALLOWED).await;
        let other = socket(scene, &server(), family, FORBIDDEN).await;
        for at in ways(scene, family) {
            let from = socket(scene, &client(), family, 0).await;
            let seen = arrives_at_last(&from, at, &allowed).await;
            // Its answer takes the way back, and comes from the address that was asked.
            let asked = arrives_at_last(&allowed, seen, &from).await;
            assert_eq!(asked, at);
            let nothing = arrives(&from, forbidden(at), &other, SILENCE).await;
            assert_eq!(nothing, None, "{at}: the other port");
        }
    }
}

/// Where nothing listens the server's kernel says so; the client must hear it.
async fn nothing_listens(scene: &mut Scene, node: &str) {
    scene.write("talk.yaml", &talk(node));
    scene.agree("one port").await;
    for family in Family::ALL {
        for at in ways(scene, family) {
            assert_eq!(complaint(scene, family, at).await, Some(ErrorKind::ConnectionRefused));
            assert_eq!(complaint(scene, family, forbidden(at)).await, None, "{at}");
        }
    }
}

/// What the client hears of a datagram that nobody reads.
async fn complaint(scene: &Scene, family: Family, at: SocketAddr) -> Option<ErrorKind> {
    let from = socket(scene, &client(), family, 0).await;
    from.connect(at).await.unwrap();
    from.send(b"anybody there?").await.unwrap();
    let mut buffer = [0; 16];
    let heard = timeout(SILENCE * 2, from.recv(&mut buffer)).await.ok()?;
    Some(heard.expect_err("nobody can have answered").kind())
}

async fn large_on_one_node(scene: &mut Scene) {
    large_datagrams(scene, "lab-node").await;
}

async fn nothing_on_one_node(scene: &mut Scene) {
    nothing_listens(scene, "lab-node").await;
}

on_each_setup! {
    p2_n4_large_datagrams_on_kubenet_by_iptables(Kubenet, Iptables): large_on_one_node;
    p2_n4_large_datagrams_on_azure_cni_by_nftables(AzureCni, Nftables): large_on_one_node;
    n4_errors_come_back_on_kubenet_by_nftables(Kubenet, Nftables): nothing_on_one_node;
    n4_errors_come_back_on_azure_cni_by_iptables(AzureCni, Iptables): nothing_on_one_node;
}

#[test]
fn p2_n4_large_datagrams_to_another_node() {
    let setup = two_nodes(Topology::Kubenet, Proxy::Iptables, Fabric::Routed);
    with_setup(setup, async |scene| large_datagrams(scene, "lab-node-2").await);
}

#[test]
fn p2_n4_large_datagrams_and_the_tunnels_smaller_packets() {
    let setup = two_nodes(Topology::AzureCni, Proxy::Iptables, Fabric::Vxlan);
    with_setup(setup, async |scene| large_datagrams(scene, "lab-node-2").await);
}

#[test]
fn n4_errors_come_back_from_another_node() {
    let setup = two_nodes(Topology::AzureCni, Proxy::Nftables, Fabric::Routed);
    with_setup(setup, async |scene| nothing_listens(scene, "lab-node-2").await);
}
