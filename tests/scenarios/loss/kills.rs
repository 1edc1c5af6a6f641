//! An agent that is killed repeatedly under load (semantics C3): with unchanged policies, with
//! other policies when it returns, and during its start. No packet is lost that all states allow,
//! and none passes that all deny, with or without a running agent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use enforcer_tests::lab::Topology;
use proptest::prelude::RngExt as _;

use super::{runner, start};
use crate::scene::{Scene, Setup};

/// Kills in a run; `ENFORCER_KILLS=100` and the like set another number.
const KILLS: usize = 30;

fn kills() -> usize {
    let number = std::env::var("ENFORCER_KILLS").ok();
    number.map_or(KILLS, |text| text.parse().expect("ENFORCER_KILLS is a number"))
}

async fn survives(scene: &mut Scene, kills: usize) {
    let mut runner = runner();
    let load = start(scene, &mut runner).await;
    let started_at = Instant::now();
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
            // Killed again at any point: loading, filling tables, replacing programs.
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
    let took = started_at.elapsed();
    println!(
        "killed {kills} times in {took:.1?}, {unfinished} of them while it was starting; \
         no packet lost or wrongly passed: {ledger}"
    );
}

async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

/// Each start needs tables of another size than the existing ones.
async fn changes_layout(scene: &mut Scene, times: usize) {
    let mut runner = runner();
    let load = start(scene, &mut runner).await;
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
    println!("{times} changes of the tables' layout, no packet lost or wrongly passed: {ledger}");
}

scenarios! {
    c3_kills_under_load_lose_and_leak_nothing_with_tcx: Topology::Kubenet =>
        async |scene| survives(scene, kills()).await;
    c3_kills_under_load_lose_and_leak_nothing_with_clsact:
        Setup::with(Topology::AzureCni, &["--attach", "clsact"]) =>
            async |scene| survives(scene, kills() / 2).await;
    c3_tables_of_another_layout_replace_the_old_ones_without_a_gap: Topology::Kubenet =>
        async |scene| changes_layout(scene, 4).await;
}
