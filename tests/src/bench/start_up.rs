//! The time until pods are guarded: all of a node's at the agent's start, and many new ones at once.
//! Real interfaces, the real agent; the times are those of its log.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::json;

use super::lab::{in_sandbox, lines, options};
use crate::host::replace_file;
use crate::lab::{Crowd, Joined, Sandbox, Topology};
use crate::session::{Session, SessionOptions};

/// Pods that are there when the agent starts.
const PRESENT: u16 = 250;
/// Pods that come at once.
const NEW: u16 = 60;
/// The longest wait for the agent.
const PATIENCE: Duration = Duration::from_secs(60);
/// A pause in which everything comes to rest.
const REST: Duration = Duration::from_secs(5);

/// Times until pods have their programs and, before them, their policy, in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct StartUp {
    /// How programs are attached.
    pub by: &'static str,
    /// Which pods.
    pub pods: &'static str,
    /// The number of pods.
    pub number: usize,
    /// The first one's.
    pub least_ms: f64,
    /// The median.
    pub median_ms: f64,
    /// The last one's.
    pub most_ms: f64,
}

/// Measures by links, as far as the kernel has them, and by filters.
pub(super) fn measure() -> anyhow::Result<Vec<StartUp>> {
    let mut rows = Vec::new();
    for (by, attach) in [("TCX", "auto"), ("clsact", "clsact")] {
        rows.extend(in_sandbox(async |sandbox| in_lab(sandbox, by, attach).await)?);
    }
    Ok(rows)
}

async fn in_lab(sandbox: &Sandbox, by: &'static str, attach: &str) -> anyhow::Result<[StartUp; 2]> {
    let (directory, options) = options()?;
    let agent = options.agent.clone().context("there is no agent")?;
    let filter = "info,enforcer::agent::attach=debug";
    let arguments = ["--log", filter, "--log-format", "json", "--attach", attach];
    let arguments = arguments.into_iter().map(Into::into).collect();
    let options = SessionOptions { agent: None, arguments, ..options };
    let mut session = Session::start(sandbox, Topology::AzureCni, options).await?;
    replace_file(&directory.join("pods.yaml"), &manifests(&session)?)?;
    let crowd = Crowd::new().await?;
    let present = crowd.join(session.lab(), 0..PRESENT).await?;
    tokio::time::sleep(REST).await;
    session.set_agent(agent);
    let started_at = SystemTime::now();
    session.start_agent().await?;
    let log = session.log_file(0).context("there is no log")?;
    let at_start = present.into_iter().map(|it| Joined { created_at: started_at, ..it });
    let times = times(&log, &at_start.collect::<Vec<_>>()).await?;
    let first = summary(by, "at the agent's start", times);
    tokio::time::sleep(REST).await;
    let new = crowd.join(session.lab(), PRESENT..PRESENT + NEW).await?;
    let second = summary(by, "new at once", self::times(&log, &new).await?);
    session.check_agent()?;
    session.stop_agent().await?;
    Ok([first, second])
}

/// The pods as the API would report them, and a policy that isolates them.
fn manifests(session: &Session) -> anyhow::Result<String> {
    let node = session.lab().node_at(0)?.site().name();
    let mut text = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": "crowd", "name": "only-each-other"},
        "spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]},
    })
    .to_string();
    for number in 0..PRESENT + NEW {
        let address = Crowd::address(number);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "crowd", "name": format!("member-{number}")},
            "spec": {"nodeName": node, "containers": [{"name": "main", "image": "example.org/main"}]},
            "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
        });
        write!(text, "\n---\n{pod}")?;
    }
    Ok(text)
}

/// The milliseconds from each interface's creation until its programs were attached.
async fn times(log: &Path, joined: &[Joined]) -> anyhow::Result<Vec<f64>> {
    let started_at = Instant::now();
    loop {
        let attached = attached(&fs::read_to_string(log)?);
        let took = joined.iter().map(|it| {
            let at = attached.get(&it.interface)?;
            Some(at.duration_since(it.created_at).unwrap_or_default().as_secs_f64() * 1e3)
        });
        if let Some(took) = took.collect() {
            return Ok(took);
        }
        if started_at.elapsed() > PATIENCE {
            bail!("not all interfaces have programs after {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// When each interface's programs were attached for the first time, by the agent's log.
fn attached(log: &str) -> BTreeMap<String, SystemTime> {
    let mut first = BTreeMap::new();
    for line in lines(log) {
        let fields = &line["fields"];
        let (Some(name), Some(at)) = (fields["interface"].as_str(), line["timestamp"].as_str())
        else {
            continue;
        };
        if let (Some("programs attached"), Ok(at)) =
            (fields["message"].as_str(), at.parse::<jiff::Timestamp>())
        {
            first.entry(name.to_owned()).or_insert_with(|| SystemTime::from(at));
        }
    }
    first
}

fn summary(by: &'static str, pods: &'static str, mut times: Vec<f64>) -> StartUp {
    times.sort_by(f64::total_cmp);
    let at = |place: usize| times.get(place).copied().unwrap_or(f64::NAN);
    StartUp {
        by,
        pods,
        number: times.len(),
        least_ms: at(0),
        median_ms: at(times.len() / 2),
        most_ms: at(times.len().saturating_sub(1)),
    }
}
