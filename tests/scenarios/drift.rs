//! The drift check: words of the kernel's tables that somebody else changes, and changes of policy that are
//! no drift.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use enforcer_ebpf::contract::endpoint::{Endpoint, flags};
use enforcer_ebpf::contract::table::{self, Block};
use enforcer_tests::lab::Topology;

use crate::agent::isolate_server;
use crate::observers::many_rules;
use crate::scene::{Scene, Setup, policy, until};

const CHECKS: &str = "enforcer_drift_checks_total";
const SAMPLES: &str = "enforcer_drift_samples_total";
const FOUND: &str = "enforcer_drift_found_total";
const PRESENT: &str = "enforcer_drift";
/// Often, so that the test is short.
const OFTEN: &[&str] = &["--drift-interval", "0.02"];
/// Changes, and the checks between them, that are enough.
const CHANGES: u16 = 100;
const BETWEEN: u64 = 500;
/// The changes by which there must have been as many checks.
const MOST: u16 = 6_000;
/// Blocks of verdicts that may be in use here.
const BLOCKS: u32 = 4;

/// A table of the agent, by the descriptors of its process (proc_pid_fdinfo(5)).
fn table(scene: &Scene, name: &str) -> Map {
    let process = scene.agent().unwrap().pid().unwrap();
    let files = fs::read_dir(format!("/proc/{process}/fdinfo")).unwrap();
    // A descriptor may be closed meanwhile.
    let texts = files.filter_map(|it| fs::read_to_string(it.unwrap().path()).ok());
    let ids: BTreeSet<u32> = texts
        .filter_map(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("map_id:"))?;
            line.trim().parse().ok()
        })
        .collect();
    let maps = ids.into_iter().filter_map(|id| MapData::from_id(id).ok());
    let is_it = |it: &MapData| it.info().is_ok_and(|info| info.name_as_str() == Some(name));
    Map::from_map_data(maps.into_iter().find(is_it).expect("the agent has the table")).unwrap()
}

/// Exchanges "all" and "nothing" in every cell; port sets become others.
pub(crate) fn turn_verdicts(scene: &Scene) {
    let mut cells: Array<_, Block> = table(scene, table::VERDICTS).try_into().unwrap();
    for block in 0..BLOCKS {
        let turned = cells.get(&block, 0).unwrap().map(|cell| cell ^ 1);
        cells.set(block, turned, 0).unwrap();
    }
}

/// Changes the flags of every endpoint: the check of its source.
fn turn_endpoints(scene: &Scene) {
    let table = table(scene, table::ENDPOINTS);
    let mut records: Array<_, [u64; size_of::<Endpoint>() / 8]> = table.try_into().unwrap();
    for record in 1..records.len() {
        let mut value = records.get(&record, 0).unwrap();
        // The last word: its flags and its interface.
        if value != [0; 5] {
            value[4] ^= u64::from(flags::CHECK_SOURCE);
            records.set(record, value, 0).unwrap();
        }
    }
}

/// Exchanges the senders of marked packets with nothing, or back: no look-up of the check reads them.
fn set_senders(scene: &Scene, words: &[u64]) -> Vec<u64> {
    let mut senders: Array<_, u64> = table(scene, table::SENDERS).try_into().unwrap();
    let before = (0..senders.len()).map(|id| senders.get(&id, 0).unwrap()).collect();
    for (id, word) in (0..senders.len()).zip(words.iter().chain(std::iter::repeat(&0))) {
        senders.set(id, word, 0).unwrap();
    }
    before
}

async fn drifts(scene: &Scene, what: &str) {
    until("the drift is reported", async || scene.metric(PRESENT).await > 0).await;
    let problems = scene.status().await.problems;
    assert!(
        problems.iter().any(|it| it.contains("drift: shop/") && it.contains(what)),
        "{problems:?}"
    );
    assert!(scene.log().contains("drift: shop/"), "who reads the log knows");
}

async fn agrees(scene: &Scene) {
    until("nothing drifts", async || scene.metric(PRESENT).await == 0).await;
    let asked = scene.metric(CHECKS).await;
    until("it goes on", async || scene.metric(CHECKS).await > asked + 500).await;
    let run = scene.metric(SAMPLES).await;
    until("programs are run", async || scene.metric(SAMPLES).await > run).await;
    let problems = scene.status().await.problems;
    assert!(!problems.iter().any(|it| it.contains("drift")), "{problems:?}");
}

async fn words_that_others_change_are_reported(scene: &mut Scene) {
    isolate_server(scene).await;
    agrees(scene).await;
    assert_eq!(scene.metric(FOUND).await, 0);
    turn_verdicts(scene);
    drifts(scene, "the policies").await;
    turn_verdicts(scene);
    agrees(scene).await;
    turn_endpoints(scene);
    drifts(scene, "its endpoint in the kernel").await;
    turn_endpoints(scene);
    agrees(scene).await;
}

async fn programs_that_decide_otherwise_are_reported(scene: &mut Scene) {
    isolate_server(scene).await;
    let clients = "podSelector: {}, ingress: [{from: [{podSelector: {}}]}]";
    scene.write("clients.yaml", &policy("shop", "clients", clients));
    scene.agree("clients").await;
    agrees(scene).await;
    let before = set_senders(scene, &[]);
    drifts(scene, "the programs deny it (denied), the tables that they read allow it").await;
    set_senders(scene, &before);
    agrees(scene).await;
}

async fn changes_are_no_drift(scene: &mut Scene) {
    isolate_server(scene).await;
    let before = scene.metric(CHECKS).await;
    let (mut round, mut checked) = (0, 0);
    // Between the changes, however long they take: the check has a hundredth of the time.
    while round < CHANGES || checked < BETWEEN {
        assert!(round < MOST, "{checked} checks between {round} changes");
        scene.write("many.yaml", &many_rules(0..20 + round % 60));
        let ports =
            format!("ports: [{{port: {}}}, {{port: 53, protocol: UDP}}]", 8_000 + round % 1_000);
        let spec =
            format!("podSelector: {{}}, ingress: [{{from: [{{podSelector: {{}}}}], {ports}}}]");
        scene.write("churn.yaml", &policy("shop", "churn", &spec));
        tokio::time::sleep(Duration::from_millis(30)).await;
        if round % 3 == 0 {
            scene.remove("churn.yaml");
        }
        round += 1;
        checked = scene.metric(CHECKS).await - before;
        assert_eq!(scene.metric(FOUND).await, 0, "{}", scene.log());
    }
    assert!(scene.metric(SAMPLES).await > 0, "the programs were run");
}

scenarios! {
    words_that_others_change_are_drift: Setup::with(Topology::AzureCni, OFTEN) => words_that_others_change_are_reported;
    programs_that_decide_otherwise_are_drift: Setup::with(Topology::Kubenet, OFTEN) =>
        programs_that_decide_otherwise_are_reported;
    a_change_of_policy_is_no_drift: Setup::with(Topology::Kubenet, OFTEN) => changes_are_no_drift;
}
