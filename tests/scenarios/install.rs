//! The first installation on a running node, and pods that are guarded late (semantics C8).
//!
//! Setups: as for Services, since conntrack sees what kube-proxy translates (`services/mod.rs`).

use std::net::SocketAddr;

use enforcer_tests::lab::{Family, Party, Proxy, Topology, command_in};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::conntrack::ConntrackMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::sys::signal::Signal;

use crate::connection::{Connection, End, PORT, all_are_cut, exchange_all};
use crate::scene::{INGRESS_ISOLATED, Scene, Setup, policy, shop_of, until};
use crate::support::spawner;

/// Another port of the server, which only the node port is translated to.
const OTHER_PORT: u16 = PORT + 1;
const NODE_PORT: u16 = 30_700;

/// Living TCP connections of each family and kind.
const EACH: usize = 20;

/// Pods, and the Service `shop/talk` of the server.
fn cluster() -> String {
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
    shop_of(&["client", "server", "closed", "caged"]) + &service
}

/// The client may receive replies only and the server send replies only; `closed` and `caged` may do
/// nothing.
fn policies() -> String {
    let select = |app: &str, more: &str| {
        policy("shop", app, &format!("podSelector: {{matchLabels: {{app: {app}}}}}{more}"))
    };
    select("client", "")
        + &select("server", ", policyTypes: [Egress]")
        + &select("closed", ", policyTypes: [Ingress, Egress]")
        + &select("caged", ", policyTypes: [Ingress, Egress]")
}

fn shop(name: &str) -> Party {
    Party::pod("shop", name)
}

/// The address and port that a client connects to, and the server's port behind it.
#[derive(Clone, Copy)]
enum Way {
    Direct,
    Cluster,
    Node,
}

impl Way {
    const ALL: [Self; 3] = [Self::Direct, Self::Cluster, Self::Node];

    fn at(self, scene: &Scene, to: &Party, family: Family) -> (SocketAddr, u16) {
        let cluster = if family == Family::V4 { "10.0.0.12" } else { "fd00:10::12" };
        let address = |party: &Party| scene.lab().address(party, family).unwrap();
        match self {
            Self::Direct => (SocketAddr::new(address(to), PORT + 2), PORT + 2),
            Self::Cluster => (SocketAddr::new(cluster.parse().unwrap(), PORT), PORT),
            Self::Node => (SocketAddr::new(address(&Party::Node), NODE_PORT), OTHER_PORT),
        }
    }
}

/// TCP connections by each family, and one UDP exchange of each.
async fn connected(
    scene: &Scene,
    from: &Party,
    to: &Party,
    way: Way,
    count: usize,
) -> Vec<Connection> {
    let mut all = Vec::new();
    for family in Family::ALL {
        let (at, port) = way.at(scene, to, family);
        for _ in 0..count {
            all.push(Connection::tcp_through(scene.lab(), from, to, port, at).await);
        }
        all.push(Connection::udp_through(scene.lab(), from, to, port, at).await);
    }
    exchange_all(&mut all).await;
    all
}

/// Living connections that policy allows, and those that it denies.
async fn living(scene: &Scene) -> [Vec<Connection>; 2] {
    let server = shop("server");
    let mut allowed = Vec::new();
    for way in Way::ALL {
        allowed.extend(connected(scene, &shop("client"), &server, way, EACH).await);
    }
    // Each pair of a server's port and a family has one UDP socket.
    for family in Family::ALL {
        let office = Party::outside("office");
        let (at, port) = Way::Node.at(scene, &server, family);
        for _ in 0..EACH {
            allowed.push(Connection::tcp_through(scene.lab(), &office, &server, port, at).await);
        }
    }
    exchange_all(&mut allowed).await;
    let mut denied = connected(scene, &shop("client"), &shop("closed"), Way::Direct, EACH).await;
    for family in Family::ALL {
        let (at, port) = Way::Cluster.at(scene, &server, family);
        for _ in 0..EACH {
            let caged = shop("caged");
            denied.push(Connection::tcp_through(scene.lab(), &caged, &server, port, at).await);
        }
    }
    exchange_all(&mut denied).await;
    [allowed, denied]
}

async fn all_survive(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster());
    scene.write("policies.yaml", &policies());
    scene.run_pods().await;
    let [mut allowed, mut denied] = living(scene).await;
    assert!(allowed.len() + denied.len() >= 200);
    scene.install().await;
    until("the policies are active", async || scene.metric(INGRESS_ISOLATED).await == 3).await;
    for connection in &mut allowed {
        connection.exchange_from_server().await;
    }
    exchange_all(&mut allowed).await;
    all_are_cut(&mut denied).await;
    assert!(scene.metric("enforcer_flows_imported_total").await >= 200);
}

/// Without policies at first: a policy that comes later isolates pods of older connections.
async fn a_later_policy_cuts_nothing(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster());
    scene.run_pods().await;
    let [mut allowed, mut denied] = living(scene).await;
    scene.install().await;
    scene.write("policies.yaml", &policies());
    until("the policies are active", async || scene.metric(INGRESS_ISOLATED).await == 3).await;
    for connection in &mut allowed {
        connection.exchange_from_server().await;
    }
    all_are_cut(&mut denied).await;
}

