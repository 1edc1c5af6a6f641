//! Changes of policy and labels, seen by open connections.

use enforcer_tests::lab::{Party, Topology};

use crate::connection::{Connection, all_are_cut, all_resume, connect_all, exchange_all};
use crate::scene::{Scene, namespace, pod, policy, until};

/// The server in `shop`, and its client in `mall`.
fn cluster(client_labels: &str, mall_labels: &str) -> String {
    [
        namespace("shop", ""),
        namespace("mall", mall_labels),
        pod("shop", "server", "app: server", &["http/TCP/80"]),
        pod("mall", "client", client_labels, &["http/TCP/80"]),
    ]
    .concat()
}

const FRIEND: &str = "app: client, role: friend";
const KNOWN: &str = "kind: known";
/// Friends of a known namespace, as a peer.
const KNOWN_FRIENDS: &str = "namespaceSelector: {matchLabels: {kind: known}}, \
                             podSelector: {matchLabels: {role: friend}}";

async fn connected(scene: &mut Scene) -> Vec<Connection> {
    let (client, server) = (Party::pod("mall", "client"), Party::pod("shop", "server"));
    connect_all(scene.lab(), &client, &server).await
}

/// The server may send replies only, and the client receive replies only, so the flow decides at
/// both ends. Each end applies its own policy; an end that may send anything would not be stopped
/// by its ingress policy.
fn replies_only() -> String {
    policy("shop", "replies-only", "podSelector: {}, policyTypes: [Egress]")
        + &policy("mall", "replies-only", "podSelector: {}")
}

/// Policies that each deny what the client sends.
const DENIALS: [(&str, &str); 2] =
    [("shop", "podSelector: {}"), ("mall", "podSelector: {}, policyTypes: [Egress]")];

async fn denied_and_allowed_again(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster(FRIEND, ""));
    scene.write("base.yaml", &replies_only());
    scene.agree("replies only").await;
    let mut connections = connected(scene).await;
    for (namespace, spec) in DENIALS {
        scene.write("deny.yaml", &policy(namespace, "deny", spec));
        scene.agree("denied").await;
        all_are_cut(&mut connections).await;
        scene.remove("deny.yaml");
        scene.agree("allowed again").await;
        all_resume(&mut connections).await;
    }
}

/// Exchanges after the change is active. Each must arrive at the first attempt.
const AFTERWARDS: usize = 100;

/// Activates a policy while the connections exchange messages, in lockstep and without repetition:
/// a single lost packet ends the test. `isolated` is the state that shows the policy as active.
async fn exchange_through(
    scene: &Scene,
    connections: &mut [Connection],
    namespace: &str,
    spec: &str,
    isolated: &str,
) {
    let series = format!("enforcer_endpoints{{state=\"{isolated}\"}}");
    let before = scene.metric(&series).await;
    scene.write(&format!("{namespace}-{isolated}.yaml"), &policy(namespace, isolated, spec));
    until("the policy is active", async || {
        exchange_all(connections).await;
        scene.metric(&series).await > before
    })
    .await;
    for _ in 0..AFTERWARDS {
        exchange_all(connections).await;
    }
}

async fn nothing_is_lost(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster(FRIEND, KNOWN));
    scene.agree("no policy").await;
    let mut connections = connected(scene).await;
    let only_friends = format!("podSelector: {{}}, ingress: [{{from: [{{{KNOWN_FRIENDS}}}]}}]");
    let only_pods = "podSelector: {}, policyTypes: [Egress], \
                     egress: [{to: [{namespaceSelector: {}}]}]";
    let changes = [
        // The server is isolated, except from this client.
        ("shop", only_friends.as_str(), "ingress"),
        // The client is isolated: it receives replies (semantics A3).
        ("mall", "podSelector: {}", "ingress"),
        // The server may open nothing, but reply (semantics A3).
        ("shop", "podSelector: {}, policyTypes: [Egress]", "egress"),
        // The client is isolated, except towards the server.
        ("mall", only_pods, "egress"),
    ];
    for (namespace, spec, direction) in changes {
        let isolated = format!("{direction}-isolated");
        exchange_through(scene, &mut connections, namespace, spec, &isolated).await;
    }
    scene.agree("all policies are active").await;
}

/// Labels allow a connection; a change of labels alone cuts it and resumes it.
async fn labels_change(scene: &mut Scene) {
    let spec = format!("podSelector: {{}}, ingress: [{{from: [{{{KNOWN_FRIENDS}}}]}}]");
    scene.write("server.yaml", &policy("shop", "friends", &spec));
    scene.write("base.yaml", &replies_only());
    scene.write("cluster.yaml", &cluster(FRIEND, KNOWN));
    scene.agree("friends of a known namespace").await;
    let mut connections = connected(scene).await;
    for (what, client, mall) in [
        ("another label of the pod", "app: client, role: stranger", KNOWN),
        ("another label of the namespace", FRIEND, "kind: unknown"),
    ] {
        scene.write("cluster.yaml", &cluster(client, mall));
        scene.agree(what).await;
        all_are_cut(&mut connections).await;
        scene.write("cluster.yaml", &cluster(FRIEND, KNOWN));
        scene.agree("the old labels").await;
        all_resume(&mut connections).await;
    }
}

scenarios! {
    c2_denied_connections_and_their_replies_stop_and_resume_when_allowed: Topology::Kubenet =>
        denied_and_allowed_again;
    c1_a3_isolating_either_end_of_an_allowed_connection_loses_no_packet: Topology::Kubenet =>
        nothing_is_lost;
    r4_c2_open_connections_follow_labels_of_pods_and_namespaces: Topology::AzureCni =>
        labels_change;
}
