//! What outlives the agent, the next agent, and the end of it all (semantics C3).

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use enforcer_core::model::PodId;
use enforcer_tests::lab::{LAB_DIR, Party, Topology, command_in};
use enforcer_tests::probe::Outcome;

use crate::connection::connect_all;
use crate::scene::{Scene, namespace, pod, policy, until, with_agent, with_agent_and};
use crate::support::{ANSWER, SILENCE, agent, outcomes, spawner, web};

const CLSACT: [&str; 2] = ["--attach", "clsact"];

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

/// What becomes of attempts to reach the server, in both families.
async fn attempts(scene: &Scene, from: &str, expected: Outcome) {
    let probes = crate::unknown::tcp_probes(&party(from), &party("server"));
    let patience = if expected == Outcome::Open { ANSWER } else { SILENCE };
    let found = outcomes(scene.lab(), &probes, patience).await;
    assert!(found.iter().all(|it| *it == expected), "{from}: {found:?}");
}

async fn is_enforced(scene: &Scene) {
    attempts(scene, "friend", Outcome::Open).await;
    attempts(scene, "stranger", Outcome::TimedOut).await;
}

async fn drops(scene: &Scene) -> u64 {
    scene
        .metric(r#"enforcer_drops_total{namespace="shop",pod="server",direction="ingress",reason="denied"}"#)
        .await
}

/// Runs the agent's program on the node.
async fn enforcer(scene: &Scene, arguments: &[&str]) -> Output {
    let agent = agent();
    let program = agent.to_str().unwrap();
    let node = scene.lab().nodes()[0].namespace();
    command_in(node, &spawner(), program, arguments).await.unwrap()
}

async fn survives_stop_and_kill(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster());
    scene.agree("only friends").await;
    let mut connections = connect_all(scene.lab(), &party("friend"), &party("server")).await;
    attempts(scene, "stranger", Outcome::TimedOut).await;
    let before = drops(scene).await;
    assert!(before > 0);
    for killed in [false, true] {
        if killed {
            scene.kill_agent().await.unwrap();
        } else {
            scene.stop_agent().await.unwrap();
        }
        is_enforced(scene).await;
        for connection in &mut connections {
            connection.exchange().await;
        }
        scene.start_agent().await.unwrap();
        is_enforced(scene).await;
        for connection in &mut connections {
            connection.exchange().await;
        }
    }
    assert!(drops(scene).await > before, "counters go on");
    // What has changed while nobody looked counts as soon as somebody does.
    scene.kill_agent().await.unwrap();
    scene.remove("cluster.yaml");
    scene.write("cluster.yaml", &cluster().replace("role: friend}}}]", "role: nobody}}}]"));
    scene.start_agent().await.unwrap();
    attempts(scene, "friend", Outcome::TimedOut).await;
}

#[test]
fn c3_enforcement_survives_stop_and_kill_with_tcx() {
    with_agent(Topology::AzureCni, survives_stop_and_kill);
}

#[test]
fn c3_enforcement_survives_stop_and_kill_with_clsact() {
    with_agent_and(Topology::Kubenet, &CLSACT, survives_stop_and_kill);
}

/// A pod that is said to be gone while no agent runs, and that still runs.
#[test]
fn c3_c5_the_next_agent_knows_who_is_gone() {
    with_agent(Topology::Kubenet, async |scene| {
        let (client, free) = (PodId::new("shop", "client"), pod("shop", "client", "", &[]));
        let server = namespace("shop", "") + &pod("shop", "server", "", &["http/TCP/80"]);
        scene.write("server.yaml", &server);
        scene.write("client.yaml", &free);
        scene.lab_mut().add_pod(&client, web()).await.unwrap();
        scene.agree("both are known").await;
        attempts(scene, "client", Outcome::Open).await;
        scene.kill_agent().await.unwrap();
        scene.remove("client.yaml");
        scene.start_agent().await.unwrap();
        attempts(scene, "client", Outcome::TimedOut).await;
        scene.kill_agent().await.unwrap();
        scene.start_agent().await.unwrap();
        attempts(scene, "client", Outcome::TimedOut).await;
    });
}

#[test]
fn c3_a_second_agent_waits_for_the_end_of_the_first() {
    with_agent(Topology::Kubenet, async |scene| {
        scene.write("cluster.yaml", &cluster());
        scene.agree("only friends").await;
        scene.launch_agent().await.unwrap();
        until("it waits", async || scene.log().contains("another agent enforces here")).await;
        is_enforced(scene).await;
        scene.end_first_agent().await.unwrap();
        until("it goes on", async || {
            scene.log().matches("taking over from an earlier agent").count() == 1
        })
        .await;
        is_enforced(scene).await;
    });
}

async fn is_cleaned_up(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster());
    scene.agree("only friends").await;
    let refused = enforcer(scene, &["cleanup"]).await;
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("another agent enforces here"), "{said}");
    is_enforced(scene).await;
    scene.stop_agent().await.unwrap();
    is_enforced(scene).await;
    let removed = enforcer(scene, &["cleanup", "--output", "json"]).await;
    assert!(removed.status.success(), "{removed:?}");
    let removed: Vec<serde_json::Value> = serde_json::from_slice(&removed.stdout).unwrap();
    // Two hooks of each of three pods and of the uplink, and the folder.
    assert!(removed.len() > 8, "{removed:?}");
    attempts(scene, "stranger", Outcome::Open).await;
    let again = enforcer(scene, &["cleanup"]).await;
    assert!(again.status.success(), "{again:?}");
    assert_eq!(String::from_utf8_lossy(&again.stdout), "there was nothing to remove\n");
    let qdiscs = scene.lab().nodes()[0].namespace();
    let listed = command_in(qdiscs, &spawner(), "tc", &["qdisc", "show"]).await.unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(!listed.contains("clsact"), "{listed}");
    scene.start_agent().await.unwrap();
    is_enforced(scene).await;
}

#[test]
fn cleanup_leaves_nothing_of_tcx() {
    with_agent(Topology::Kubenet, is_cleaned_up);
}

#[test]
fn cleanup_leaves_nothing_of_clsact() {
    with_agent_and(Topology::AzureCni, &CLSACT, is_cleaned_up);
}

/// Filters of an agent whose pins somebody has removed.
#[test]
fn cleanup_finds_filters_that_nobody_has_noted() {
    with_agent_and(Topology::Kubenet, &CLSACT, async |scene| {
        scene.write("cluster.yaml", &cluster());
        scene.agree("only friends").await;
        scene.kill_agent().await.unwrap();
        fs::remove_dir_all("/sys/fs/bpf/enforcer").unwrap();
        is_enforced(scene).await;
        let removed = enforcer(scene, &["cleanup"]).await;
        assert!(removed.status.success(), "{removed:?}");
        attempts(scene, "stranger", Outcome::Open).await;
    });
}

#[test]
fn without_a_bpf_file_system_policy_is_enforced_while_the_agent_runs() {
    let pins: PathBuf = [LAB_DIR, "no-bpffs"].iter().collect();
    let pins: &'static str = Box::leak(pins.to_str().unwrap().to_owned().into_boxed_str());
    let arguments: &'static [&str] = Box::leak(Box::new(["--pins", pins]));
    with_agent_and(Topology::Kubenet, arguments, async |scene| {
        scene.write("cluster.yaml", &cluster());
        scene.agree("only friends").await;
        assert!(scene.log().contains("enforcement ends with this process"));
        scene.kill_agent().await.unwrap();
        attempts(scene, "stranger", Outcome::Open).await;
        scene.start_agent().await.unwrap();
        is_enforced(scene).await;
    });
}
