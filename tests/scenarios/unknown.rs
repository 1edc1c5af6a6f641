//! Pods that run before the agent knows them, and after it has removed them (semantics C5, C6).

use enforcer_core::model::PodId;
use enforcer_tests::lab::{Party, Topology};

use crate::connection::{connect_all, exchange_all};
use crate::scene::{
    CLOSED, INGRESS_ISOLATED, OPEN, Scene, Setup, UNKNOWN, pod, policy, shop_of, until,
};
use crate::support::web;

const CLIENT: &str = "client.yaml";

fn parties() -> (Party, Party) {
    (Party::pod("shop", "client"), Party::pod("shop", "server"))
}

/// A known server, and a client that runs while the agent does not know its interface's pod.
async fn unknown_client(scene: &mut Scene) {
    scene.write("server.yaml", &shop_of(&["server"]));
    scene.agree("the server alone").await;
    scene.lab_mut().add_pod(&PodId::new("shop", "client"), web()).await.unwrap();
    until("the interface is seen", async || scene.metric(UNKNOWN).await == 1).await;
}

async fn becomes_known(scene: &mut Scene) {
    // With the ports of `web`: the lab restarts a pod whose ports differ from the declared ones.
    let ports = ["http/TCP/80", "dns/UDP/53"];
    scene.write(CLIENT, &pod("shop", "client", "role: client", &ports));
    scene.run_pods().await;
}

/// The connections of an unknown pod are recorded: a later policy lets the replies in.
async fn replies_to_an_unknown_pod(scene: &mut Scene) {
    let isolated = "podSelector: {matchLabels: {role: client}}";
    scene.write("policy.yaml", &policy("shop", "client", isolated));
    unknown_client(scene).await;
    let (from, to) = parties();
    let mut connections = connect_all(scene.lab(), &from, &to).await;
    becomes_known(scene).await;
    assert_eq!(scene.metric(INGRESS_ISOLATED).await, 1);
    // The server's interface also existed shortly before its pod was known.
    assert!(scene.metric("enforcer_pod_unknown_duration_seconds_count").await >= 1);
    exchange_all(&mut connections).await;
    scene.expect(&to, &from, CLOSED).await;
}

async fn an_unknown_pod_is_denied(scene: &mut Scene) {
    unknown_client(scene).await;
    let (from, to) = parties();
    scene.expect(&from, &to, CLOSED).await;
    scene.expect(&to, &from, CLOSED).await;
    // The node reaches its pods (semantics A2); known pods are not affected.
    scene.expect(&Party::Node, &from, OPEN).await;
    scene.expect(&Party::Node, &to, OPEN).await;
    let dropped = "namespace=\"\",pod=\"\",direction=\"egress\",reason=\"unknown-pod\"";
    assert!(scene.metric(&format!("enforcer_drops_total{{{dropped}}}")).await > 0);
    becomes_known(scene).await;
    scene.agree("both known").await;
}

async fn a_removed_pod_still_runs(scene: &mut Scene) {
    unknown_client(scene).await;
    becomes_known(scene).await;
    scene.agree("both known").await;
    // For the agent alone: the lab keeps the pod running.
    scene.remove(CLIENT);
    let (from, to) = parties();
    until("the pod is removed", async || scene.metric(UNKNOWN).await == 1).await;
    scene.expect(&from, &to, CLOSED).await;
    scene.expect(&to, &from, CLOSED).await;
    becomes_known(scene).await;
    scene.agree("known again").await;
}

scenarios! {
    c6_a3_replies_to_connections_from_before_a_pod_was_known_pass:
        Setup::with(Topology::Kubenet, &["--unknown-pod", "allow"]) => replies_to_an_unknown_pod;
    c6_an_unknown_pod_may_be_denied_until_it_is_known:
        Setup::with(Topology::AzureCni, &["--unknown-pod", "deny"]) => an_unknown_pod_is_denied;
    c5_a_removed_pod_that_still_runs_is_isolated: Topology::Kubenet => a_removed_pod_still_runs;
}
