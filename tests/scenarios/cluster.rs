//! The agent with an API server that becomes unavailable and returns (semantics C3, C4), and the
//! permissions that it uses there.

use std::collections::BTreeSet;
use std::time::Duration;

use enforcer_tests::api::{ApiServer, Verb};
use enforcer_tests::lab::{Party, Topology};

use crate::restart::{cluster, is_enforced};
use crate::scene::{CLOSED, Scene, until};
use crate::support::{SILENCE, in_sandbox};

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
