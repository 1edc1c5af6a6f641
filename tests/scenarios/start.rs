//! Pods that wait in the container runtime until their policy is programmed (semantics C6).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use enforcer_core::model::PodId;
use enforcer_tests::api::ApiServer;
use enforcer_tests::lab::{LAB_DIR, NODE_NAMESPACE, Party, Topology};
use enforcer_tests::probe::Outcome;
use enforcer_tests::runtime::{Dialect, Plugin, PodSandbox, Runtime};

use crate::scene::{CLOSED, OPEN, PATIENCE, Scene, Setup, pod, policy, shop_of, until, with_scene};
use crate::support::{SILENCE, in_sandbox, web};

/// The runtime's time limit for a plugin: so long that no answer is due to it.
const LONG: Duration = Duration::from_secs(60);
/// A time limit that a test can wait for.
const SHORT: Duration = Duration::from_millis(400);

/// A lab of one node whose agent requires a runtime.
fn required(topology: Topology) -> Setup {
    Setup::with(topology, &["--nri", "required", "--cni-results", "off", "--unknown-pod", "allow"])
}

/// Listens where the node's runtime would.
fn runtime() -> Runtime {
    Runtime::listen(&Path::new(LAB_DIR).join(format!("nri-{NODE_NAMESPACE}.sock"))).unwrap()
}

/// Runs a test with a runtime that the agent has connected to.
fn with_runtime<F>(topology: Topology, dialect: Dialect, patience: Duration, test: F)
where
    F: AsyncFnOnce(&mut Scene, Runtime, Plugin) + Send + 'static,
{
    in_sandbox(async move |sandbox| {
        let runtime = runtime();
        let (mut scene, plugin) = tokio::join!(
            Scene::start(sandbox, required(topology), None),
            runtime.accept(dialect, patience, &[])
        );
        test(&mut scene, runtime, plugin.unwrap()).await;
        scene.stop_agent().await.unwrap();
    });
}

/// Fails the test if this takes longer than its own time limit, which is far below the runtime's.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it hangs")
}

fn client(name: &str) -> PodId {
    PodId::new("shop", name)
}

/// The client that the node has started and the source does not know yet.
async fn start_client(scene: &mut Scene, name: &str) {
    scene.lab_mut().add_unreported_pod(&client(name), web()).await.unwrap();
}

/// Clients may send nothing.
fn nothing_out() -> String {
    let clients = "podSelector: {matchLabels: {role: client}}, policyTypes: [Egress]";
    policy("shop", "nothing-out", clients)
}

/// A server without policy, and clients that may send nothing.
async fn isolated_clients(scene: &mut Scene) {
    scene.write("server.yaml", &shop_of(&["server"]));
    scene.write("policy.yaml", &nothing_out());
    scene.agree("the server alone").await;
}

/// The sandbox of a pod that the lab runs.
fn sandbox(scene: &Scene, name: &str) -> PodSandbox {
    let pod = &scene.lab().pods()[&client(name)];
    PodSandbox {
        id: pod.sandbox_id().to_owned(),
        pod: client(name),
        uid: pod.uid().to_owned(),
        labels: BTreeMap::from([("role".to_owned(), "client".to_owned())]),
        addresses: pod.addresses().to_vec(),
        network: Some(pod.namespace().path()),
        process: std::process::id(),
    }
}

/// The same sandbox with an address that no interface has.
fn elsewhere(scene: &Scene, name: &str) -> PodSandbox {
    PodSandbox { addresses: vec!["192.0.2.77".parse().unwrap()], ..sandbox(scene, name) }
}

/// The outcomes of a pod's first connections, one of each family.
async fn first_packets(scene: &Scene, from: &str) -> [Outcome; 2] {
    scene.connect(&Party::Pod(client(from)), &Party::pod("shop", "server"), SILENCE * 2).await
}

async fn started(scene: &Scene, outcome: &str) -> u64 {
    scene.metric(&format!("enforcer_pod_sandboxes_total{{outcome=\"{outcome}\"}}")).await
}

