//! An agent that is killed again and again under load (semantics C3): with the policies as they
//! are, with others when it is back, and in the middle of its start. No packet is lost that all
//! states allow, and none passes that all forbid, whether somebody enforces them or nobody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use enforcer_tests::lab::Topology;
use proptest::prelude::RngExt as _;

use super::{begin, runner};
use crate::scene::{Scene, with_agent, with_agent_and};

/// A run of the tests kills it so many times; `ENFORCER_KILLS=100` and the like do it more often.
const KILLS: usize = 30;

fn kills() -> usize {
    let asked = std::env::var("ENFORCER_KILLS").ok();
    asked.map_or(KILLS, |text| text.parse().expect("ENFORCER_KILLS is a number"))
}

/// Kills the agent so many times.
async fn survives(scene: &mut Scene, kills: usize) {
    let mut runner = runner();
    let load = begin(scene, &mut runner).await;
    let started = Instant::now();
    let mut unfinished = 0;
    for kill in 0..kills {
        if !load.ledger.is_good() {
            break;
        }
        scene.kill_agent().await.unwrap();
        if kill % 2 == 0 {
            let state = runner.rng().random_range(0..load.states.len());
            scene.write("cluster.yaml", &load.states[state]);
        }
        pause(runner.rng().random_range(0..100)).await;
        if kill % 3 == 0 {
            // Killed again wherever it is by then: loading, filling tables, replacing programs.
            scene.launch_agent().await.unwrap();
            pause(runner.rng().random_range(0..700)).await;
            unfinished += 1;
        } else {
            scene.start_agent().await.unwrap();
            pause(runner.rng().random_range(0..100)).await;
        }
    }
    scene.kill_agent().await.unwrap();
    scene.start_agent().await.unwrap();
    let ledger = Arc::clone(&load.ledger);
    load.end(scene).await;
    let took = started.elapsed();
    println!(
        "killed {kills} times in {took:.1?}, {unfinished} of them while it was starting; \
         nothing lost or let through: {ledger}"
    );
}

async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

#[test]
fn c3_kills_under_load_lose_and_leak_nothing_with_tcx() {
    with_agent(Topology::Kubenet, async |scene| survives(scene, kills()).await);
}

#[test]
fn c3_kills_under_load_lose_and_leak_nothing_with_clsact() {
    with_agent_and(Topology::AzureCni, &["--attach", "clsact"], async |scene| {
        survives(scene, kills() / 2).await;
    });
}

/// Each start wants tables of another size than those that are there.
async fn changes_layout(scene: &mut Scene, times: usize) {
    let mut runner = runner();
    let load = begin(scene, &mut runner).await;
    for time in 0..times {
        scene.kill_agent().await.unwrap();
        let flows = ["--flows", if time % 2 == 0 { "65536" } else { "131072" }];
        scene.set_arguments(flows.map(Into::into).to_vec());
        scene.start_agent().await.unwrap();
        pause(runner.rng().random_range(0..100)).await;
    }
    assert_eq!(scene.log().matches("flows taken over").count(), times);
    let ledger = Arc::clone(&load.ledger);
    load.end(scene).await;
    println!("{times} changes of the tables' layout, nothing lost or let through: {ledger}");
}

#[test]
fn c3_tables_of_another_layout_replace_the_old_ones_without_a_gap() {
    with_agent(Topology::Kubenet, async |scene| changes_layout(scene, 4).await);
}
