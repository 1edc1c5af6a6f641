//! UDP through Services: datagrams larger than a packet (semantics P2), and ICMP errors about
//! translated packets (N4, A3), between pods that are isolated in both directions.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use enforcer_tests::lab::{Fabric, Family, Party, Proxy, Topology};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::{OFFICE, client};
use crate::fragments::{ALLOWED, DENIED, LENGTH, isolated};
use crate::scene::{PATIENCE, Scene, pod_on, policy, shop_of};
use crate::support::{SILENCE, udp_at};

const NODE_PORT: u16 = 30_700;

fn server() -> Party {
    Party::pod("shop", "server")
}

/// Client and server, isolated except for one port in one direction, and a Service for both ports,
/// with other numbers.
fn talk(node: &str) -> String {
    let service = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{namespace: shop, name: talk}}\n\
         spec: {{type: NodePort, selector: {{app: server}}, clusterIP: 10.0.0.13, \
         clusterIPs: [10.0.0.13, \"fd00:10::13\"], ports: [\
         {{name: a, protocol: UDP, port: 80, targetPort: {ALLOWED}, nodePort: {NODE_PORT}}}, \
         {{name: b, protocol: UDP, port: 81, targetPort: {DENIED}, nodePort: {}}}]}}\n",
        NODE_PORT + 1
    );
    [
        shop_of(&["client"]),
        pod_on(node, "shop", "server", "app: server", &["http/TCP/80"]),
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

/// The same for the denied port.
fn denied(at: SocketAddr) -> SocketAddr {
    SocketAddr::new(at.ip(), at.port() + 1)
}

/// Sends a large datagram and waits for it; returns its source address if it arrives.
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

/// The same until it arrives: the sender may have to discover the path's MTU first.
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
        let allowed = udp_at(scene.lab(), &server(), family, ALLOWED).await;
        let other = udp_at(scene.lab(), &server(), family, DENIED).await;
        for at in ways(scene, family) {
            let from = udp_at(scene.lab(), &client(), family, 0).await;
            let seen = arrives_at_last(&from, at, &allowed).await;
            // Its answer comes from the address that the client sent to.
            let source = arrives_at_last(&allowed, seen, &from).await;
            assert_eq!(source, at);
            let nothing = arrives(&from, denied(at), &other, SILENCE).await;
            assert_eq!(nothing, None, "{at}: the other port");
        }
    }
}

/// The node reassembles what clients outside send, masquerades it, and cuts it again: the client's
/// number survives all of that, and decides (semantics N3).
pub(super) async fn large_from_outside(scene: &mut Scene) {
    let rule = format!("from: [{OFFICE}], ports: [{{protocol: UDP, port: {ALLOWED}}}]");
    let spec = format!("podSelector: {{matchLabels: {{app: server}}}}, ingress: [{{{rule}}}]");
    scene.write("talk.yaml", &talk("lab-node").replace(&isolated("server", "ingress"), ""));
    scene.write("policy.yaml", &policy("shop", "server", &spec));
    scene.agree("the office").await;
    for family in Family::ALL {
        let server = udp_at(scene.lab(), &server(), family, ALLOWED).await;
        let at = ways(scene, family)[1];
        let office = udp_at(scene.lab(), &Party::outside("office"), family, 0).await;
        let guest = udp_at(scene.lab(), &Party::outside("guest"), family, 0).await;
        let seen = arrives_at_last(&office, at, &server).await;
        assert_ne!(seen, office.local_addr().unwrap(), "masqueraded");
        assert_eq!(arrives_at_last(&server, seen, &office).await, at);
        assert_eq!(arrives(&guest, at, &server, SILENCE).await, None, "another client");
    }
}

/// No process listens: the server's kernel sends an ICMP error, which the client must receive.
async fn nothing_listens(scene: &mut Scene, node: &str) {
    scene.write("talk.yaml", &talk(node));
    scene.agree("one port").await;
    for family in Family::ALL {
        for at in ways(scene, family) {
            assert_eq!(error(scene, family, at).await, Some(ErrorKind::ConnectionRefused));
            assert_eq!(error(scene, family, denied(at)).await, None, "{at}");
        }
    }
}

/// The error that the client receives about a datagram that no process reads.
async fn error(scene: &Scene, family: Family, at: SocketAddr) -> Option<ErrorKind> {
    let from = udp_at(scene.lab(), &client(), family, 0).await;
    from.connect(at).await.unwrap();
    from.send(b"anybody there?").await.unwrap();
    let mut buffer = [0; 16];
    let received = timeout(SILENCE * 2, from.recv(&mut buffer)).await.ok()?;
    Some(received.expect_err("no process can have answered").kind())
}

pub(super) async fn large_on_one_node(scene: &mut Scene) {
    large_datagrams(scene, "lab-node").await;
}

async fn nothing_on_one_node(scene: &mut Scene) {
    nothing_listens(scene, "lab-node").await;
}

async fn large_to_another_node(scene: &mut Scene) {
    large_datagrams(scene, "lab-node-2").await;
}

async fn nothing_on_another_node(scene: &mut Scene) {
    nothing_listens(scene, "lab-node-2").await;
}

scenarios! {
    p2_n4_large_datagrams_on_kubenet: (Topology::Kubenet, Proxy::Iptables) => large_on_one_node;
    p2_n4_large_datagrams_on_azure_cni: (Topology::AzureCni, Proxy::Nftables) => large_on_one_node;
    p2_n4_large_datagrams_to_another_node:
        (Topology::Kubenet, Proxy::Iptables, Fabric::Routed) => large_to_another_node;
    p2_n4_large_datagrams_and_the_tunnels_smaller_packets:
        (Topology::AzureCni, Proxy::Iptables, Fabric::Vxlan) => large_to_another_node;
    p2_n3_large_datagrams_of_masqueraded_clients_on_kubenet: (Topology::Kubenet, Proxy::Iptables) =>
        large_from_outside;
    p2_n3_large_datagrams_of_masqueraded_clients_on_azure_cni:
        (Topology::AzureCni, Proxy::Nftables) => large_from_outside;
    n4_errors_come_back_on_kubenet: (Topology::Kubenet, Proxy::Nftables) => nothing_on_one_node;
    n4_errors_come_back_on_azure_cni: (Topology::AzureCni, Proxy::Iptables) => nothing_on_one_node;
    n4_errors_come_back_from_another_node:
        (Topology::AzureCni, Proxy::Nftables, Fabric::Routed) => nothing_on_another_node;
}
