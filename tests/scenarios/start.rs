//! Pods whose container runtime lets them wait for their policy (semantics C6).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use enforcer_core::model::{PodId, Protocol};
use enforcer_core::policy::reference::Traffic;
use enforcer_tests::api::ApiServer;
use enforcer_tests::lab::{Family, LAB_DIR, Lab, NODE_NAMESPACE, Party, Topology};
use enforcer_tests::probe::{Outcome, Probe};
use enforcer_tests::runtime::{Dialect, Plugin, PodSandbox, Runtime};
use enforcer_tests::session::{Session, SessionOptions};

use crate::scene::{PATIENCE, Scene, Setup, namespace, pod, policy, until, with_agent};
use crate::support::{ANSWER, SILENCE, agent, in_sandbox, outcomes, spawner, web};

/// How long the runtime gives a plugin: so long that an answer comes for another reason.
const LONG: Duration = Duration::from_secs(60);
/// So short that a test can wait for it.
const SHORT: Duration = Duration::from_millis(400);

/// Runs a test with a runtime that the agent has connected to.
fn with_runtime<F>(topology: Topology, dialect: Dialect, patience: Duration, test: F)
where
    F: AsyncFnOnce(&mut Scene, Runtime, Plugin) + Send + 'static,
{
    in_sandbox(async move |sandbox| {
        let socket = Path::new(LAB_DIR).join(format!("nri-{NODE_NAMESPACE}.sock"));
        let runtime = Runtime::listen(&socket).unwrap();
        let setup = Setup { arguments: &["--nri", "required"], ..Setup::one_node(topology) };
        let (mut scene, plugin) =
            tokio::join!(Scene::start(sandbox, setup), runtime.accept(dialect, patience, &[]));
        assert_eq!(scene.lab().nodes()[0].runtime_socket(), socket);
        test(&mut scene, runtime, plugin.unwrap()).await;
        scene.stop_agent().await.unwrap();
    });
}

/// What has to come, comes soon, however long the runtime would wait.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it hangs")
}

fn client(name: &str) -> PodId {
    PodId::new("shop", name)
}

/// A server that anybody may reach, and clients that may not send anything.
async fn isolated_clients(scene: &mut Scene) {
    let server = namespace("shop", "") + &pod("shop", "server", "", &["http/TCP/80"]);
    scene.write("server.yaml", &server);
    let nothing_out = "podSelector: {matchLabels: {role: client}}, policyTypes: [Egress]";
    scene.write("policy.yaml", &policy("shop", "nothing-out", nothing_out));
    scene.agree("the server alone").await;
}

fn sandbox(scene: &Scene, name: &str) -> PodSandbox {
    sandbox_in(scene.lab(), name)
}

/// The sandbox of a pod that the lab runs.
fn sandbox_in(lab: &Lab, name: &str) -> PodSandbox {
    let pod = &lab.pods()[&client(name)];
    PodSandbox {
        id: format!("sandbox-of-{name}"),
        pod: client(name),
        uid: format!("uid-of-{name}"),
        labels: BTreeMap::from([("role".to_owned(), "client".to_owned())]),
        addresses: pod.addresses().to_vec(),
        network: Some(pod.namespace().path()),
        process: std::process::id(),
    }
}

async fn first_packets(scene: &Scene, from: &str) -> [Outcome; 2] {
    first_packets_in(scene.lab(), from).await
}

/// What becomes of a pod's first connections, one of each family.
async fn first_packets_in(lab: &Lab, from: &str) -> [Outcome; 2] {
    let probe = |family| Probe {
        from: Party::Pod(client(from)),
        to: Party::pod("shop", "server"),
        family,
        traffic: Traffic::Port(Protocol::Tcp, 80),
    };
    let patience = ANSWER.min(SILENCE * 2);
    outcomes(lab, &Family::ALL.map(probe), patience).await.try_into().unwrap()
}

async fn started(scene: &Scene, outcome: &str) -> u64 {
    scene.metric(&format!("enforcer_pod_sandboxes_total{{outcome=\"{outcome}\"}}")).await
}

