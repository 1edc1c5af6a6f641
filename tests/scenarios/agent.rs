//! The agent from an operator's view: readiness, metrics, status, log, invalid manifests, its end.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use enforcer_core::model::{Protocol, Traffic};
use enforcer_tests::lab::{Family, Lab, Party, Topology};
use enforcer_tests::matrix::{Scope, probes};
use enforcer_tests::probe::{Outcome, Probe};
use enforcer_tests::session::AGENT_PORT;

use crate::scene::{INGRESS_ISOLATED, Scene, Setup, namespace, pod, policy, until, with_scene};
use crate::support::{ANSWER, SILENCE, outcomes};

/// Isolates the server.
const SERVER: &str = "podSelector: {matchLabels: {app: server}}";

fn cluster() -> String {
    [
        namespace("shop", ""),
        pod("shop", "server", "app: server", &["http/TCP/80", "dns/UDP/53"]),
        pod("shop", "client", "app: client", &["http/TCP/80"]),
    ]
    .concat()
}

/// Enforces that the server lets nothing in.
pub(crate) async fn isolate_server(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster());
    scene.write("policy.yaml", &policy("shop", "nothing-in", SERVER));
    scene.agree("nothing in").await;
}

fn client_to_server(lab: &Lab) -> Vec<Probe> {
    let (client, server) = (Party::pod("shop", "client"), Party::pod("shop", "server"));
    let all = probes(lab, Scope::Pods).into_iter();
    all.filter(|probe| probe.from == client && probe.to == server).collect()
}

/// The destination port of the datagrams of [`send`]: no process listens.
const NOWHERE: u16 = 4242;

/// Waits until all drops are reported again: the probes so far may have spent the server's budget of
/// events, which is whole again after two seconds at most.
pub(crate) async fn budget_renewed() {
    tokio::time::sleep(Duration::from_millis(2_100)).await;
}

/// Sends `count` datagrams from the client to the server, and expects no answer.
pub(crate) async fn send(lab: &Lab, family: Family, count: u64) {
    let server = lab.address(&Party::pod("shop", "server"), family).unwrap();
    let own = lab.address(&Party::pod("shop", "client"), family).unwrap();
    let client = lab.namespace(&Party::pod("shop", "client")).unwrap();
    let sending = move || {
        let socket = std::net::UdpSocket::bind((own, 0))?;
        (0..count).try_for_each(|_| socket.send_to(b"?", (server, NOWHERE)).map(drop))
    };
    client.io("send", sending).await.unwrap();
}

#[test]
fn every_dropped_packet_is_counted_once() {
    with_scene(Topology::Kubenet, async |scene| {
        // Active before the first packet: a connection that a policy cuts is retransmitted, and
        // each time dropped and counted.
        scene.write("policy.yaml", &policy("shop", "nothing-in", SERVER));
        scene.write("cluster.yaml", &cluster());
        scene.run_pods().await;
        until("the policy is active", async || scene.metric(INGRESS_ISOLATED).await == 1).await;
        let mut sent = 0;
        for family in Family::ALL {
            send(scene.lab(), family, 50).await;
            sent += 50;
            until("the drops are counted", async || scene.denied().await >= sent).await;
            // A packet counted twice shows before this probe times out.
            let mut probes = client_to_server(scene.lab()).into_iter();
            let udp = Traffic::Port(Protocol::Udp, 53);
            let probe = probes.find(|it| it.family == family && it.traffic == udp).unwrap();
            assert_eq!(probe.run(scene.lab(), SILENCE).await.unwrap(), Outcome::TimedOut);
            sent += 1;
            assert_eq!(scene.denied().await, sent);
        }
    });
}

