//! The cost of watching a cluster: memory and CPU time of the real agent, with an API server with
//! many pods. The pods run on other nodes, but policies select them as peers.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::{Value, json};

use super::lab::{in_sandbox, lines, options};
use crate::api::{ApiServer, kinds};
use crate::lab::{Sandbox, Topology};
use crate::session::{Session, SessionOptions};

/// Pods in each namespace; one policy for each namespace.
const PODS_OF_A_NAMESPACE: usize = 50;
/// The pause after the agent's start.
const SETTLE: Duration = Duration::from_secs(3);
/// The duration of the measurements at rest and during changes.
const CHURN: Duration = Duration::from_secs(10);

/// The agent's resources for a cluster of some size.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Watched {
    /// Pods in the cluster.
    pub pods: usize,
    /// Resident memory in MiB, including the program and the mapped kernel tables.
    pub rss_mib: f64,
    /// Anonymous memory in MiB.
    pub anonymous_mib: f64,
    /// CPU time from start to ready, seconds.
    pub start_seconds: f64,
    /// From the arrival of the last list's end until all of the lists is enforced, seconds.
    pub enforced_seconds: f64,
    /// CPU time at rest, percent of one core.
    pub rest_percent: f64,
    /// CPU time during changes, percent of one core.
    pub churn_percent: f64,
    /// Changes a second.
    pub changes_per_second: u32,
    /// Received for the first lists, MiB, with the headers of TCP and IP and with acknowledgements.
    pub list_mib: f64,
    /// Received at rest, bytes a second.
    pub rest_bytes: f64,
    /// Received for each change, bytes.
    pub change_bytes: f64,
}

/// Measures with a cluster of this number of pods, at this number of changes a second.
pub(super) fn measure(pods: usize, changes_per_second: u32) -> anyhow::Result<Watched> {
    in_sandbox(async |sandbox| in_lab(sandbox, pods, changes_per_second).await)
}

async fn in_lab(
    sandbox: &Sandbox,
    pods: usize,
    changes_per_second: u32,
) -> anyhow::Result<Watched> {
    let (_, options) = options()?;
    let server = ApiServer::new()?;
    let store = server.store();
    for namespace in 0..pods.div_ceil(PODS_OF_A_NAMESPACE) {
        store.put(&kinds::NAMESPACES, self::namespace(namespace))?;
        store.put(&kinds::NETWORK_POLICIES, policy(namespace))?;
    }
    for number in 0..pods {
        store.put(&kinds::PODS, pod(number, "first"))?;
    }
    // The stand-in needs a while for the lists of a large cluster.
    let ready = Duration::from_secs(300);
    let arguments = ["--log-format", "json"].map(Into::into).to_vec();
    let options = SessionOptions { api: Some(server.clone()), arguments, ready, ..options };
    let session = Session::start(sandbox, Topology::AzureCni, options).await?;
    let listed = received(&session).await?;
    let process = session.agent().and_then(crate::lab::Agent::pid).context("no agent runs")?;
    let start_seconds = cpu_seconds(process)?;
    let log = session.log_file(0).context("there is no log")?;
    let enforced_seconds = enforced_seconds(&fs::read_to_string(log)?)?;
    tokio::time::sleep(SETTLE).await;
    let (rss_mib, anonymous_mib) = (memory(process, "VmRSS:")?, memory(process, "RssAnon:")?);
    let before = received(&session).await?;
    let rest_percent = load(process, async || tokio::time::sleep(CHURN).await).await?;
    let rested = received(&session).await?;
    let mut changes = 0;
    let churn_percent =
        load(process, async || changes = churn(&server, pods, changes_per_second).await).await?;
    let churned = received(&session).await?;
    Ok(Watched {
        pods,
        rss_mib,
        anonymous_mib,
        start_seconds,
        enforced_seconds,
        rest_percent,
        churn_percent,
        changes_per_second,
        list_mib: listed / f64::from(1 << 20),
        rest_bytes: (rested - before) / CHURN.as_secs_f64(),
        change_bytes: (churned - rested) / f64::from(changes),
    })
}

