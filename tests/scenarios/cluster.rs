//! The agent with an API server that becomes unavailable and returns (semantics C3, C4), and the
//! permissions that it uses there.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use enforcer_tests::api::{ApiServer, Verb};
use enforcer_tests::lab::{Party, Topology, command_in};
use enforcer_tests::session::API_PORT;

use crate::restart::{cluster, is_enforced};
use crate::scene::{CLOSED, Scene, until};
use crate::support::{SILENCE, in_sandbox, spawner};

/// The resources that an agent without optional features may read, as in
/// `deploy/kustomize/base/cluster-role.yaml`.
const WATCHED: [&str; 5] =
    ["pods", "namespaces", "services", "nodes", "networkpolicies.networking.k8s.io"];

/// Seconds without the server; `ENFORCER_AWAY=200` and the like make it longer.
const AWAY: u64 = 2;

fn away() -> Duration {
    let seconds = std::env::var("ENFORCER_AWAY").ok();
    let seconds = seconds.map_or(AWAY, |text| text.parse().expect("ENFORCER_AWAY is in seconds"));
    Duration::from_secs(seconds)
}

#[test]
fn c3_c4_nothing_changes_while_the_api_server_is_away() {
    in_sandbox(async move |sandbox| {
        let server = ApiServer::new().unwrap();
        let setup = Topology::AzureCni.into();
        let mut scene = Scene::start(sandbox, setup, Some(server.clone())).await;
        server.store().apply(&cluster()).unwrap();
        scene.agree("only friends").await;

        scene.api_leaves().await.unwrap();
        is_enforced(&scene).await;
        // A change that no agent sees yet.
        let changed = cluster().replace("role: friend}}}]", "role: nobody}}}]");
        let policy = changed.rsplit("---\n").next().unwrap();
        server.store().apply(policy).unwrap();
        // A new agent has no state, so it changes nothing.
        scene.kill_agent().await.unwrap();
        scene.launch_agent().await.unwrap();
        tokio::time::sleep(away()).await;
        is_enforced(&scene).await;
        scene.check_agent().unwrap();

        scene.api_returns().await.unwrap();
        let [friend, server_pod] = ["friend", "server"].map(|it| Party::pod("shop", it));
        until("the change is enforced", async || {
            scene.connect(&friend, &server_pod, SILENCE * 2).await == CLOSED
        })
        .await;

        let allowed = WATCHED
            .into_iter()
            .flat_map(|what| [Verb::List, Verb::Watch].map(|verb| (verb, what.to_owned())));
        let allowed: BTreeSet<_> = allowed.collect();
        assert_eq!(server.journal().permissions("enforcer"), allowed);
        scene.stop_agent().await.unwrap();
    });
}

/// The longest time from the server's return until its changes are enforced, and the test's own.
const RETURN: Duration = Duration::from_secs(5 + 2);

/// Changes the policy to deny `shop/friend`, which no agent sees yet.
fn change(server: &ApiServer) {
    let changed = cluster().replace("role: friend}}}]", "role: nobody}}}]");
    server.store().apply(changed.rsplit("---\n").next().unwrap()).unwrap();
}

async fn is_changed_in_time(scene: &Scene) {
    let started_at = Instant::now();
    let [friend, server] = ["friend", "server"].map(|it| Party::pod("shop", it));
    until("the change is enforced", async || {
        scene.connect(&friend, &server, SILENCE).await == CLOSED
    })
    .await;
    let took = started_at.elapsed();
    assert!(took < RETURN, "{took:?}");
}

fn state(kind: &str, state: &str) -> String {
    format!("enforcer_watch_state{{kind=\"{kind}\",state=\"{state}\"}}")
}

/// A server that restarts knows no version of the time before: 410.
#[test]
fn after_an_outage_changes_are_enforced_within_seconds() {
    in_sandbox(async move |sandbox| {
        let server = ApiServer::new().unwrap();
        let setup = Topology::Kubenet.into();
        let mut scene = Scene::start(sandbox, setup, Some(server.clone())).await;
        server.store().apply(&cluster()).unwrap();
        scene.agree("only friends").await;
        scene.api_leaves().await.unwrap();
        change(&server);
        server.store().compact();
        // Long enough that an unlimited back-off would have grown.
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(scene.metric(&state("networkpolicies", "reconnecting")).await, 1);
        is_enforced(&scene).await;
        scene.api_returns().await.unwrap();
        is_changed_in_time(&scene).await;
        scene.stop_agent().await.unwrap();
    });
}

/// Packets of the watches vanish: the connections are dead, without any sign of it.
#[test]
fn a_dead_connection_is_noticed_although_watches_are_silent() {
    in_sandbox(async move |sandbox| {
        let server = ApiServer::new().unwrap();
        let setup = Topology::AzureCni.into();
        let mut scene = Scene::start(sandbox, setup, Some(server.clone())).await;
        server.store().apply(&cluster()).unwrap();
        scene.agree("only friends").await;
        let rules = format!(
            "table inet vanish {{ chain lost {{ type filter hook input priority -300; \
             tcp dport {API_PORT} drop; tcp sport {API_PORT} drop; }}; }}"
        );
        nft(&scene, &rules).await;
        let started_at = Instant::now();
        while scene.metric(&state("networkpolicies", "reconnecting")).await == 0 {
            assert!(started_at.elapsed() < Duration::from_secs(60), "never noticed");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        change(&server);
        nft(&scene, "delete table inet vanish").await;
        is_changed_in_time(&scene).await;
        scene.stop_agent().await.unwrap();
    });
}

async fn nft(scene: &Scene, rules: &str) {
    let output = command_in(scene.lab().node(), &spawner(), "nft", &[rules]).await.unwrap();
    assert!(output.status.success(), "{output:?}");
}