async fn a_sandbox_waits(scene: &Scene) {
    until("the pod waits", async || scene.status().await.nri.sandboxes == 1).await;
}

/// Policy applies from the first packet of a pod's containers, though no manifest declares the pod.
async fn from_the_first_packet_on(scene: &mut Scene, mut plugin: Plugin) {
    assert_eq!((plugin.name.as_str(), plugin.events), ("90-enforcer", 0b111));
    assert!(soon(plugin.lacks("CreateContainer")).await.unwrap());
    isolated_clients(scene).await;
    // The runtime does not announce this one: it is unknown and unrestricted.
    start_client(scene, "unannounced").await;
    assert_eq!(first_packets(scene, "unannounced").await, OPEN);

    start_client(scene, "announced").await;
    let announced = sandbox(scene, "announced");
    soon(plugin.run_pod(&announced)).await.unwrap();
    assert_eq!(first_packets(scene, "announced").await, CLOSED);
    assert_eq!(started(scene, "programmed").await, 1);
    let status = scene.status().await;
    assert_eq!((status.nri.state.as_str(), status.nri.sandboxes), ("connected", 1));
    assert_eq!(status.nri.about, "stand-in v1");

    // The source takes precedence once it knows the pod: another label, and no policy for it.
    scene.write("client.yaml", &pod("shop", "announced", "role: friend", &["http/TCP/80"]));
    scene.lab().report_pod(&client("announced")).unwrap();
    until("the source's labels count", async || first_packets(scene, "announced").await == OPEN)
        .await;
    // The runtime stops it; nothing passes there until its interface is removed.
    soon(plugin.stop_pod(&announced)).await.unwrap();
    until("its interface is closed", async || first_packets(scene, "announced").await == CLOSED)
        .await;
    assert_eq!(scene.status().await.nri.sandboxes, 0);
}

// Both: the interface must be found first, a bridge port or the end of a route.
#[test]
fn c6_policy_applies_to_the_first_packet_on_kubenet() {
    with_runtime(Topology::Kubenet, Dialect::Current, LONG, async |scene, _runtime, plugin| {
        from_the_first_packet_on(scene, plugin).await;
    });
}

#[test]
fn c6_policy_applies_to_the_first_packet_on_azure_cni() {
    with_runtime(Topology::AzureCni, Dialect::Later, LONG, async |scene, _runtime, plugin| {
        from_the_first_packet_on(scene, plugin).await;
    });
}

/// The agent answers once there is an interface to program, not before.
async fn the_answer_waits(scene: &mut Scene, mut plugin: Plugin) {
    isolated_clients(scene).await;
    // The next pod reuses the address of this one.
    start_client(scene, "late").await;
    let announced = sandbox(scene, "late");
    scene.lab_mut().vanish(&client("late")).await.unwrap();
    let answered = Cell::new(false);
    let runtime = async {
        plugin.run_pod(&announced).await.unwrap();
        answered.set(true);
    };
    let network = async {
        a_sandbox_waits(scene).await;
        assert_eq!(scene.metric("enforcer_nri{state=\"connected\"}").await, 1);
        assert!(!answered.get(), "answered before there was anything to program");
        start_client(scene, "late").await;
    };
    soon(async { tokio::join!(runtime, network) }).await;
    assert_eq!(sandbox(scene, "late"), announced, "the address was not reused");
    assert_eq!(first_packets(scene, "late").await, CLOSED);
}

#[test]
fn c6_the_answer_waits_until_there_is_an_interface() {
    with_runtime(Topology::AzureCni, Dialect::Current, LONG, async |scene, _runtime, plugin| {
        the_answer_waits(scene, plugin).await;
    });
}