const CLOSED: [Outcome; 2] = [Outcome::TimedOut, Outcome::TimedOut];
const OPEN: [Outcome; 2] = [Outcome::Open, Outcome::Open];

/// From the first packet that a pod's containers send, though no manifest tells of the pod.
async fn from_the_first_packet_on(scene: &mut Scene, mut plugin: Plugin) {
    assert_eq!((plugin.name.as_str(), plugin.events), ("90-enforcer", 0b111));
    assert!(soon(plugin.lacks("CreateContainer")).await.unwrap());
    isolated_clients(scene).await;
    // Nobody announces this one: nobody knows it, and it may do anything.
    scene.lab_mut().add_unreported_pod(&client("unannounced"), web()).await.unwrap();
    assert_eq!(first_packets(scene, "unannounced").await, OPEN);

    scene.lab_mut().add_unreported_pod(&client("announced"), web()).await.unwrap();
    let announced = sandbox(scene, "announced");
    soon(plugin.run_pod(&announced)).await.unwrap();
    assert_eq!(first_packets(scene, "announced").await, CLOSED);
    assert_eq!(started(scene, "programmed").await, 1);
    let status = scene.status().await;
    assert_eq!((status.nri.state.as_str(), status.nri.sandboxes), ("connected", 1));
    assert_eq!(status.nri.about, "stand-in v1");

    // The source knows better, once it knows: another label, and no policy for it.
    scene.write("client.yaml", &pod("shop", "announced", "role: friend", &["http/TCP/80"]));
    scene.lab().report_pod(&client("announced")).unwrap();
    until("the source's word counts", async || first_packets(scene, "announced").await == OPEN)
        .await;
    // The runtime stops it; until its interface is gone, nothing passes there.
    soon(plugin.stop_pod(&announced)).await.unwrap();
    until("its addresses are nobody's", async || first_packets(scene, "announced").await == CLOSED)
        .await;
    assert_eq!(scene.status().await.nri.sandboxes, 0);
}

#[test]
fn c6_the_first_packet_is_judged_on_kubenet() {
    with_runtime(Topology::Kubenet, Dialect::Current, LONG, async |scene, _runtime, plugin| {
        from_the_first_packet_on(scene, plugin).await;
    });
}

#[test]
fn c6_the_first_packet_is_judged_on_azure_cni() {
    with_runtime(Topology::AzureCni, Dialect::Later, LONG, async |scene, _runtime, plugin| {
        from_the_first_packet_on(scene, plugin).await;
    });
}

/// No answer before there is an interface to program, and then it comes.
async fn the_answer_waits(scene: &mut Scene, mut plugin: Plugin) {
    isolated_clients(scene).await;
    // The next pod gets the address that this one leaves.
    scene.lab_mut().add_unreported_pod(&client("late"), web()).await.unwrap();
    let announced = sandbox(scene, "late");
    scene.lab_mut().vanish(&client("late")).await.unwrap();
    let answered = Cell::new(false);
    let runtime = async {
        plugin.run_pod(&announced).await.unwrap();
        answered.set(true);
    };
    let network = async {
        until("the pod waits", async || scene.status().await.nri.sandboxes == 1).await;
        assert_eq!(scene.metric("enforcer_nri{state=\"connected\"}").await, 1);
        assert!(!answered.get(), "answered before there was anything to program");
        scene.lab_mut().add_unreported_pod(&client("late"), web()).await.unwrap();
    };
    soon(async { tokio::join!(runtime, network) }).await;
    assert_eq!(sandbox(scene, "late"), announced, "the address did not move");
    assert_eq!(first_packets(scene, "late").await, CLOSED);
}

#[test]
fn c6_the_answer_waits_until_there_is_an_interface() {
    with_runtime(Topology::AzureCni, Dialect::Current, LONG, async |scene, _runtime, plugin| {
        the_answer_waits(scene, plugin).await;
    });
}

