//! Datagrams larger than a packet, between pods that are isolated in both directions (semantics
//! P2).

use std::time::Duration;

use enforcer_tests::lab::{Family, Party, Topology};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::scene::{PATIENCE, Scene, policy, shop_of};
use crate::support::{SILENCE, udp_at};

/// Three fragments and a rest, at the usual 1,500 bytes.
pub(crate) const LENGTH: usize = 5_000;
pub(crate) const ALLOWED: u16 = 7_000;
pub(crate) const DENIED: u16 = 7_001;

/// Isolates a pod in both directions, except for the one port in the one direction.
pub(crate) fn isolated(pod: &str, direction: &str) -> String {
    let spec = format!(
        "podSelector: {{matchLabels: {{app: {pod}}}}}, policyTypes: [Ingress, Egress], \
         {direction}: [{{ports: [{{protocol: UDP, port: {ALLOWED}}}]}}]"
    );
    policy("shop", pod, &spec)
}

/// Whether a large datagram arrives complete.
async fn arrives(from: &UdpSocket, to: &UdpSocket, patience: Duration) -> bool {
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
    let pods = shop_of(&["client", "server"]);
    let policies = [isolated("server", "ingress"), isolated("client", "egress")];
    scene.write("all.yaml", &(pods + &policies.concat()));
    scene.agree("only one port").await;
    let passed = "enforcer_packets_total{namespace=\"shop\",pod=\"server\",direction=\"ingress\",\
                  verdict=\"allow\",reason=\"policy\"}";
    let before = scene.metric(passed).await;
    let (client, server) = (Party::pod("shop", "client"), Party::pod("shop", "server"));
    for family in Family::ALL {
        let from = udp_at(scene.lab(), &client, family, 6_000).await;
        let allowed = udp_at(scene.lab(), &server, family, ALLOWED).await;
        let denied = udp_at(scene.lab(), &server, family, DENIED).await;
        assert!(!arrives(&allowed, &from, SILENCE).await, "{family:?}: no question yet");
        assert!(arrives(&from, &allowed, PATIENCE).await, "{family:?}: a question");
        assert!(arrives(&allowed, &from, PATIENCE).await, "{family:?}: its answer");
        assert!(!arrives(&from, &denied, SILENCE).await, "{family:?}: the other port");
    }
    let pieces = scene.metric(passed).await - before;
    assert_eq!(pieces, 8, "each question came in four pieces");
}

// Both: a bridge and a route pass fragments on in different ways.
scenarios! {
    p2_large_datagrams_pass_whole_or_not_at_all_on_kubenet: Topology::Kubenet => large_datagrams;
    p2_large_datagrams_pass_whole_or_not_at_all_on_azure_cni: Topology::AzureCni =>
        large_datagrams;
}