/// The runtime assigns the address to the next pod while the source still lists the last one.
async fn an_address_is_reused(scene: &mut Scene, mut plugin: Plugin) {
    isolated_clients(scene).await;
    // A friend may send anything; the source knows the pod and its addresses.
    start_client(scene, "friend").await;
    let mut friend = sandbox(scene, "friend");
    friend.labels.clear();
    soon(plugin.run_pod(&friend)).await.unwrap();
    scene.write("friend.yaml", &pod("shop", "friend", "role: friend", &["http/TCP/80"]));
    scene.lab().report_pod(&client("friend")).unwrap();
    until("the source knows it", async || scene.metric("enforcer_pods").await == 2).await;
    assert_eq!(first_packets(scene, "friend").await, OPEN);

    soon(plugin.stop_pod(&friend)).await.unwrap();
    scene.lab_mut().vanish(&client("friend")).await.unwrap();
    start_client(scene, "next").await;
    let next = sandbox(scene, "next");
    assert_eq!(next.addresses, friend.addresses, "the address was not reused");
    soon(plugin.run_pod(&next)).await.unwrap();
    assert_eq!(first_packets(scene, "next").await, CLOSED, "the friend's permissions");
    assert_eq!(started(scene, "programmed").await, 2);
}

#[test]
fn c5_c6_the_next_pod_inherits_no_permissions() {
    with_runtime(Topology::Kubenet, Dialect::Current, LONG, async |scene, _runtime, plugin| {
        an_address_is_reused(scene, plugin).await;
    });
}

#[test]
fn c6_a_pod_without_addresses_is_found_by_its_namespace() {
    with_runtime(Topology::Kubenet, Dialect::Old, LONG, async |scene, _runtime, mut plugin| {
        isolated_clients(scene).await;
        start_client(scene, "by-path").await;
        soon(plugin.run_pod(&sandbox(scene, "by-path"))).await.unwrap();
        assert_eq!(first_packets(scene, "by-path").await, CLOSED);
        assert_eq!(started(scene, "programmed").await, 1);
        // Neither the namespace nor the process exists.
        let nowhere = PodSandbox {
            id: "nowhere".to_owned(),
            network: Some("/run/netns/cni-nowhere".into()),
            process: 0,
            ..sandbox(scene, "by-path")
        };
        soon(plugin.run_pod(&nowhere)).await.unwrap();
        assert_eq!(started(scene, "not-located").await, 1);
    });
}

#[test]
fn c6_a_pod_that_cannot_be_programmed_starts() {
    with_runtime(
        Topology::AzureCni,
        Dialect::Current,
        SHORT,
        async |scene, _runtime, mut plugin| {
            isolated_clients(scene).await;
            start_client(scene, "one").await;
            soon(plugin.run_pod(&elsewhere(scene, "one"))).await.unwrap();
            assert_eq!(started(scene, "timed-out").await, 1);
            assert!(scene.log().contains("the pod starts before it is programmed"));
            let on_the_node = PodSandbox {
                id: "on-the-node".to_owned(),
                pod: client("two"),
                addresses: Vec::new(),
                network: None,
                ..sandbox(scene, "one")
            };
            soon(plugin.run_pod(&on_the_node)).await.unwrap();
            assert_eq!(started(scene, "host-network").await, 1);
            // The agent is still connected to the runtime.
            soon(plugin.run_pod(&sandbox(scene, "one"))).await.unwrap();
            assert_eq!(first_packets(scene, "one").await, CLOSED);
        },
    );
}

