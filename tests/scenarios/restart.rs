//! What outlives the agent, its successor, and `enforcer cleanup` (semantics C3).

use std::fs;
use std::path::PathBuf;

use enforcer_core::model::PodId;
use enforcer_tests::lab::{LAB_DIR, Party, Topology, command_in};

use crate::connection::{connect_all, exchange_all};
use crate::scene::{
    CLOSED, OPEN, Scene, Setup, namespace, pod, policy, shop_of, until, with_scene,
};
use crate::support::{spawner, web};

const CLSACT: &[&str] = &["--attach", "clsact"];

/// A server that lets only friends in, a friend and a stranger.
pub(crate) fn cluster() -> String {
    let only_friends = "podSelector: {matchLabels: {app: server}}, \
        ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}]";
    [
        namespace("shop", ""),
        pod("shop", "server", "app: server", &["http/TCP/80"]),
        pod("shop", "friend", "role: friend", &["http/TCP/80"]),
        pod("shop", "stranger", "role: stranger", &["http/TCP/80"]),
        policy("shop", "only-friends", only_friends),
    ]
    .concat()
}

fn party(name: &str) -> Party {
    Party::pod("shop", name)
}

/// Checks the policy of [`cluster`].
pub(crate) async fn is_enforced(scene: &Scene) {
    scene.expect(&party("friend"), &party("server"), OPEN).await;
    scene.expect(&party("stranger"), &party("server"), CLOSED).await;
}

/// Nothing is enforced any more.
async fn is_open(scene: &Scene) {
    scene.expect(&party("stranger"), &party("server"), OPEN).await;
}

async fn only_friends(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster());
    scene.agree("only friends").await;
}

/// The tables of parts that are pinned; those of programs that were replaced are forgotten.
fn tables_of_parts() -> usize {
    let folders = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten();
    let below = folders("/sys/fs/bpf/enforcer".into()).flat_map(|it| folders(it.path()));
    below.filter(|it| it.file_name().to_string_lossy().starts_with("parts-")).count()
}

async fn survives_stop_and_kill(scene: &mut Scene) {
    only_friends(scene).await;
    let mut connections = connect_all(scene.lab(), &party("friend"), &party("server")).await;
    scene.expect(&party("stranger"), &party("server"), CLOSED).await;
    let before = scene.denied().await;
    assert!(before > 0);
    for killed in [false, true] {
        if killed {
            scene.kill_agent().await.unwrap();
        } else {
            scene.stop_agent().await.unwrap();
        }
        is_enforced(scene).await;
        exchange_all(&mut connections).await;
        scene.start_agent().await.unwrap();
        is_enforced(scene).await;
        exchange_all(&mut connections).await;
        until("one table of parts", async || tables_of_parts() == 1).await;
    }
    assert!(scene.denied().await > before, "counters continue");
    // A change without an agent is enforced as soon as one runs.
    scene.kill_agent().await.unwrap();
    scene.remove("cluster.yaml");
    scene.write("cluster.yaml", &cluster().replace("role: friend}}}]", "role: nobody}}}]"));
    scene.start_agent().await.unwrap();
    scene.expect(&party("friend"), &party("server"), CLOSED).await;
}

/// A pod is removed while no agent runs, but its interface stays.
async fn a_removed_pod_stays_closed(scene: &mut Scene) {
    let (client, free) = (PodId::new("shop", "client"), pod("shop", "client", "", &[]));
    scene.write("server.yaml", &shop_of(&["server"]));
    scene.write("client.yaml", &free);
    scene.lab_mut().add_pod(&client, web()).await.unwrap();
    scene.agree("both are known").await;
    scene.expect(&party("client"), &party("server"), OPEN).await;
    scene.kill_agent().await.unwrap();
    scene.remove("client.yaml");
    scene.start_agent().await.unwrap();
    scene.expect(&party("client"), &party("server"), CLOSED).await;
    scene.kill_agent().await.unwrap();
    scene.start_agent().await.unwrap();
    scene.expect(&party("client"), &party("server"), CLOSED).await;
}

