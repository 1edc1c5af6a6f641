//! Floods from one pod while connections of another live on, silent (semantics A3).

use std::net::{SocketAddr, UdpSocket};

use enforcer_tests::lab::{Family, Party, Topology};

use crate::connection::{End, Living};
use crate::scene::{Scene, namespace, pod, policy, until, with_agent_and};

/// The agent's tables hold this many flows of each kind and family.
const SMALL: &[&str] = &["--flows", "256", "--opening-flows", "256"];
/// Ports that the flood goes to: as many flows.
const FLOOD: std::ops::Range<u16> = 10_000..14_000;

async fn a_flood(scene: &mut Scene) {
    let manifests = [
        namespace("shop", ""),
        namespace("mall", ""),
        pod("shop", "server", "app: server", &["http/TCP/80"]),
        pod("mall", "client", "app: client", &["http/TCP/80"]),
        pod("mall", "flooder", "app: flooder", &["http/TCP/80"]),
        // What comes back hangs on the flow at both ends.
        policy("shop", "replies-only", "podSelector: {}, policyTypes: [Egress]"),
        policy("mall", "replies-only", "podSelector: {matchLabels: {app: client}}"),
    ];
    scene.write("all.yaml", &manifests.concat());
    scene.agree("replies only").await;
    let (client, server) = (Party::pod("mall", "client"), Party::pod("shop", "server"));
    let mut connections = Vec::new();
    for family in Family::ALL {
        let mut living = Living::tcp(scene.lab(), &client, &server, family).await;
        living.exchange().await;
        connections.push(living);
    }
    for family in Family::ALL {
        let to = scene.lab().address(&server, family).unwrap();
        let from = scene.lab().address(&Party::pod("mall", "flooder"), family).unwrap();
        let flood = move || {
            let socket = UdpSocket::bind(SocketAddr::new(from, 0))?;
            for port in FLOOD {
                // Nobody listens; what the kernel says of an earlier one is no matter.
                let _ = socket.send_to(b"flood", SocketAddr::new(to, port));
            }
            Ok(())
        };
        let flooder = scene.lab().namespace(&Party::pod("mall", "flooder")).unwrap();
        flooder.io("flood", flood).await.unwrap();
    }
    for living in &mut connections {
        living.say(End::Server).await;
        living.hear(End::Client).await;
        living.exchange().await;
    }
    for family in ["ipv4", "ipv6"] {
        let evicted = format!("enforcer_flows_evicted_total{{family=\"{family}\"}}");
        until("the flood is counted", async || scene.metric(&evicted).await > 1_000).await;
        let refused = format!("enforcer_flows_refused_total{{family=\"{family}\"}}");
        assert_eq!(scene.metric(&refused).await, 0);
    }
    scene.agree("what is forbidden stays forbidden").await;
}

#[test]
fn a3_a_flood_breaks_no_silent_connection_on_kubenet() {
    with_agent_and(Topology::Kubenet, SMALL, a_flood);
}

#[test]
fn a3_a_flood_breaks_no_silent_connection_on_azure_cni() {
    with_agent_and(Topology::AzureCni, SMALL, a_flood);
}