#[test]
fn c6_a_runtime_that_restarts_is_found_again() {
    with_runtime(Topology::Kubenet, Dialect::Current, LONG, async |scene, runtime, mut plugin| {
        isolated_clients(scene).await;
        for name in ["before", "stopped"] {
            start_client(scene, name).await;
            soon(plugin.run_pod(&sandbox(scene, name))).await.unwrap();
        }
        drop((plugin, runtime));
        until("the agent reports it", async || {
            let status = scene.status().await;
            status.nri.state == "absent" && !status.ready
        })
        .await;
        // Its policy stays active.
        assert_eq!(first_packets(scene, "before").await, CLOSED);
        let again = Runtime::listen(&scene.lab().nodes()[0].runtime_socket()).unwrap();
        soon(again.refuse()).await.unwrap();
        // One pod still runs; of the other only the sandbox exists.
        let running =
            [sandbox(scene, "before"), PodSandbox { process: 0, ..sandbox(scene, "stopped") }];
        let mut plugin = soon(again.accept(Dialect::Later, LONG, &running)).await.unwrap();
        until("the agent is ready again", async || scene.status().await.ready).await;
        assert!(scene.log().contains("did not accept the plugin"), "{}", scene.log());
        until("the list is adopted", async || scene.status().await.nri.sandboxes == 1).await;
        assert_eq!(first_packets(scene, "before").await, CLOSED);
        start_client(scene, "after").await;
        soon(plugin.run_pod(&sandbox(scene, "after"))).await.unwrap();
        assert_eq!(first_packets(scene, "after").await, CLOSED);
    });
}

#[test]
fn c6_the_runtime_does_not_wait_for_an_agent_that_dies() {
    with_runtime(Topology::Kubenet, Dialect::Current, LONG, async |scene, runtime, mut plugin| {
        isolated_clients(scene).await;
        start_client(scene, "one").await;
        let elsewhere = elsewhere(scene, "one");
        let die = async {
            a_sandbox_waits(scene).await;
            scene.agent().unwrap().signal(nix::sys::signal::Signal::SIGKILL).unwrap();
        };
        let (answer, ()) = soon(async { tokio::join!(plugin.run_pod(&elsewhere), die) }).await;
        assert_eq!(answer.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
        // It was killed.
        scene.stop_agent().await.unwrap_err();
        let (started, plugin) =
            tokio::join!(scene.start_agent(), runtime.accept(Dialect::Current, LONG, &[]));
        started.unwrap();
        soon(plugin.unwrap().run_pod(&sandbox(scene, "one"))).await.unwrap();
        assert_eq!(first_packets(scene, "one").await, CLOSED);
    });
}

/// Partial knowledge may allow too much: pods wait until the agent has all lists.
#[test]
fn c4_c6_a_pod_waits_until_the_first_lists_are_complete() {
    in_sandbox(async move |in_sandbox| {
        let (server, runtime) = (ApiServer::new().unwrap(), runtime());
        let (mut scene, plugin) = tokio::join!(
            Scene::start(in_sandbox, required(Topology::AzureCni), Some(server.clone())),
            runtime.accept(Dialect::Current, LONG, &[])
        );
        server.store().apply(&(shop_of(&["server"]) + &nothing_out())).unwrap();
        scene.agree("the server alone").await;

        drop(plugin.unwrap());
        scene.kill_agent().await.unwrap();
        scene.api_leaves().await.unwrap();
        scene.launch_agent().await.unwrap();
        let mut plugin = soon(runtime.accept(Dialect::Current, LONG, &[])).await.unwrap();
        start_client(&mut scene, "early").await;
        let early = sandbox(&scene, "early");
        let answered = Cell::new(false);
        let start = async {
            plugin.run_pod(&early).await.unwrap();
            answered.set(true);
        };
        let api = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(!answered.get(), "answered by an agent without state");
            scene.api_returns().await.unwrap();
        };
        soon(async { tokio::join!(start, api) }).await;
        assert_eq!(first_packets(&scene, "early").await, CLOSED);
        scene.stop_agent().await.unwrap();
    });
}

#[test]
fn c6_without_a_runtime_the_agent_reports_it_and_enforces() {
    with_scene(Topology::Kubenet, async |scene| {
        let status = scene.status().await;
        assert_eq!((status.nri.state.as_str(), status.ready), ("absent", true));
        assert!(status.nri.about.contains("nri-node.sock"), "{}", status.nri.about);
        assert_eq!(scene.metric("enforcer_nri{state=\"absent\"}").await, 1);
        assert!(scene.log().contains("pods may run before they are programmed"));
        isolated_clients(scene).await;
    });
}
