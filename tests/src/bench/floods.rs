//! Floods from a hostile pod, and what is left for others: SYNs, datagrams and fragments to a pod that
//! denies them all, to one whose policy allows all, and to one without policies.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
use serde::{Deserialize, Serialize};

use super::lab::in_sandbox;
use super::traffic::{Idle, Setup, Stage, requests, throughput};
use crate::lab::{Namespace, Party, Sandbox};
use crate::probe::http_get;
use crate::session::AGENT_PORT;

/// What is left of a client's and a server's traffic during a flood.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Flooded {
    /// `no policy` or `enforcer`.
    pub setup: String,
    /// The kind of packets; `none`: without a flood.
    pub flood: String,
    /// The pod that is flooded.
    pub target: String,
    /// Packets of the flood per second (datagrams, for fragments).
    pub sent: f64,
    /// TCP throughput of the others, Gbit/s.
    pub gbit: f64,
    /// Connections of the others per second.
    pub connections: f64,
    /// Whether a connection that was idle meanwhile still works.
    pub idle_survives: bool,
    /// Flows that new ones displaced.
    pub displaced: Option<u64>,
    /// New flows that found no place.
    pub refused: Option<u64>,
}

/// The flows that the agent has room for: few, so that a flood fills the table.
pub(super) const FLOWS: u32 = 16_384;
const LOAD: Duration = Duration::from_millis(1_000);
/// The agent sweeps the flow tables this often, with some time to publish what it found.
const SWEEP: Duration = Duration::from_secs(11);
/// Bytes of a datagram that is sent in three fragments.
const FRAGMENTED: usize = 3_000;

/// A pod that denies the flooding one, and one that allows all packets to it. Only the latter's flows are
/// recorded: its answers need them, since it may open nothing itself.
const POLICY: &str = "---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: bench, name: isolated}
spec:
  podSelector: {matchLabels: {app: isolated}}
  ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: bench, name: allowing}
spec:
  podSelector: {matchLabels: {app: allowing}}
  policyTypes: [Ingress, Egress]
  ingress: [{}]
";

/// A kind of flood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Syn,
    Datagrams,
    Fragments,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Syn, Self::Datagrams, Self::Fragments];

    const fn name(self) -> &'static str {
        match self {
            Self::Syn => "SYN",
            Self::Datagrams => "UDP",
            Self::Fragments => "fragments",
        }
    }
}

/// Measures all kinds, without policies and with the agent.
pub(super) fn measure(progress: impl Fn(&str)) -> anyhow::Result<Vec<Flooded>> {
    let mut rows = Vec::new();
    for setup in [Setup::None, Setup::Enforcer] {
        let targets: &[_] =
            if setup == Setup::None { &["open"] } else { &["isolated", "allowing", "open"] };
        rows.push(one(setup, None, "none")?);
        for target in targets {
            for kind in Kind::ALL {
                progress(&format!(
                    "a flood of {} to a pod, {target}, {}",
                    kind.name(),
                    setup.name()
                ));
                rows.push(one(setup, Some(kind), target)?);
            }
        }
    }
    Ok(rows)
}

fn one(setup: Setup, kind: Option<Kind>, target: &'static str) -> anyhow::Result<Flooded> {
    in_sandbox(async |sandbox: &Sandbox| {
        let with = (&["client", "server", "flooder", "isolated", "allowing", "open"][..], POLICY);
        let stage =
            Stage::with_pods(sandbox, setup, with, (1, &["--flows", &FLOWS.to_string()])).await?;
        let ends = stage.ends()?;
        if setup == Setup::Enforcer {
            stage.until_in_effect(&ends).await?;
        }
        let idle = Idle::open(&ends).await?;
        let flooder = stage.session.lab().namespace(&Party::pod("bench", "flooder"))?;
        let flood = match kind {
            Some(kind) => Some(Flood::start(flooder, kind, stage.address(target)?).await?),
            None => None,
        };
        tokio::time::sleep(LOAD).await;
        let gbit = throughput(&ends, 1, LOAD).await?;
        let connections = requests(&ends, LOAD).await? as f64 / LOAD.as_secs_f64();
        let sent = flood.map_or(0.0, Flood::stop);
        let idle_survives = idle.end(&ends).await?;
        let counted = if setup == Setup::Enforcer { Some(counted(&stage).await?) } else { None };
        stage.end().await?;
        Ok(Flooded {
            setup: setup.name().to_owned(),
            flood: kind.map_or("none", Kind::name).to_owned(),
            target: target.to_owned(),
            sent,
            gbit,
            connections,
            idle_survives,
            displaced: counted.map(|[displaced, _]| displaced),
            refused: counted.map(|[_, refused]| refused),
        })
    })
}

/// Displaced and refused flows, by the agent's metrics after its next sweep.
async fn counted(stage: &Stage) -> anyhow::Result<[u64; 2]> {
    tokio::time::sleep(SWEEP).await;
    let at = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), AGENT_PORT);
    let node = stage.session.lab().node();
    let page = http_get(node, at, "/metrics", Duration::from_secs(5)).await?;
    let page = page.context("the agent has no metrics")?;
    let sum = |name: &str| {
        let lines = page.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    };
    Ok([sum("enforcer_flows_evicted_total"), sum("enforcer_flows_refused_total")])
}

/// A running flood.
struct Flood {
    ends: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    started_at: Instant,
    thread: JoinHandle<()>,
}

impl Flood {
    async fn start(from: &Namespace, kind: Kind, to: IpAddr) -> anyhow::Result<Self> {
        let (ends, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, count) = (Arc::clone(&ends), Arc::clone(&sent));
        let IpAddr::V4(to) = to else { anyhow::bail!("an IPv4 address") };
        let run = move || {
            let sockets: Vec<UdpSocket> =
                (0..16).filter_map(|_| UdpSocket::bind("0.0.0.0:0").ok()).collect();
            let mut port = 0_u16;
            while !stop.load(Ordering::Relaxed) {
                port = port.checked_add(1).unwrap_or(1).max(1);
                let socket = sockets.get(usize::from(port) % sockets.len().max(1));
                let is_sent = match (kind, socket) {
                    (Kind::Syn, _) => syn(to, port),
                    (Kind::Datagrams, Some(from)) => from.send_to(&[9; 32], (to, port)).is_ok(),
                    (Kind::Fragments, Some(from)) => {
                        from.send_to(&[9; FRAGMENTED], (to, port)).is_ok()
                    }
                    (_, None) => false,
                };
                count.fetch_add(u64::from(is_sent), Ordering::Relaxed);
            }
        };
        // A thread that is started inside the namespace is inside, too.
        let thread = from.io("flood", move || Ok(std::thread::spawn(run))).await?;
        Ok(Self { ends, sent, started_at: Instant::now(), thread })
    }

    /// Ends it; returns packets per second.
    fn stop(self) -> f64 {
        self.ends.store(true, Ordering::Relaxed);
        let rate =
            self.sent.load(Ordering::Relaxed) as f64 / self.started_at.elapsed().as_secs_f64();
        let _ = self.thread.join();
        rate
    }
}

/// Sends a SYN and forgets it.
fn syn(to: Ipv4Addr, port: u16) -> bool {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let Ok(own) = socket(AddressFamily::Inet, SockType::Stream, flags, None) else { return false };
    let to = SockaddrIn::from(std::net::SocketAddrV4::new(to, port));
    matches!(connect(own.as_raw_fd(), &to), Ok(()) | Err(nix::Error::EINPROGRESS))
}
