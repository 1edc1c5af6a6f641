//! Floods from one pod while another pod's connections are open and silent (semantics A3).

use enforcer_tests::lab::{Family, Party, Topology};

use crate::connection::{Connection, End, exchange_all};
use crate::scene::{Scene, Setup, namespace, pod, policy, until};
use crate::support::udp_at;

/// Limits the agent's tables to this many flows of each family.
const SMALL: &[&str] = &["--flows", "256"];
/// The flood's destination ports: each makes a flow.
const FLOOD: std::ops::Range<u16> = 10_000..14_000;

async fn a_flood(scene: &mut Scene) {
    let manifests = [
        namespace("shop", ""),
        namespace("mall", ""),
        pod("shop", "server", "app: server", &["http/TCP/80"]),
        pod("mall", "client", "app: client", &["http/TCP/80"]),
        pod("mall", "flooder", "app: flooder", &["http/TCP/80"]),
        // The flow decides on replies at both ends.
        policy("shop", "replies-only", "podSelector: {}, policyTypes: [Egress]"),
        policy("mall", "replies-only", "podSelector: {matchLabels: {app: client}}"),
    ];
    scene.write("all.yaml", &manifests.concat());
    scene.agree("replies only").await;
    let [client, flooder] = ["client", "flooder"].map(|name| Party::pod("mall", name));
    let server = Party::pod("shop", "server");
    let mut connections = Vec::new();
    for family in Family::ALL {
        connections.push(Connection::tcp(scene.lab(), &client, &server, family).await);
    }
    exchange_all(&mut connections).await;
    for family in Family::ALL {
        let to = scene.lab().address(&server, family).unwrap();
        let socket = udp_at(scene.lab(), &flooder, family, 0).await;
        for port in FLOOD {
            // No process listens; an ICMP error about an earlier datagram does not matter.
            let _ = socket.send_to(b"flood", (to, port)).await;
        }
    }
    for connection in &mut connections {
        connection.send(End::Server).await;
        connection.receive(End::Client).await;
        connection.exchange().await;
    }
    for family in ["ipv4", "ipv6"] {
        let evicted =
            format!("enforcer_flows_evicted_total{{family=\"{family}\",state=\"opening\"}}");
        until("the flood is counted", async || scene.metric(&evicted).await > 1_000).await;
        let refused = format!("enforcer_flows_refused_total{{family=\"{family}\"}}");
        assert_eq!(scene.metric(&refused).await, 0);
    }
    scene.agree("denied connections stay denied").await;
}

scenarios! {
    a3_a_flood_breaks_no_silent_connection: Setup::with(Topology::AzureCni, SMALL) => a_flood;
}
