//! Answers to denied packets (`--deny-with`) on real traffic.
//!
//! Both topologies: the answers are routed by the node, and those through Services translated by it.

use std::net::SocketAddr;

use enforcer_core::model::{DENY_WITH_ANNOTATION, Protocol};
use enforcer_core::policy::reference::Traffic;
use enforcer_tests::lab::{Fabric, Family, Party, Proxy, Topology};
use enforcer_tests::probe::{Outcome, Probe};
use tokio::io::AsyncWriteExt as _;

use crate::scene::{
    CLOSED, INGRESS_ISOLATED, OPEN, Scene, Setup, namespace, pod, pod_on, policy, until,
};
use crate::support::{ANSWER, SILENCE, outcomes, udp_at};

const REFUSED: [Outcome; 2] = [Outcome::Refused, Outcome::Refused];
const REJECT: &[&str] = &["--deny-with", "reject"];
const SENT: &str = "enforcer_rejections_total{result=\"sent\"}";

/// The server's Service.
const WEB: &str = "---\napiVersion: v1\nkind: Service\nmetadata: {namespace: shop, name: web}\n\
    spec: {selector: {app: server}, clusterIP: 10.0.0.10, clusterIPs: [10.0.0.10, \"fd00:10::10\"], \
    ports: [{port: 8080, targetPort: 80}]}\n";

const PORTS: [&str; 1] = ["http/TCP/80"];

/// A namespace whose annotation sets what denied packets get; "": none.
fn annotated(name: &str, deny_with: &str) -> String {
    let annotations = match deny_with {
        "" => String::new(),
        word => format!(", annotations: {{{DENY_WITH_ANNOTATION}: {word}}}"),
    };
    namespace(name, "").replace("labels: {}", &format!("labels: {{}}{annotations}"))
}

fn cluster(deny_with: &str, client_node: &str) -> String {
    [
        annotated("shop", deny_with),
        namespace("mall", ""),
        pod_on("lab-node", "shop", "server", "app: server", &PORTS),
        pod_on(client_node, "mall", "client", "app: client", &PORTS),
        WEB.to_owned(),
    ]
    .concat()
}

fn client() -> Party {
    Party::pod("mall", "client")
}

fn server() -> Party {
    Party::pod("shop", "server")
}

/// Denies everything to the server.
fn closed_server() -> String {
    policy("shop", "closed", "podSelector: {}")
}

/// The outcomes of all that the client may try: TCP, UDP and echo requests, by each family.
async fn tries(scene: &Scene, from: &Party, to: &Party) -> Vec<Outcome> {
    let kinds = [Traffic::Port(Protocol::Udp, 53), Traffic::Portless];
    let probes = Family::ALL.into_iter().flat_map(|family| {
        kinds.map(|traffic| Probe { from: from.clone(), to: to.clone(), family, traffic })
    });
    let mut all = outcomes(scene.lab(), &probes.collect::<Vec<_>>(), ANSWER).await;
    all.extend(scene.connect(from, to, ANSWER).await);
    all
}

fn are_refused(outcomes: &[Outcome]) {
    assert!(outcomes.iter().all(|it| *it == Outcome::Refused), "{outcomes:?}");
}

/// The error of a TCP connection to a Service's address.
async fn through_the_service(scene: &Scene, family: Family) -> Option<std::io::ErrorKind> {
    let at: SocketAddr = match family {
        Family::V4 => "10.0.0.10:8080",
        Family::V6 => "[fd00:10::10]:8080",
    }
    .parse()
    .unwrap();
    let connect = move || std::net::TcpStream::connect_timeout(&at, ANSWER).map(drop);
    let namespace = scene.lab().namespace(&client()).unwrap();
    namespace.run(move || connect().err().map(|it| it.kind())).await.unwrap()
}

async fn denied_packets_are_answered(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster("", "lab-node"));
    scene.agree("before the policy").await;
    assert_eq!(scene.metric(SENT).await, 0);
    scene.write("closed.yaml", &closed_server());
    until("the server is isolated", async || scene.metric(INGRESS_ISOLATED).await == 1).await;
    are_refused(&tries(scene, &client(), &server()).await);
    for family in Family::ALL {
        let error = through_the_service(scene, family).await;
        assert_eq!(error, Some(std::io::ErrorKind::ConnectionRefused), "{family:?}");
    }
    // An answer is counted once it has been sent.
    until("the answers are counted", async || scene.metric(SENT).await >= 8).await;
    // Only pods get answers.
    scene.expect(&Party::outside("office"), &server(), CLOSED).await;

    // The sender's own policy, towards pods and others.
    scene.remove("closed.yaml");
    scene.write("closed.yaml", &policy("mall", "closed", "podSelector: {}, policyTypes: [Egress]"));
    until("the client is isolated", async || scene.metric(INGRESS_ISOLATED).await == 0).await;
    until("the client is denied", async || {
        scene.connect(&client(), &server(), ANSWER).await == REFUSED
    })
    .await;
    are_refused(&tries(scene, &client(), &server()).await);
    scene.expect(&client(), &Party::outside("office"), REFUSED).await;
    // The answers open nothing.
    scene.expect(&server(), &client(), OPEN).await;
    scene.expect(&client(), &server(), REFUSED).await;
}

