//! The time from saving a policy to its effect on packets: real packets, the real agent.
//!
//! A pod sends 20,000 packets per second to another, each containing its sending time. A policy
//! that denies or allows them is saved in turns. A denial takes effect with the first packet that
//! does not arrive, an allowance with the first one that does. Both times are sending times, so
//! that delays of the receiver do not count.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use nix::sys::prctl::set_timerslack;
use serde::Serialize;

use super::lab::{in_sandbox, options};
use crate::api::ApiServer;
use crate::host::replace_file;
use crate::lab::{Family, Party, Sandbox, Topology};
use crate::session::{Session, SessionOptions};

/// The interval of packets.
const PERIOD: Duration = Duration::from_micros(50);
/// The silence after which packets count as denied rather than late.
const SILENCE: Duration = Duration::from_millis(60);
/// The longest time to wait for an effect.
const PATIENCE: Duration = Duration::from_secs(10);
const PORT: u16 = 7000;

const PODS: &str = "apiVersion: v1
kind: Namespace
metadata: {name: bench}
---
apiVersion: v1
kind: Pod
metadata: {namespace: bench, name: sender}
spec: {containers: [{name: main, image: example.org/main}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: bench, name: receiver, labels: {app: receiver}}
spec: {containers: [{name: main, image: example.org/main}]}
";

/// A denial; with [`ALLOW`] appended, an allowance.
const DENY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: bench, name: effect}
spec:
  podSelector: {matchLabels: {app: receiver}}
";
const ALLOW: &str = "  ingress: [{from: [{podSelector: {}}]}]\n";

/// The times from changes to their effects, in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Effect {
    /// The source of the policies.
    pub through: Through,
    /// How pods are attached.
    pub topology: Topology,
    /// The actual rate of packets.
    pub packets_per_second: f64,
    /// By kind of change.
    pub rows: Vec<Times>,
}

/// The source of the policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Through {
    /// Files in a directory.
    Files,
    /// An API server; its own time is part of the measurement.
    Api,
}

/// One kind of change.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Times {
    /// The kind of change.
    pub change: &'static str,
    /// The number of changes.
    pub saves: usize,
    /// The median.
    pub median_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The maximum.
    pub max_ms: f64,
}

/// Measures this number of saves, denials and allowances in turns.
pub(super) fn measure(saves: usize, through: Through) -> anyhow::Result<Effect> {
    in_sandbox(async |sandbox| in_lab(sandbox, saves, through).await)
}

async fn in_lab(sandbox: &Sandbox, saves: usize, through: Through) -> anyhow::Result<Effect> {
    let topology = Topology::AzureCni;
    let (directory, options) = options()?;
    let options = SessionOptions {
        // Every denied packet would be logged as a drop.
        arguments: vec!["--log".into(), "info,enforcer::drops=off".into()],
        settle: PATIENCE,
        api: (through == Through::Api).then(ApiServer::new).transpose()?,
        ..options
    };
    let mut session = Session::start(sandbox, topology, options).await?;
    let server = session.api().cloned();
    let save = |name: &str, text: &str| match &server {
        Some(server) => Ok(server.store().apply(text)?),
        None => Ok(replace_file(&directory.join(name), text)?),
    };
    save("pods.yaml", PODS)?;
    save("policy.yaml", &policy(true))?;
    if !session.apply().await?.matrix.all_good() {
        bail!("connections contradict the policies: the times would be meaningless");
    }
    let stream = Stream::start(&session).await?;
    let mut times = [Vec::new(), Vec::new()];
    // The stream's flow must be in the tables and caches.
    stream.until_flowing()?;
    for number in 0..saves {
        let allow = number % 2 == 1;
        let took = change(&stream, allow, |text| save("policy.yaml", text))?;
        times[usize::from(allow)].push(took.as_secs_f64() * 1e3);
    }
    session.check_agent()?;
    let packets_per_second = stream.rate();
    drop(stream);
    session.stop_agent().await?;
    let all = times.concat();
    let [deny, allow] = times;
    let rows = [("deny", deny), ("allow", allow), ("both", all)];
    let rows = rows.into_iter().map(|(change, times)| summary(change, times)).collect();
    Ok(Effect { through, topology, packets_per_second, rows })
}

fn policy(allow: bool) -> String {
    let rule = if allow { ALLOW } else { "" };
    format!("{DENY}{rule}")
}

/// Saves a policy, and returns the time to its effect.
fn change(
    stream: &Stream,
    allow: bool,
    save: impl FnOnce(&str) -> anyhow::Result<()>,
) -> anyhow::Result<Duration> {
    stream.first.store(0, Ordering::SeqCst);
    let saved = stream.now();
    save(&policy(allow))?;
    let effect = if allow { stream.until_flowing()? } else { stream.until_silent()? };
    // Saturating: the first affected packet may have been sent in the same period.
    Ok(Duration::from_nanos(effect.saturating_sub(saved)))
}