#[test]
fn the_log_of_drops_names_both_pods() {
    with_scene(Topology::AzureCni, async |scene| {
        isolate_server(scene).await;
        budget_renewed().await;
        for family in Family::ALL {
            let line = |lab: &Lab| {
                let of = |name: &str| lab.address(&Party::pod("shop", name), family).unwrap();
                let to = SocketAddr::new(of("server"), NOWHERE);
                let from = of("client");
                let from = if from.is_ipv6() { format!("[{from}]") } else { from.to_string() };
                let start = format!("shop/client {from}:");
                let end =
                    format!(" → shop/server {to} UDP denied at ingress: isolated by nothing-in");
                (start, end)
            };
            let (start, end) = line(scene.lab());
            send(scene.lab(), family, 1).await;
            until("the drop is logged", async || {
                scene.log().lines().any(|it| it.contains(&start) && it.ends_with(&end))
            })
            .await;
            let recent = scene.status().await.drops;
            let lines = recent.iter().map(|it| it.drop.to_string());
            let line = lines.into_iter().find(|it| it.starts_with(&start) && it.contains(&end));
            assert!(line.is_some(), "{recent:?}");
        }
    });
}

#[test]
fn commands_show_drops_with_their_policies_and_pods_with_their_protection() {
    with_scene(Topology::AzureCni, async |scene| {
        isolate_server(scene).await;
        budget_renewed().await;
        send(scene.lab(), Family::V4, 2).await;
        let line = format!(":{NOWHERE} UDP denied at ingress: isolated by nothing-in");
        until("the drops are listed, repeats counted", async || {
            let (code, text) = command(scene, &["drops", "--namespace", "shop"]).await;
            assert_eq!(code, Some(0), "{text}");
            let mut ours = text.lines().filter(|it| it.contains(&line));
            ours.next_back().is_some_and(|it| it.ends_with(" (2 packets)"))
        })
        .await;
        let (_, text) = command(scene, &["drops", "--output", "json"]).await;
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!((&last["version"], &last["kind"]), (&1.into(), &"drop".into()), "{last}");
        assert_eq!((&last["from_workload"], &last["repeats"]), (&"shop/client".into(), &1.into()));
        assert_eq!(command(scene, &["drops", "--namespace", "nothing"]).await.1, "");

        let (_, text) = command(scene, &["status"]).await;
        let pod = |name: &str| text.lines().find(|it| it.starts_with(name)).unwrap().to_owned();
        assert!(text.starts_with("enforcer ") && text.contains(": ready"), "{text}");
        assert!(pod("shop/server").contains("nothing-in"), "{text}");
        assert!(pod("shop/client").contains("open"), "{text}");
        let (_, text) = command(scene, &["status", "--pod", "shop/server"]).await;
        assert!(text.contains("ingress: isolated by shop/nothing-in"), "{text}");
        assert!(text.contains("Last drops:"), "{text}");
        let (code, text) = command(scene, &["top", "--count", "1", "--interval", "1"]).await;
        assert!(code == Some(0) && text.contains("shop/server"), "{text}");
        let series = r#"enforcer_drop_attempts_total{namespace="shop",workload="server",direction="ingress",reason="denied",policy="shop/nothing-in"}"#;
        until("the attempt is counted", async || scene.metric(series).await >= 1).await;
    });
}

#[test]
fn the_status_lists_each_pod_with_its_interface_and_isolation() {
    with_scene(Topology::Kubenet, async |scene| {
        isolate_server(scene).await;
        let status = scene.status().await;
        assert!(status.ready);
        assert!(status.problems.is_empty(), "{:?}", status.problems);
        assert_eq!((status.policies, status.pods, status.namespaces), (1, 2, 1));
        let listed: Vec<_> = status
            .endpoints
            .iter()
            .map(|it| (it.pod.clone(), it.interface.ifindex, it.interface.addresses.clone()))
            .collect();
        let expected: Vec<_> = scene
            .lab()
            .pods()
            .iter()
            .map(|(id, pod)| {
                (id.to_string(), pod.interface(), pod.addresses().iter().copied().collect())
            })
            .collect();
        assert_eq!(listed, expected);
        let isolation = |pod: &str| {
            let endpoint = status.endpoints.iter().find(|it| it.pod == pod).unwrap();
            format!("{:?} {:?}", endpoint.ingress, endpoint.egress)
        };
        assert_eq!(isolation("shop/server"), "Isolated NotIsolated");
        assert_eq!(isolation("shop/client"), "NotIsolated NotIsolated");
    });
}

