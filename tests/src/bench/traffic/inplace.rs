//! The time that the programs take where they are attached, while real packets pass: the kernel's own
//! statistics (`BPF_ENABLE_STATS`), which count as long as their descriptor is open. No sysctl changes.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::programs::{SchedClassifier, TcAttachType, loaded_programs};
use aya::sys::{Stats, enable_stats};
use nix::net::if_::if_nameindex;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::load::{Ends, Server, ask, reply};
use super::setup::{Setup, Stage};
use crate::bench::lab::in_sandbox;
use crate::host::object;
use crate::lab::{Family, Namespace, Party, Sandbox};

/// A program's time for a kind of packet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::bench) struct InPlace {
    /// The packet.
    pub packet: String,
    /// The program.
    pub program: String,
    /// Connections that take turns.
    pub flows: usize,
    /// Runs.
    pub runs: u64,
    /// Nanoseconds per run. Those of the empty program are the statistics' own, and the kernel's around it.
    pub ns: f64,
}

/// Isolates the server, but for some ports and any IPv4 address.
const POLICY: &str = "---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: bench, name: isolated}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 5000, endPort: 5009}]}]
  egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]
";

/// For some time after programs were loaded and connections began, packets to a pod are recorded
/// (ARCHITECTURE.md, "The flow tables"): as long as a handshake may take. Here it is a second, not a
/// minute.
const ARGUMENTS: [&str; 2] = ["--flow-timeouts", "tcp-syn-recv=1"];
/// After that time, connections are in progress.
const SETTLED: Duration = Duration::from_secs(6);

const FLOWS: usize = 1_000;
const LOAD: Duration = Duration::from_millis(1_500);

/// The runs and the time of each program: id → name, runs, time.
type Runs = BTreeMap<u32, (String, u64, Duration)>;

fn runs() -> anyhow::Result<Runs> {
    let mut all = Runs::new();
    for program in loaded_programs() {
        // One that was unloaded meanwhile.
        let Ok(program) = program else { continue };
        let name = program.name_as_str().unwrap_or_default().to_owned();
        all.insert(program.id(), (name, program.run_count(), program.run_time()));
    }
    Ok(all)
}

/// Measures packets to a pod from outside, the pod's answers, and replies to a pod.
pub(super) fn measure() -> anyhow::Result<Vec<InPlace>> {
    in_sandbox(async |sandbox: &Sandbox| {
        let earlier = runs()?;
        let with = (&["client", "server"][..], POLICY);
        let stage = Stage::with_pods(sandbox, Setup::Enforcer, with, (0, &ARGUMENTS)).await?;
        let outside = Party::outside("office");
        let from_outside = stage.session.lab().namespace(&outside)?;
        stage.until_in_effect(&Ends { client: from_outside, ..stage.ends()? }).await?;
        let _empty = attach_empty(stage.session.lab().node()).await?;
        let _counting = enable_stats(Stats::RunTime)?;
        let lab = stage.session.lab();
        let server = Party::pod("bench", "server");
        let [host, pod] = [lab.namespace(&outside)?, lab.namespace(&server)?];
        let at = |party: &Party, port| {
            anyhow::Ok(SocketAddr::new(lab.address(party, Family::V4)?, port))
        };
        let mut rows = Vec::new();
        let to_pod = exchange(host, pod, at(&server, 5_001)?, &earlier).await?;
        rows.extend(of(&to_pod, "to_pod", "forward, to an isolated pod"));
        rows.extend(of(&to_pod, "from_pod", "answers of the pod"));
        rows.extend(of(&to_pod, "empty", "the same packets, by the empty program behind it"));
        let out = exchange(pod, host, at(&outside, 5_001)?, &earlier).await?;
        rows.extend(of(&out, "to_pod", "replies to an isolated pod"));
        rows.extend(of(&out, "from_pod", "forward, from an isolated pod"));
        stage.end().await?;
        Ok(rows)
    })
}

/// Attaches the empty program behind the others to all interfaces of the node, until what is returned is dropped.
async fn attach_empty(node: &Namespace) -> anyhow::Result<Ebpf> {
    let path = object("enforcer-ebpf.o")?;
    let attach = move || {
        let mut ebpf = Ebpf::load_file(&path).map_err(io::Error::other)?;
        let program = ebpf.program_mut("empty").ok_or(io::ErrorKind::NotFound)?;
        let program: &mut SchedClassifier = program.try_into().map_err(io::Error::other)?;
        program.load().map_err(io::Error::other)?;
        for interface in &if_nameindex()? {
            let name = interface.name().to_string_lossy();
            for hook in [TcAttachType::Ingress, TcAttachType::Egress] {
                if name != "lo" {
                    program.attach(&name, hook).map_err(io::Error::other)?;
                }
            }
        }
        Ok(ebpf)
    };
    Ok(node.io("attach the empty program", attach).await?)
}

/// The programs' runs while messages go to and fro on many connections.
async fn exchange(
    client: &Namespace,
    server: &Namespace,
    at: SocketAddr,
    earlier: &Runs,
) -> anyhow::Result<Runs> {
    allow_many_files()?;
    let listener = server.io("listen", move || TcpListener::bind(at)).await?;
    let service = Server::start(listener, true, reply)?;
    let open = move || (0..FLOWS).map(|_| open(at)).collect::<io::Result<Vec<_>>>();
    let mut streams = client.io("connect", open).await?;
    streams.iter_mut().try_for_each(ask)?;
    tokio::time::sleep(SETTLED).await;
    let before = runs()?;
    let started_at = Instant::now();
    while started_at.elapsed() < LOAD {
        streams.iter_mut().try_for_each(ask)?;
    }
    let mut after = runs()?;
    service.stop(client).await?;
    after.retain(|id, (_, count, time)| {
        let old = before.get(id).map_or((0, Duration::ZERO), |(_, count, time)| (*count, *time));
        *count = count.saturating_sub(old.0);
        *time = time.saturating_sub(old.1);
        // Not another agent's on this machine.
        !earlier.contains_key(id) && *count > 0
    });
    Ok(after)
}

fn open(at: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&at, Duration::from_secs(5))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Both ends of each connection are this process's.
fn allow_many_files() -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = (FLOWS as u64 * 2 + 500).min(hard);
    Ok(setrlimit(Resource::RLIMIT_NOFILE, wanted.max(soft), hard)?)
}

/// The row of the busiest program of this name.
fn of(runs: &Runs, program: &str, packet: &str) -> Option<InPlace> {
    let named = runs.values().filter(|(name, ..)| name == program);
    let (_, runs, time) = named.max_by_key(|(_, count, _)| *count)?;
    let ns = time.as_secs_f64() * 1e9 / *runs as f64;
    let (packet, program) = (packet.to_owned(), program.to_owned());
    Some(InPlace { packet, program, flows: FLOWS, runs: *runs, ns })
}
