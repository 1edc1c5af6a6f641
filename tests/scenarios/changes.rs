//! Changes of policy and labels, seen by connections that live on.

use enforcer_tests::lab::{Party, Topology};

use crate::connection::{Living, all_are_cut, all_go_on, connect_all};
use crate::scene::{Scene, namespace, pod, policy, until, with_agent};

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

async fn connected(scene: &mut Scene) -> Vec<Living> {
    let (client, server) = (Party::pod("mall", "client"), Party::pod("shop", "server"));
    connect_all(scene.lab(), &client, &server).await
}

/// The server may send replies only, and the client receive replies only: what comes back hangs
/// on the flow at both ends. Each end judges it by its own policy; an end that may send anything
/// anyway would not be stopped by what it may not receive.
fn replies_only() -> String {
    policy("shop", "replies-only", "podSelector: {}, policyTypes: [Egress]")
        + &policy("mall", "replies-only", "podSelector: {}")
}

/// Policies that each forbid what the client sends.
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
        all_go_on(&mut connections).await;
    }
}

#[test]
fn c2_what_is_now_forbidden_stops_with_its_replies_and_goes_on_later_on_kubenet() {
    with_agent(Topology::Kubenet, denied_and_allowed_again);
}

#[test]
fn c2_what_is_now_forbidden_stops_with_its_replies_and_goes_on_later_on_azure_cni() {
    with_agent(Topology::AzureCni, denied_and_allowed_again);
}

/// Exchanges that each must arrive at the first attempt, after the change is in force.
const AFTERWARDS: usize = 100;

/// Puts a policy in force while the connections talk, in lockstep and without any repetition: a
/// single packet lost anywhere ends the test. `isolated` is the state that shows it in force.
async fn talk_through(
    scene: &Scene,
    connections: &mut [Living],
    namespace: &str,
    spec: &str,
    isolated: &str,
) {
    let series = format!("enforcer_endpoints{{state=\"{isolated}\"}}");
    let before = scene.metric(&series).await;
    scene.write(&format!("{namespace}-{isolated}.yaml"), &policy(namespace, isolated, spec));
    let mut talk = async || {
        for connection in &mut *connections {
            connection.exchange().await;
        }
    };
    until("the policy is in force", async || {
        talk().await;
        scene.metric(&series).await > before
    })
    .await;
    for _ in 0..AFTERWARDS {
        talk().await;
    }
}

async fn nothing_is_lost(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster(FRIEND, "kind: known"));
    scene.agree("no policy").await;
    let mut connections = connected(scene).await;
    let known = "namespaceSelector: {matchLabels: {kind: known}}, \
                 podSelector: {matchLabels: {role: friend}}";
    let changes = [
        // The server is isolated, but for this client.
        ("shop", format!("podSelector: {{}}, ingress: [{{from: [{{{known}}}]}}]"), "ingress"),
        // The client is isolated: what comes in are replies (semantics A3).
        ("mall", "podSelector: {}".to_owned(), "ingress"),
        // The server may begin nothing, but answer (semantics A3).
        ("shop", "podSelector: {}, policyTypes: [Egress]".to_owned(), "egress"),
        // The client is isolated, but for the server.
        (
            "mall",
            "podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]"
                .to_owned(),
            "egress",
        ),
    ];
    for (namespace, spec, direction) in changes {
        let isolated = format!("{direction}-isolated");
        talk_through(scene, &mut connections, namespace, &spec, &isolated).await;
    }
    scene.agree("all of it is in force").await;
}

#[test]
fn c1_a3_isolating_either_end_of_what_stays_allowed_loses_nothing_on_kubenet() {
    with_agent(Topology::Kubenet, nothing_is_lost);
}

#[test]
fn c1_a3_isolating_either_end_of_what_stays_allowed_loses_nothing_on_azure_cni() {
    with_agent(Topology::AzureCni, nothing_is_lost);
}

/// A connection that labels allow, cut and healed by a change of labels alone.
async fn labels_change(scene: &mut Scene) {
    const KNOWN: &str = "kind: known";
    let friends = "namespaceSelector: {matchLabels: {kind: known}}, \
                   podSelector: {matchLabels: {role: friend}}";
    let spec = format!("podSelector: {{}}, ingress: [{{from: [{{{friends}}}]}}]");
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
        all_go_on(&mut connections).await;
    }
}

#[test]
fn r4_c2_living_connections_follow_labels_of_pods_and_namespaces() {
    with_agent(Topology::AzureCni, labels_change);
}
