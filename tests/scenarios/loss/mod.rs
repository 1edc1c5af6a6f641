//! A thousand changes of policy under load (semantics C1): no packet is lost that the states before
//! and after both allow, and none passes that both deny.
//!
//! The reference evaluator decides which flows a state allows. The states are generated so that
//! each flow is allowed by all of them, by none, or by some. A denied flow is always denied by the
//! same end: the change of one pod is atomic, that of several pods together is not.
//!
//! No loss can be hidden: datagrams are numbered and never repeated, the kernel counts TCP's
//! retransmissions, and each packet that was sent must have arrived or be among the agent's drops.

mod account;
mod connections;
mod datagrams;
mod flows;
mod kills;
mod ledger;
mod states;

use std::sync::Arc;
use std::time::{Duration, Instant};

use enforcer_tests::lab::{Lab, Topology};
use proptest::prelude::RngExt as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::task::JoinSet;

use crate::scene::{INGRESS_ISOLATED, Scene, until};
use account::Account;
use ledger::{Count, Ledger};

/// Changes that the agent must have programmed before a run ends.
const CHANGES: u64 = 1_000;
/// Connections that must have been opened and closed before a run ends, besides the long-lived
/// ones.
const CONNECTIONS: u64 = 20_000;
/// States to change between.
const STATES: usize = 48;
/// Only a run that hangs takes this long.
const LIMIT: Duration = Duration::from_secs(240);

/// A generator of states and their order; `ENFORCER_SEED=<number>` reproduces them.
fn runner() -> TestRunner {
    let seed = match std::env::var("ENFORCER_SEED") {
        Ok(text) => text.parse().expect("ENFORCER_SEED is a number"),
        Err(_) => u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos()),
    };
    println!("seed {seed} (repeat with ENFORCER_SEED={seed})");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// Load on a lab whose policies change.
struct Load {
    states: Vec<String>,
    before: Account,
    ledger: Arc<Ledger>,
    senders: JoinSet<()>,
}

/// Starts the load under the first state.
async fn start(scene: &mut Scene, runner: &mut TestRunner) -> Load {
    scene.write("cluster.yaml", &states::pods_only());
    scene.run_pods().await;
    let states = states::generate(runner, scene.lab(), STATES);
    flows::check(scene.lab(), &states);
    scene.write("cluster.yaml", &states[0]);
    // The state must be active before the first packet that it denies.
    until("the first state is active", async || scene.metric(INGRESS_ISOLATED).await > 0).await;
    let before = Account::take(scene).await;
    let ledger = Arc::new(Ledger::default());
    let senders = start_load(scene.lab(), &ledger).await;
    Load { states, before, ledger, senders }
}

impl Load {
    /// Ends the load and checks that no packet was lost or wrongly passed.
    async fn end(self, scene: &Scene) {
        self.ledger.stop();
        self.senders.join_all().await;
        self.ledger.assert_good();
        account::balance(scene, &self.before, &self.ledger).await;
    }
}

async fn nothing_is_lost(scene: &mut Scene) {
    let mut runner = runner();
    let load = start(scene, &mut runner).await;
    let programmed = programmed(scene).await;
    let started_at = Instant::now();
    change(scene, &load.states, &mut runner, &load.ledger).await;
    let took = started_at.elapsed();
    let changes = self::programmed(scene).await - programmed;
    let ledger = Arc::clone(&load.ledger);
    load.end(scene).await;
    println!(
        "{changes} changes programmed in {took:.1?}, no packet lost or wrongly passed: {ledger}"
    );
    ledger.assert_various();
}

/// The number of changes that the agent has written to the kernel's tables.
async fn programmed(scene: &Scene) -> u64 {
    scene.metric("enforcer_programming_duration_seconds_count").await
}

async fn start_load(lab: &Lab, ledger: &Arc<Ledger>) -> JoinSet<()> {
    let mut load = JoinSet::new();
    datagrams::serve(lab, ledger).await;
    connections::serve(lab, ledger).await;
    datagrams::start(lab, ledger, &mut load).await;
    connections::start(lab, ledger, &mut load).await;
    load
}

/// Changes from state to state, without waiting for any to be active, until there were enough
/// changes and connections.
async fn change(scene: &Scene, states: &[String], runner: &mut TestRunner, ledger: &Ledger) {
    let started_at = Instant::now();
    let before = programmed(scene).await;
    let mut at = 0;
    while ledger.is_good()
        && (programmed(scene).await - before < CHANGES || ledger.get(Count::Opened) < CONNECTIONS)
    {
        assert!(started_at.elapsed() < LIMIT, "too slow: {ledger}");
        for _ in 0..20 {
            at = (at + runner.rng().random_range(1..states.len())) % states.len();
            scene.write("cluster.yaml", &states[at]);
            let pause = runner.rng().random_range(2..20);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
}

// One topology: whether a change is atomic depends on the tables alone.
scenarios! {
    c1_a_thousand_changes_under_load_lose_nothing: Topology::Kubenet => nothing_is_lost;
}
