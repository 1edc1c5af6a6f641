//! Datagrams larger than a packet, between pods that are isolated both ways (semantics P2).

use std::net::SocketAddr;

use enforcer_tests::lab::{Family, Party, Topology};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::scene::{PATIENCE, Scene, namespace, pod, policy, with_agent};
use crate::support::SILENCE;

/// Three fragments and a bit, at the usual 1,500 bytes.
const LENGTH: usize = 5_000;
const ALLOWED: u16 = 7_000;
const FORBIDDEN: u16 = 7_001;

/// A UDP socket of a party's, at one of its ports.
pub(crate) async fn socket(scene: &Scene, party: &Party, family: Family, port: u16) -> UdpSocket {
    let at = SocketAddr::new(scene.lab().address(party, family).unwrap(), port);
    let bind = move || {
        let socket = std::net::UdpSocket::bind(at)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    let socket = scene.lab().namespace(party).unwrap().io("bind", bind).await.unwrap();
    UdpSocket::from_std(socket).unwrap()
}

/// Isolates a pod both ways, but for the one port in the one direction.
fn isolated(pod: &str, direction: &str) -> String {
    let spec = format!(
        "podSelector: {{matchLabels: {{app: {pod}}}}}, policyTypes: [Ingress, Egress], \
         {direction}: [{{ports: [{{protocol: UDP, port: {ALLOWED}}}]}}]"
    );
    policy("shop", pod, &spec)
}

/// Whether a large datagram arrives, all of it.
async fn arrives(from: &UdpSocket, to: &UdpSocket, patience: std::time::Duration) -> bool {
    let sent: Vec<u8> = (0..=250).cycle().take(LENGTH).collect();
    from.send_to(&sent, to.local_addr().unwrap()).await.unwrap();
    let mut buffer = vec![0; 2 * LENGTH];
    match timeout(patience, to.recv(&mut buffer)).await {
        Ok(received) => {
            assert_eq!(&buffer[..received.unwrap()], sent);
            true
        }
        Err(_) => false,
    }
}

async fn large_datagrams(scene: &mut Scene) {
    let manifests = [
        namespace("shop", ""),
        pod("shop", "client", "app: client", &["http/TCP/80"]),
        pod("shop", "server", "app: server", &["http/TCP/80"]),
        isolated("server", "ingress"),
        isolated("client", "egress"),
    ];
    scene.write("all.yaml", &manifests.concat());
    scene.agree("only one port").await;
    let passed = "enforcer_packets_total{namespace=\"shop\",pod=\"server\",direction=\"ingress\",\
                  verdict=\"allow\",reason=\"policy\"}";
    let before = scene.metric(passed).await;
    let (client, server) = (Party::pod("shop", "client"), Party::pod("shop", "server"));
    for family in Family::ALL {
        let from = socket(scene, &client, family, 6_000).await;
        let allowed = socket(scene, &server, family, ALLOWED).await;
        let forbidden = socket(scene, &server, family, FORBIDDEN).await;
        assert!(!arrives(&allowed, &from, SILENCE).await, "{family:?}: nobody has asked");
        assert!(arrives(&from, &allowed, PATIENCE).await, "{family:?}: a question");
        assert!(arrives(&allowed, &from, PATIENCE).await, "{family:?}: its answer");
        assert!(!arrives(&from, &forbidden, SILENCE).await, "{family:?}: the other port");
    }
    let pieces = scene.metric(passed).await - before;
    assert_eq!(pieces, 8, "each question came in four pieces");
}

#[test]
fn p2_large_datagrams_pass_whole_or_not_at_all_on_kubenet() {
    with_agent(Topology::Kubenet, large_datagrams);
}

#[test]
fn p2_large_datagrams_pass_whole_or_not_at_all_on_azure_cni() {
    with_agent(Topology::AzureCni, large_datagrams);
}