/// The runtime gives the address to the next pod while the source still shows the last one's.
async fn an_address_goes_on(scene: &mut Scene, mut plugin: Plugin) {
    isolated_clients(scene).await;
    // A friend may send anything; the source knows the pod and its addresses.
    scene.lab_mut().add_unreported_pod(&client("friend"), web()).await.unwrap();
    let mut friend = sandbox(scene, "friend");
    friend.labels.clear();
    soon(plugin.run_pod(&friend)).await.unwrap();
    scene.write("friend.yaml", &pod("shop", "friend", "role: friend", &["http/TCP/80"]));
    scene.lab().report_pod(&client("friend")).unwrap();
    until("the source knows it", async || scene.metric("enforcer_pods").await == 2).await;
    assert_eq!(first_packets(scene, "friend").await, OPEN);

    soon(plugin.stop_pod(&friend)).await.unwrap();
    scene.lab_mut().vanish(&client("friend")).await.unwrap();
    scene.lab_mut().add_unreported_pod(&client("next"), web()).await.unwrap();
    let next = sandbox(scene, "next");
    assert_eq!(next.addresses, friend.addresses, "the address did not move");
    soon(plugin.run_pod(&next)).await.unwrap();
    assert_eq!(first_packets(scene, "next").await, CLOSED, "the friend's rights");
    assert_eq!(started(scene, "programmed").await, 2);
}

#[test]
fn c5_c6_the_next_pod_has_nothing_of_the_last_ones_rights() {
    with_runtime(Topology::Kubenet, Dialect::Current, LONG, async |scene, _runtime, plugin| {
        an_address_goes_on(scene, plugin).await;
    });
}

