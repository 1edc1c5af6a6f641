//! A thousand changes of policy under load (semantics C1): no packet is lost that the state before
//! and the state after both allow, and none passes that both forbid.
//!
//! The reference evaluator says of every state which flows it allows; the states are made so that
//! each flow is allowed by all of them, by none, or by some. What is forbidden is always forbidden
//! by the same end: each pod's change is atomic, that of several pods together is not.
//!
//! Nothing here can hide a loss: datagrams are numbered and never repeated, TCP's repetitions are
//! counted by the kernel, and every packet that was sent must either have arrived or be among the
//! agent's drops.

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

use crate::scene::{Scene, until, with_agent};
use account::Account;
use ledger::{Count, Ledger};

/// What there must be of a run until it ends.
#[derive(Clone, Copy)]
struct Enough {
    /// Changes that the agent has programmed.
    changes: u64,
    /// Connections opened and closed meanwhile, besides those that live on.
    connections: u64,
}

/// States to change between.
const STATES: usize = 48;
/// Only a run that hangs takes so long.
const LIMIT: Duration = Duration::from_secs(240);

/// A seed to reproduce the states and their order with: ENFORCER_SEED=<number>.
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

/// Starts it under the first state.
async fn begin(scene: &mut Scene, runner: &mut TestRunner) -> Load {
    scene.write("cluster.yaml", &states::pods_only());
    scene.run_pods().await;
    let states = states::generate(runner, scene.lab(), STATES);
    flows::check(scene.lab(), &states);
    scene.write("cluster.yaml", &states[0]);
    // The state is in force before the first packet that it forbids.
    until("the first state is in force", async || {
        scene.metric("enforcer_endpoints{state=\"ingress-isolated\"}").await > 0
    })
    .await;
    let before = Account::take(scene).await;
    let ledger = Arc::new(Ledger::default());
    let senders = start_load(scene.lab(), &ledger).await;
    Load { states, before, ledger, senders }
}

impl Load {
    /// Ends it and checks that nothing was lost or let through.
    async fn end(self, scene: &Scene) {
        self.ledger.stop();
        self.senders.join_all().await;
        self.ledger.assert_good();
        account::balance(scene, &self.before, &self.ledger).await;
    }
}

async fn nothing_is_lost(scene: &mut Scene, enough: Enough) {
    let mut runner = runner();
    let load = begin(scene, &mut runner).await;
    let programmed = programmed(scene).await;
    let started = Instant::now();
    change(scene, &load.states, &mut runner, &load.ledger, enough).await;
    let took = started.elapsed();
    let changes = self::programmed(scene).await - programmed;
    let ledger = Arc::clone(&load.ledger);
    load.end(scene).await;
    println!("{changes} changes programmed in {took:.1?}, nothing lost or let through: {ledger}");
    ledger.assert_various();
}

/// How often the agent has carried a change to the kernel's tables.
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

/// Goes from state to state, without waiting for any to be in force, until there was enough.
async fn change(
    scene: &Scene,
    states: &[String],
    runner: &mut TestRunner,
    ledger: &Ledger,
    enough: Enough,
) {
    let started = Instant::now();
    let before = programmed(scene).await;
    let mut at = 0;
    while ledger.is_good()
        && (programmed(scene).await - before < enough.changes
            || ledger.get(Count::Opened) < enough.connections)
    {
        assert!(started.elapsed() < LIMIT, "too slow: {ledger}");
        for _ in 0..20 {
            at = (at + runner.rng().random_range(1..states.len())) % states.len();
            scene.write("cluster.yaml", &states[at]);
            let pause = runner.rng().random_range(2..20);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
}

#[test]
fn c1_a_thousand_changes_under_load_lose_nothing_on_kubenet() {
    let enough = Enough { changes: 1_000, connections: 20_000 };
    with_agent(Topology::Kubenet, async move |scene| nothing_is_lost(scene, enough).await);
}

#[test]
fn c1_some_changes_under_load_lose_nothing_on_azure_cni() {
    let enough = Enough { changes: 500, connections: 10_000 };
    with_agent(Topology::AzureCni, async move |scene| nothing_is_lost(scene, enough).await);
}
