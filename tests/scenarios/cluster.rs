//! The agent beside an API server that goes away and comes back (semantics C3, C4), and what it asks
//! of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use enforcer_tests::api::{ApiServer, Verb};
use enforcer_tests::lab::{LAB_DIR, Party, Topology};
use enforcer_tests::probe::Outcome;
use enforcer_tests::session::{Session, SessionOptions};

use crate::restart::cluster;
use crate::scene::{PATIENCE, until};
use crate::support::{ANSWER, SILENCE, agent, in_sandbox, outcomes, spawner};
use crate::unknown::tcp_probes;

/// What an agent may do that is asked for nothing more: see `deploy/kustomize/base/cluster-role.yaml`.
const WATCHED: [&str; 5] =
    ["pods", "namespaces", "services", "nodes", "networkpolicies.networking.k8s.io"];

/// For how long the server is away; `ENFORCER_AWAY=200` and the like make it longer.
const AWAY: u64 = 2;

fn away() -> Duration {
    let asked = std::env::var("ENFORCER_AWAY").ok();
    let seconds = asked.map_or(AWAY, |text| text.parse().expect("ENFORCER_AWAY is in seconds"));
    Duration::from_secs(seconds)
}

async fn reach(session: &Session, from: &str) -> Vec<Outcome> {
    let probes = tcp_probes(&Party::pod("shop", from), &Party::pod("shop", "server"));
    outcomes(session.lab(), &probes, ANSWER.min(SILENCE * 2)).await
}

async fn is_enforced(session: &Session) {
    assert_eq!(reach(session, "friend").await, [Outcome::Open, Outcome::Open]);
    assert_eq!(reach(session, "stranger").await, [Outcome::TimedOut, Outcome::TimedOut]);
}

#[test]
fn c3_c4_nothing_changes_while_the_api_server_is_away() {
    in_sandbox(async move |sandbox| {
        let server = ApiServer::new().unwrap();
        let manifests = Path::new(LAB_DIR).join("manifests");
        fs::create_dir_all(&manifests).unwrap();
        let options = SessionOptions {
            settle: PATIENCE,
            api: Some(server.clone()),
            ..SessionOptions::new(manifests, spawner(), Some(agent()))
        };
        let mut session = Session::start(sandbox, Topology::AzureCni, options).await.unwrap();
        server.store().apply(&cluster()).unwrap();
        let applied = session.apply().await.unwrap();
        assert!(applied.matrix.all_good() && applied.notes.is_empty(), "{:?}", applied.notes);

        session.api_leaves().await.unwrap();
        is_enforced(&session).await;
        // What nobody can hear of yet.
        let changed = cluster().replace("role: friend}}}]", "role: nobody}}}]");
        let policy = changed.rsplit("---\n").next().unwrap();
        server.store().apply(policy).unwrap();
        // A new agent knows nothing, and so changes nothing.
        session.kill_agent().await.unwrap();
        session.launch_agent().await.unwrap();
        tokio::time::sleep(away()).await;
        is_enforced(&session).await;
        session.check_agent().unwrap();

        session.api_returns().await.unwrap();
        until("the change is in force", async || {
            reach(&session, "friend").await == [Outcome::TimedOut, Outcome::TimedOut]
        })
        .await;

        let allowed = WATCHED
            .into_iter()
            .flat_map(|what| [Verb::List, Verb::Watch].map(|verb| (verb, what.to_owned())));
        let allowed: BTreeSet<_> = allowed.collect();
        assert_eq!(server.journal().permissions("enforcer"), allowed);
        session.stop_agent().await.unwrap();
    });
}