/// A pod that started while the agent was away.
async fn a_late_pod_keeps_its_connections(scene: &mut Scene) {
    scene.write("cluster.yaml", &shop_of(&["server"]));
    scene.run_pods().await;
    scene.install().await;
    scene.stop_agent().await.unwrap();
    scene.write("cluster.yaml", &cluster());
    scene.write("policies.yaml", &policies());
    scene.run_pods().await;
    let mut all = connected(scene, &shop("client"), &shop("server"), Way::Cluster, 2).await;
    scene.start_agent().await.unwrap();
    until("the policies are active", async || scene.metric(INGRESS_ISOLATED).await == 3).await;
    for connection in &mut all {
        connection.exchange_from_server().await;
    }
}

/// A connection that opened while another program had removed the pod's programs.
async fn a_restored_hook_knows_what_opened_meanwhile(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster());
    scene.write("policies.yaml", &policies());
    scene.run_pods().await;
    until("the policies are active", async || scene.metric(INGRESS_ISOLATED).await == 3).await;
    let endpoints = scene.status().await.endpoints;
    let device = &endpoints.iter().find(|it| it.pod == "shop/client").unwrap().interface.name;
    scene.agent().unwrap().signal(Signal::SIGSTOP).unwrap();
    let remove = ["qdisc", "del", "dev", device, "clsact"];
    let removed = command_in(scene.lab().node(), &spawner(), "tc", &remove).await.unwrap();
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    let mut all = connected(scene, &shop("client"), &shop("server"), Way::Cluster, 2).await;
    scene.agent().unwrap().signal(Signal::SIGCONT).unwrap();
    until("the programs are back and the flows imported", async || {
        scene.metric("enforcer_hooks_restored_total").await > 0
            && scene.metric("enforcer_flows_imported_total").await > 0
    })
    .await;
    for connection in &mut all {
        connection.exchange_from_server().await;
    }
}

/// Conntrack forgets a connection that policy denies, as it does after a while of silence, and finds
/// it in progress when the server sends: its entry names the server as the initiator.
async fn a_server_is_no_initiator(scene: &mut Scene) {
    // With a Service: without any rule that asks for it, the kernel tracks nothing.
    scene.write("cluster.yaml", &cluster());
    scene
        .write("policies.yaml", &policy("shop", "in", "podSelector: {matchLabels: {app: server}}"));
    scene.run_pods().await;
    let (client, server) = (shop("client"), shop("server"));
    let mut all = Vec::new();
    for family in Family::ALL {
        all.push(Connection::tcp(scene.lab(), &client, &server, family).await);
    }
    exchange_all(&mut all).await;
    scene.lab().node().io("forget connections", forget_connections).await.unwrap();
    for connection in &mut all {
        connection.exchange_from_server().await;
    }
    scene.install().await;
    until("the policy is active", async || scene.metric(INGRESS_ISOLATED).await == 1).await;
    for connection in &mut all {
        connection.send(End::Client).await;
        connection.receives_nothing(End::Server).await;
    }
    assert!(scene.metric("enforcer_flows_without_initiator").await >= 2);
}

/// Deletes all entries of conntrack.
fn forget_connections() -> std::io::Result<()> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    let family = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
    let request = NetfilterMessage::new(family, ConntrackMessage::Delete(Vec::new()));
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    match NetlinkMessage::<NetfilterMessage>::deserialize(&answer).unwrap().payload {
        NetlinkPayload::Error(error) if error.code.is_none() => Ok(()),
        other => panic!("{other:?}"),
    }
}

/// Otherwise the programs of the others drop what a pod sends that started while the agent was away.
const ALLOW: &[&str] = &["--unknown-pod", "allow"];
const CLSACT: &[&str] = &["--attach", "clsact"];
const ALLOW_CLSACT: &[&str] = &["--unknown-pod", "allow", "--attach", "clsact"];

fn unguarded(topology: Topology, proxy: Proxy) -> Setup {
    Setup::unguarded((topology, proxy))
}

scenarios! {
    c8_the_first_installation_cuts_nothing_that_is_allowed_iptables:
        unguarded(Topology::Kubenet, Proxy::Iptables) => all_survive;
    c8_the_first_installation_cuts_nothing_that_is_allowed_nftables:
        unguarded(Topology::AzureCni, Proxy::Nftables) => all_survive;
    c8_a_later_policy_cuts_no_older_connection:
        unguarded(Topology::AzureCni, Proxy::Iptables) => a_later_policy_cuts_nothing;
    c8_a_pod_that_is_guarded_late_keeps_its_connections:
        Setup::with(unguarded(Topology::Kubenet, Proxy::Nftables), ALLOW) =>
            a_late_pod_keeps_its_connections;
    c7_c8_a_restored_hook_knows_what_opened_meanwhile:
        Setup::with((Topology::AzureCni, Proxy::Iptables), CLSACT) =>
            a_restored_hook_knows_what_opened_meanwhile;
    c8_a_connection_that_conntrack_found_in_progress_is_not_the_servers:
        unguarded(Topology::AzureCni, Proxy::Iptables) => a_server_is_no_initiator;
    // By filters: an agent's mark of them shows which interfaces were guarded.
    c8_a_pod_that_is_guarded_late_by_clsact_keeps_its_connections:
        Setup::unguarded(Setup::with(Topology::AzureCni, ALLOW_CLSACT)) =>
            a_late_pod_keeps_its_connections;
}