#[test]
fn c4_ready_means_that_policies_are_enforced() {
    with_scene(Topology::AzureCni, async |scene| {
        isolate_server(scene).await;
        for path in ["/readyz", "/healthz"] {
            assert!(scene.get(path).await.starts_with("HTTP/1.1 200"), "{path}");
        }
        scene.stop_agent().await.unwrap();
        scene.try_get("/readyz").await.unwrap_err();
        // The new agent starts without state: the first packet after "ready" must be denied.
        scene.start_agent().await.unwrap();
        let outcomes = outcomes(scene.lab(), &client_to_server(scene.lab()), SILENCE).await;
        assert!(outcomes.iter().all(|it| *it == Outcome::TimedOut), "{outcomes:?}");
    });
}

/// Seconds since the agent's main loop last ran.
async fn heartbeat_age(scene: &Scene) -> f64 {
    let text = scene.get("/metrics").await;
    let age = text.lines().find_map(|line| line.strip_prefix("enforcer_heartbeat_age_seconds "));
    age.unwrap().parse().unwrap()
}

#[test]
fn an_idle_agent_is_healthy() {
    with_scene(Topology::Kubenet, async |scene| {
        let mut before = 0.0;
        for _ in 0..2 {
            until("the loop runs though nothing happens", async || {
                let now = heartbeat_age(scene).await;
                now < std::mem::replace(&mut before, now)
            })
            .await;
        }
        assert!(scene.get("/healthz").await.starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn an_agent_without_pins_removes_its_programs() {
    with_scene(Setup::with(Topology::Kubenet, &["--pins", "off"]), async |scene| {
        isolate_server(scene).await;
        let probes = client_to_server(scene.lab());
        assert!(!scene.status().await.outlives_agent);
        scene.stop_agent().await.unwrap();
        let outcomes = outcomes(scene.lab(), &probes, ANSWER).await;
        assert!(outcomes.iter().all(|it| *it == Outcome::Open), "{outcomes:?}");
    });
}

/// A policy with an error in its fifth line.
const INVALID: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: nothing-in}
spec:
  podSelector: broken
";

#[test]
fn c4_an_invalid_manifest_keeps_the_last_good_state_until_it_is_fixed() {
    with_scene(Topology::AzureCni, async |scene| {
        isolate_server(scene).await;
        let probes = client_to_server(scene.lab());
        scene.write("policy.yaml", INVALID);
        until("the error is reported", async || {
            scene.metric("enforcer_manifest_errors").await == 1
        })
        .await;
        let problems = scene.status().await.problems;
        assert!(problems.iter().any(|it| it.contains("policy.yaml:5:16")), "{problems:?}");
        assert!(scene.log().contains("policy.yaml:5:16"));
        let outcomes = outcomes(scene.lab(), &probes, SILENCE).await;
        assert!(outcomes.iter().all(|it| *it == Outcome::TimedOut), "{outcomes:?}");
        // Fixed, and with another effect than before.
        let fixed = policy("shop", "nothing-in", &format!("{SERVER}, ingress: [{{}}]"));
        scene.write("policy.yaml", &fixed);
        let matrix = scene.agree("fixed").await;
        assert!(matrix.cells.iter().all(|cell| cell.measured == Outcome::Open));
        assert_eq!(scene.metric("enforcer_manifest_errors").await, 0);
        let problems = scene.status().await.problems;
        assert!(!problems.iter().any(|it| it.contains("policy.yaml")), "{problems:?}");
    });
}

/// Runs the agent's command line on the node, against the agent there; returns exit code and
/// output.
async fn command(scene: &Scene, arguments: &[&str]) -> (Option<i32>, String) {
    let at = format!("--status=127.0.0.1:{AGENT_PORT}");
    let arguments: Vec<&str> = arguments.iter().copied().chain([&*at]).collect();
    let output = scene.enforcer(&arguments).await;
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn the_log_level_can_be_changed_at_run_time() {
    with_scene(Topology::Kubenet, async |scene| {
        isolate_server(scene).await;
        budget_renewed().await;
        let logged =
            |scene: &Scene| scene.log().matches(&format!(":{NOWHERE} UDP denied at")).count();
        assert_eq!(command(scene, &["log-level"]).await, (Some(0), "info\n".to_owned()));
        let quiet = "enforcer::drops=off,info";
        assert_eq!(command(scene, &["log-level", quiet]).await, (Some(0), format!("{quiet}\n")));
        let before = scene.denied().await;
        send(scene.lab(), Family::V4, 3).await;
        until("the drops are reported", async || {
            let drops = scene.status().await.drops;
            let ours = drops.iter().filter(|it| it.drop.to_string().contains(":4242 UDP"));
            ours.map(|it| 1 + it.repeats).sum::<u64>() == 3
        })
        .await;
        assert!(scene.denied().await >= before + 3);
        assert_eq!(logged(scene), 0);
        let (code, message) = command(scene, &["log-level", "inof"]).await;
        assert_eq!(code, Some(2));
        assert!(message.contains("\"inof\" is not a level"), "{message}");
        assert_eq!(command(scene, &["log-level"]).await.1, format!("{quiet}\n"));
        command(scene, &["log-level", "info"]).await;
        send(scene.lab(), Family::V4, 1).await;
        until("the drop is logged", async || logged(scene) == 1).await;
        let (code, status) = command(scene, &["status", "--output", "json"]).await;
        let status: enforcer::observe::Status = serde_json::from_str(&status).unwrap();
        assert_eq!((code, status.ready), (Some(0), true));
    });
}

#[test]
fn c3_counts_by_namespace_outlive_pods_and_agents() {
    const DENIED: &str =
        r#"enforcer_drops_total{namespace="shop",pod="",direction="ingress",reason="denied"}"#;
    with_scene(Setup::with(Topology::AzureCni, &["--pod-metrics", "namespace"]), async |scene| {
        isolate_server(scene).await;
        send(scene.lab(), Family::V6, 20).await;
        until("the drops are counted", async || scene.metric(DENIED).await >= 20).await;
        assert!(!scene.get("/metrics").await.contains("pod=\"server\""));
        let before = scene.metric(DENIED).await;
        let client = [namespace("shop", ""), pod("shop", "client", "app: client", &[])].concat();
        scene.write("cluster.yaml", &client);
        scene.run_pods().await;
        assert_eq!(scene.metric(INGRESS_ISOLATED).await, 0);
        let ended = scene.metric(DENIED).await;
        assert!(ended >= before, "{ended} after {before}");
        assert!(scene.status().await.outlives_agent);
        assert_eq!(scene.metric("enforcer_taken_over").await, 0);
        scene.stop_agent().await.unwrap();
        scene.start_agent().await.unwrap();
        let resumed = scene.metric(DENIED).await;
        assert!(resumed >= ended, "{resumed} after {ended}");
        assert_eq!(scene.metric("enforcer_taken_over").await, 1);
        // The client, and the pod that ended, if its interface still existed.
        assert!(scene.metric("enforcer_taken_over_endpoints").await >= 1);
        // The next pod with the ended pod's id starts at zero, and adds to the sum.
        scene.write("cluster.yaml", &cluster());
        scene.run_pods().await;
        until("the policy is active", async || scene.metric(INGRESS_ISOLATED).await == 1).await;
        send(scene.lab(), Family::V6, 5).await;
        until("they are added", async || scene.metric(DENIED).await >= ended + 5).await;
    });
}

/// More connections than the agent may open files at first, each with an unfinished request.
const STRANGERS: usize = 1200;

#[test]
fn strangers_connections_keep_no_pod_unguarded_and_no_probe_waiting() {
    with_scene(Topology::AzureCni, async |scene| {
        isolate_server(scene).await;
        let open = || {
            let at = SocketAddr::from(([127, 0, 0, 1], AGENT_PORT));
            let connect = |_| {
                let mut stream = TcpStream::connect(at)?;
                stream.write_all(b"GET /metrics HTTP/1.1\r\nx: ")?;
                Ok(stream)
            };
            (0..STRANGERS).map(connect).collect::<std::io::Result<Vec<_>>>()
        };
        let strangers = scene.lab().node().io("connect", open).await.unwrap();
        let more = pod("shop", "more", "app: server", &["http/TCP/80"]);
        scene.write("cluster.yaml", &(cluster() + &more));
        scene.agree("a pod that starts meanwhile").await;
        assert!(scene.metric("process_open_fds").await < 512);
        drop(strangers);
    });
}