/// The time from the last list to its enforcement, by the agent's log.
fn enforced_seconds(log: &str) -> anyhow::Result<f64> {
    let mut lines = lines(log).map(|mut line| line["fields"].take());
    let line = lines.find(|it| it["message"] == "the first complete state is enforced");
    line.and_then(|it| it["seconds"].as_f64()).context("the agent's log has no such time")
}

/// The bytes on the loopback interface of the agent's node so far: only the API server is there, and the
/// probes for readiness.
async fn received(session: &Session) -> anyhow::Result<f64> {
    let read = || fs::read_to_string("/proc/thread-self/net/dev");
    let text = session.lab().node().io("read the counters of interfaces", read).await?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:"));
    let bytes =
        line.and_then(|line| line.split_whitespace().next()).context("no counters of lo")?;
    Ok(bytes.parse()?)
}

/// The CPU time in percent of one core while `meanwhile` runs.
async fn load(process: u32, meanwhile: impl AsyncFnOnce()) -> anyhow::Result<f64> {
    let (before, started) = (cpu_seconds(process)?, Instant::now());
    meanwhile().await;
    Ok((cpu_seconds(process)? - before) / started.elapsed().as_secs_f64() * 100.0)
}

/// Changes labels of pods, one after another, and so the peers of policies. Returns how many it changed.
async fn churn(server: &ApiServer, pods: usize, changes_per_second: u32) -> u32 {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / changes_per_second);
    let started = Instant::now();
    let mut changed = 0;
    for number in 0.. {
        ticks.tick().await;
        if started.elapsed() > CHURN {
            break;
        }
        let role = if (number / pods).is_multiple_of(2) { "second" } else { "first" };
        // Only malformed objects are refused; these were stored before.
        let _ = server.store().put(&kinds::PODS, pod(number % pods, role));
        changed += 1;
    }
    changed
}

fn name(namespace: usize) -> String {
    format!("team-{namespace}")
}

fn namespace(number: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name(number)}})
}

fn policy(number: usize) -> Value {
    let from = json!([{"podSelector": {"matchLabels": {"role": "first"}}}]);
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": name(number), "name": "only-some"},
        "spec": {"podSelector": {}, "ingress": [{"from": from}]},
    })
}

/// A pod with about as many fields as a real one.
fn pod(number: usize, role: &str) -> Value {
    let address = format!("10.{}.{}.{}", 100 + number / 65_536, number / 256 % 256, number % 256);
    let labels = json!({
        "app.kubernetes.io/name": format!("app-{}", number % 200), "app.kubernetes.io/part-of": "bench",
        "pod-template-hash": "6d4cf56db6", "role": role,
    });
    let environment: Vec<_> = (0..20)
        .map(|it| json!({"name": format!("VARIABLE_{it}"), "value": "some value"}))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": name(number / PODS_OF_A_NAMESPACE), "name": format!("pod-{number}"),
            "uid": format!("00000000-0000-4000-8000-{number:012}"), "labels": labels,
            "annotations": {"description": "x".repeat(500)},
        },
        "spec": {
            "nodeName": format!("elsewhere-{}", number / 30),
            "containers": [{
                "name": "main", "image": "registry.example.org/team/app:1.2.3", "env": environment,
                "ports": [{"name": "http", "containerPort": 8080}],
            }],
        },
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    })
}

/// A field of `/proc/PID/status`, in MiB.
fn memory(process: u32, field: &str) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_whitespace().next()).context("no such field")?;
    Ok(number.parse::<f64>()? / 1024.0)
}

/// CPU time of a process so far (proc_pid_stat(5), in ticks of a hundredth of a second).
fn cpu_seconds(process: u32) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let [user, system] = [11, 12].map(|at| fields.get(at).and_then(|it| it.parse::<f64>().ok()));
    match (user, system) {
        (Some(user), Some(system)) => Ok((user + system) / 100.0),
        _ => bail!("/proc/{process}/stat is not as proc_pid_stat(5) says"),
    }
}