fn summary(change: &'static str, mut times: Vec<f64>) -> Times {
    times.sort_by(f64::total_cmp);
    // The nearest-rank percentile.
    let rank = |percent: usize| {
        let rank = (times.len() * percent).div_ceil(100).max(1) - 1;
        times.get(rank).copied().unwrap_or(f64::NAN)
    };
    Times { change, saves: times.len(), median_ms: rank(50), p99_ms: rank(99), max_ms: rank(100) }
}

/// A stream of packets. Dropping it stops the stream.
struct Stream {
    started_at: Instant,
    /// The sending time of the last packet that arrived, in nanoseconds since the start.
    last: Arc<AtomicU64>,
    /// The sending time of the first packet that arrived since this was set to zero.
    first: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Stream {
    async fn start(session: &Session) -> anyhow::Result<Self> {
        let lab = session.lab();
        let [from, to] = ["sender", "receiver"].map(|name| Party::pod("bench", name));
        let at = SocketAddr::new(lab.address(&to, Family::V4)?, PORT);
        let receiver = lab.namespace(&to)?.io("bind", move || UdpSocket::bind(at)).await?;
        receiver.set_read_timeout(Some(SILENCE))?;
        let own = SocketAddr::new(lab.address(&from, Family::V4)?, 0);
        let sender = lab.namespace(&from)?.io("bind", move || UdpSocket::bind(own)).await?;
        sender.connect(at)?;
        let mut stream = Self {
            started_at: Instant::now(),
            last: Arc::default(),
            first: Arc::default(),
            sent: Arc::default(),
            stop: Arc::default(),
            threads: Vec::new(),
        };
        let (started_at, stop) = (stream.started_at, Arc::clone(&stream.stop));
        let sent = Arc::clone(&stream.sent);
        stream.threads.push(std::thread::spawn(move || send(&sender, started_at, &sent, &stop)));
        let (last, first) = (Arc::clone(&stream.last), Arc::clone(&stream.first));
        let stop = Arc::clone(&stream.stop);
        stream.threads.push(std::thread::spawn(move || receive(&receiver, &last, &first, &stop)));
        Ok(stream)
    }

    fn now(&self) -> u64 {
        nanoseconds(self.started_at)
    }

    fn rate(&self) -> f64 {
        self.sent.load(Ordering::SeqCst) as f64 / self.started_at.elapsed().as_secs_f64()
    }

    /// Waits until a packet arrives; returns the sending time of the first one.
    fn until_flowing(&self) -> anyhow::Result<u64> {
        self.wait(|| Some(self.first.load(Ordering::SeqCst)).filter(|it| *it > 0))
    }

    /// Waits until no packet arrives; returns the sending time of the first lost one.
    fn until_silent(&self) -> anyhow::Result<u64> {
        self.wait(|| {
            let last = self.last.load(Ordering::SeqCst);
            let silence = Duration::from_nanos(self.now().saturating_sub(last));
            (silence > SILENCE).then_some(last + u64::from(PERIOD.subsec_nanos()))
        })
    }

    fn wait(&self, condition: impl Fn() -> Option<u64>) -> anyhow::Result<u64> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(found) = condition() {
                return Ok(found);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        bail!("a saved policy had no effect within {PATIENCE:?}");
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn nanoseconds(started_at: Instant) -> u64 {
    u64::try_from(started_at.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn send(socket: &UdpSocket, started_at: Instant, sent: &AtomicU64, stop: &AtomicBool) {
    // The default slack is as long as the period.
    let _ = set_timerslack(1);
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if socket.send(&nanoseconds(started_at).to_be_bytes()).is_ok() {
            sent.fetch_add(1, Ordering::Relaxed);
        }
        due += PERIOD;
        match due.checked_duration_since(Instant::now()) {
            Some(early) => std::thread::sleep(early),
            // Missed packets are not sent later: a burst would fill the receiver's buffer.
            None => due = Instant::now(),
        }
    }
}

fn receive(socket: &UdpSocket, last: &AtomicU64, first: &AtomicU64, stop: &AtomicBool) {
    let mut moment = [0; 8];
    while !stop.load(Ordering::Relaxed) {
        if socket.recv(&mut moment).is_ok_and(|length| length == moment.len()) {
            let sent = u64::from_be_bytes(moment);
            last.store(sent, Ordering::SeqCst);
            let _ = first.compare_exchange(0, sent, Ordering::SeqCst, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let times = summary("both", (1..=200).rev().map(f64::from).collect());
        assert_eq!((times.saves, times.median_ms, times.p99_ms), (200, 100.0, 198.0));
        assert_eq!(summary("both", vec![3.0]).p99_ms, 3.0);
        assert!(summary("both", Vec::new()).median_ms.is_nan());
    }
}