/// A connection that policy cuts ends with an error instead of waiting.
async fn open_connections_are_reset(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster("", "lab-node"));
    scene.agree("before the policy").await;
    for family in Family::ALL {
        let at = SocketAddr::new(scene.lab().address(&server(), family).unwrap(), 80);
        let namespace = scene.lab().namespace(&client()).unwrap();
        let connect = move || {
            let stream = std::net::TcpStream::connect_timeout(&at, ANSWER)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        let stream = namespace.io("connect", connect).await.unwrap();
        let mut stream = tokio::net::TcpStream::from_std(stream).unwrap();
        scene.write("closed.yaml", &closed_server());
        until("the server is isolated", async || scene.metric(INGRESS_ISOLATED).await == 1).await;
        until("the connection is reset", async || stream.write_all(b"more").await.is_err()).await;
        scene.remove("closed.yaml");
        until("the server is open", async || scene.metric(INGRESS_ISOLATED).await == 0).await;
    }
}

async fn a_namespace_decides(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster("drop", "lab-node"));
    scene.agree("before the policy").await;
    scene.write("closed.yaml", &closed_server());
    until("the server is isolated", async || scene.metric(INGRESS_ISOLATED).await == 1).await;
    scene.expect(&client(), &server(), CLOSED).await;
    scene.write("cluster.yaml", &cluster("reject", "lab-node"));
    until("denied packets are answered", async || {
        scene.connect(&client(), &server(), SILENCE).await == REFUSED
    })
    .await;
}

async fn on_another_node(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster("", "lab-node-2"));
    scene.agree("before the policy").await;
    scene.write("closed.yaml", &closed_server());
    until("the server is isolated", async || scene.metric(INGRESS_ISOLATED).await == 1).await;
    // The client's own node lets the answers pass to an isolated pod, too.
    scene.write("mall.yaml", &policy("mall", "closed", "podSelector: {}"));
    until("the client is isolated", async || {
        scene.connect(&server(), &client(), SILENCE).await == CLOSED
    })
    .await;
    are_refused(&tries(scene, &client(), &server()).await);
}

/// Without the capability nothing is answered, and that is reported.
async fn without_the_capability(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster("reject", "lab-node"));
    scene.agree("before the policy").await;
    scene.write("closed.yaml", &closed_server());
    until("the server is isolated", async || scene.metric(INGRESS_ISOLATED).await == 1).await;
    scene.expect(&client(), &server(), CLOSED).await;
    let problems = scene.status().await.problems;
    assert!(problems.iter().any(|it| it.contains("NET_RAW")), "{problems:?}");
}

/// A pod that floods gets no flood of answers, and others still get theirs.
async fn a_flood_is_limited(scene: &mut Scene) {
    let other = pod("mall", "other", "app: other", &PORTS);
    scene.write("cluster.yaml", &(cluster("", "lab-node") + &other));
    scene.agree("before the policy").await;
    scene.write("closed.yaml", &closed_server());
    until("the server is isolated", async || scene.metric(INGRESS_ISOLATED).await == 1).await;
    let socket = udp_at(scene.lab(), &client(), Family::V4, 0).await;
    let at = SocketAddr::new(scene.lab().address(&server(), Family::V4).unwrap(), 53);
    until("answers are limited", async || {
        for _ in 0..200 {
            // An answer that has arrived is the next call's error.
            let _ = socket.send_to(b"flood", at).await;
        }
        scene.metric("enforcer_rejections_total{result=\"limited\"}").await > 0
    })
    .await;
    until("others get theirs", async || {
        scene.connect(&Party::pod("mall", "other"), &server(), SILENCE).await == REFUSED
    })
    .await;
}

scenarios! {
    denied_packets_are_rejected: Setup::with(Topology::Kubenet, REJECT) => denied_packets_are_answered;
    denied_packets_are_rejected_without_a_bridge:
        Setup::with((Topology::AzureCni, Proxy::Nftables), REJECT) => denied_packets_are_answered;
    c2_a_connection_that_is_cut_is_reset: Setup::with(Topology::AzureCni, REJECT) => open_connections_are_reset;
    namespaces_decide_what_denied_packets_get: Setup::with(Topology::Kubenet, REJECT) => a_namespace_decides;
    pods_of_other_nodes_are_rejected:
        Setup::with((Topology::AzureCni, Proxy::Iptables, Fabric::Routed), REJECT) => on_another_node;
    pods_of_other_nodes_are_rejected_on_kubenet:
        Setup::with((Topology::Kubenet, Proxy::Iptables, Fabric::Routed), REJECT) => on_another_node;
    rejecting_without_its_capability_is_reported: Topology::Kubenet => without_the_capability;
    floods_get_no_flood_of_answers: Setup::with(Topology::AzureCni, REJECT) => a_flood_is_limited;
}