#[test]
fn c6_a_runtime_that_tells_no_addresses_names_the_namespace() {
    with_runtime(Topology::Kubenet, Dialect::Old, LONG, async |scene, _runtime, mut plugin| {
        isolated_clients(scene).await;
        scene.lab_mut().add_unreported_pod(&client("by-path"), web()).await.unwrap();
        soon(plugin.run_pod(&sandbox(scene, "by-path"))).await.unwrap();
        assert_eq!(first_packets(scene, "by-path").await, CLOSED);
        assert_eq!(started(scene, "programmed").await, 1);
        // Neither here nor there.
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
fn c6_a_pod_starts_though_it_cannot_be_programmed() {
    with_runtime(
        Topology::AzureCni,
        Dialect::Current,
        SHORT,
        async |scene, _runtime, mut plugin| {
            isolated_clients(scene).await;
            scene.lab_mut().add_unreported_pod(&client("one"), web()).await.unwrap();
            // Addresses that no interface has.
            let elsewhere = PodSandbox {
                addresses: vec!["192.0.2.77".parse().unwrap()],
                ..sandbox(scene, "one")
            };
            soon(plugin.run_pod(&elsewhere)).await.unwrap();
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
            // Both were no reason to give up on the runtime.
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
            scene.lab_mut().add_unreported_pod(&client(name), web()).await.unwrap();
            soon(plugin.run_pod(&sandbox(scene, name))).await.unwrap();
        }
        drop((plugin, runtime));
        until("the agent says so", async || {
            let status = scene.status().await;
            status.nri.state == "absent" && !status.ready
        })
        .await;
        // What it knew of the pods stays.
        assert_eq!(first_packets(scene, "before").await, CLOSED);
        let again = Runtime::listen(&scene.lab().nodes()[0].runtime_socket()).unwrap();
        soon(again.refuse()).await.unwrap();
        // One pod still runs; of the other the sandbox is left.
        let running =
            [sandbox(scene, "before"), PodSandbox { process: 0, ..sandbox(scene, "stopped") }];
        let mut plugin = soon(again.accept(Dialect::Later, LONG, &running)).await.unwrap();
        until("the agent is ready again", async || scene.status().await.ready).await;
        assert!(scene.log().contains("did not accept the plugin"), "{}", scene.log());
        until("the list counts", async || scene.status().await.nri.sandboxes == 1).await;
        assert_eq!(first_packets(scene, "before").await, CLOSED);
        scene.lab_mut().add_unreported_pod(&client("after"), web()).await.unwrap();
        soon(plugin.run_pod(&sandbox(scene, "after"))).await.unwrap();
        assert_eq!(first_packets(scene, "after").await, CLOSED);
    });
}

#[test]
fn c6_the_runtime_does_not_wait_for_an_agent_that_dies() {
    with_runtime(Topology::Kubenet, Dialect::Current, LONG, async |scene, runtime, mut plugin| {
        isolated_clients(scene).await;
        scene.lab_mut().add_unreported_pod(&client("one"), web()).await.unwrap();
        let elsewhere =
            PodSandbox { addresses: vec!["192.0.2.77".parse().unwrap()], ..sandbox(scene, "one") };
        let die = async {
            until("the pod waits", async || scene.status().await.nri.sandboxes == 1).await;
            scene.agent().unwrap().signal(nix::sys::signal::Signal::SIGKILL).unwrap();
        };
        let (answer, ()) = soon(async { tokio::join!(plugin.run_pod(&elsewhere), die) }).await;
        assert_eq!(answer.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
        // Its end is no success.
        scene.stop_agent().await.unwrap_err();
        let (started, plugin) =
            tokio::join!(scene.start_agent(), runtime.accept(Dialect::Current, LONG, &[]));
        started.unwrap();
        soon(plugin.unwrap().run_pod(&sandbox(scene, "one"))).await.unwrap();
        assert_eq!(first_packets(scene, "one").await, CLOSED);
    });
}

/// What is known in part may allow too much: an agent that has not seen everything lets pods wait.
#[test]
fn c4_c6_a_pod_waits_until_the_first_lists_are_complete() {
    in_sandbox(async move |in_sandbox| {
        let server = ApiServer::new().unwrap();
        let runtime =
            Runtime::listen(&Path::new(LAB_DIR).join(format!("nri-{NODE_NAMESPACE}.sock")));
        let runtime = runtime.unwrap();
        let manifests = Path::new(LAB_DIR).join("manifests");
        fs::create_dir_all(&manifests).unwrap();
        let options = SessionOptions {
            settle: PATIENCE,
            api: Some(server.clone()),
            arguments: ["--nri", "required"].map(Into::into).into(),
            ..SessionOptions::new(manifests, spawner(), Some(agent()))
        };
        let (session, plugin) = tokio::join!(
            Session::start(in_sandbox, Topology::AzureCni, options),
            runtime.accept(Dialect::Current, LONG, &[])
        );
        let (mut session, plugin) = (session.unwrap(), plugin.unwrap());
        let nothing_out = "podSelector: {matchLabels: {role: client}}, policyTypes: [Egress]";
        let pods = namespace("shop", "") + &pod("shop", "server", "", &["http/TCP/80"]);
        let policy = policy("shop", "nothing-out", nothing_out);
        server.store().apply(&(pods + &policy)).unwrap();
        let applied = session.apply().await.unwrap();
        assert!(applied.matrix.all_good(), "{:?}", applied.notes);

        drop(plugin);
        session.kill_agent().await.unwrap();
        session.api_leaves().await.unwrap();
        session.launch_agent().await.unwrap();
        let mut plugin = soon(runtime.accept(Dialect::Current, LONG, &[])).await.unwrap();
        session.lab_mut().add_unreported_pod(&client("early"), web()).await.unwrap();
        let early = sandbox_in(session.lab(), "early");
        let answered = Cell::new(false);
        let start = async {
            plugin.run_pod(&early).await.unwrap();
            answered.set(true);
        };
        let api = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(!answered.get(), "answered by an agent that knows nothing");
            session.api_returns().await.unwrap();
        };
        soon(async { tokio::join!(start, api) }).await;
        assert_eq!(first_packets_in(session.lab(), "early").await, CLOSED);
        session.stop_agent().await.unwrap();
    });
}

#[test]
fn c6_without_such_a_runtime_the_agent_says_so_and_works() {
    with_agent(Topology::Kubenet, async |scene| {
        let status = scene.status().await;
        assert_eq!((status.nri.state.as_str(), status.ready), ("absent", true));
        assert!(status.nri.about.contains("nri-node.sock"), "{}", status.nri.about);
        assert_eq!(scene.metric("enforcer_nri{state=\"absent\"}").await, 1);
        assert!(scene.log().contains("pods may run before they are programmed"));
        isolated_clients(scene).await;
    });
}