async fn a_second_agent_waits(scene: &mut Scene) {
    only_friends(scene).await;
    scene.launch_agent().await.unwrap();
    until("it waits", async || scene.log().contains("another agent enforces here")).await;
    is_enforced(scene).await;
    scene.end_first_agent().await.unwrap();
    until("it takes over", async || {
        scene.log().matches("taking over from an earlier agent").count() == 1
    })
    .await;
    is_enforced(scene).await;
}

async fn cleanup_removes_all(scene: &mut Scene) {
    only_friends(scene).await;
    let refused = scene.enforcer(&["cleanup"]).await;
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(message.contains("another agent enforces here"), "{message}");
    is_enforced(scene).await;
    scene.stop_agent().await.unwrap();
    is_enforced(scene).await;
    let removed = scene.enforcer(&["cleanup", "--output", "json"]).await;
    assert!(removed.status.success(), "{removed:?}");
    let removed: Vec<serde_json::Value> = serde_json::from_slice(&removed.stdout).unwrap();
    // Two hooks of each of three pods and of the uplink, and the folder.
    assert!(removed.len() > 8, "{removed:?}");
    is_open(scene).await;
    let again = scene.enforcer(&["cleanup"]).await;
    assert!(again.status.success(), "{again:?}");
    assert_eq!(String::from_utf8_lossy(&again.stdout), "nothing to remove\n");
    let listed = command_in(scene.lab().node(), &spawner(), "tc", &["qdisc", "show"]).await;
    let listed = String::from_utf8_lossy(&listed.unwrap().stdout).into_owned();
    assert!(!listed.contains("clsact"), "{listed}");
    scene.start_agent().await.unwrap();
    is_enforced(scene).await;
}

/// Filters of an agent whose pins have been deleted.
async fn cleanup_without_pins(scene: &mut Scene) {
    only_friends(scene).await;
    scene.kill_agent().await.unwrap();
    fs::remove_dir_all("/sys/fs/bpf/enforcer").unwrap();
    is_enforced(scene).await;
    let removed = scene.enforcer(&["cleanup"]).await;
    assert!(removed.status.success(), "{removed:?}");
    is_open(scene).await;
}

scenarios! {
    c3_enforcement_survives_stop_and_kill_with_tcx: Topology::AzureCni => survives_stop_and_kill;
    c3_enforcement_survives_stop_and_kill_with_clsact: Setup::with(Topology::Kubenet, CLSACT) =>
        survives_stop_and_kill;
    c3_c5_the_next_agent_knows_removed_pods: Topology::Kubenet => a_removed_pod_stays_closed;
    c3_a_second_agent_waits_for_the_end_of_the_first: Topology::Kubenet => a_second_agent_waits;
    cleanup_leaves_nothing_of_tcx: Topology::Kubenet => cleanup_removes_all;
    cleanup_leaves_nothing_of_clsact: Setup::with(Topology::AzureCni, CLSACT) =>
        cleanup_removes_all;
    cleanup_finds_filters_without_pins: Setup::with(Topology::AzureCni, CLSACT) =>
        cleanup_without_pins;
}

#[test]
fn without_a_bpf_file_system_policy_is_enforced_while_the_agent_runs() {
    let pins: PathBuf = [LAB_DIR, "no-bpffs"].iter().collect();
    let pins: &'static str = Box::leak(pins.to_str().unwrap().to_owned().into_boxed_str());
    let arguments: &'static [&str] = Box::leak(Box::new(["--pins", pins]));
    with_scene(Setup::with(Topology::Kubenet, arguments), async |scene| {
        only_friends(scene).await;
        assert!(scene.log().contains("enforcement ends with this process"));
        scene.kill_agent().await.unwrap();
        is_open(scene).await;
        scene.start_agent().await.unwrap();
        is_enforced(scene).await;
    });
}
