//! Sandboxes, programs, sockets and probes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use enforcer_core::model::Protocol;
use enforcer_core::policy::reference::Traffic;
use enforcer_tests::lab::{Family, Lab, Party, Ports, Sandbox};
use enforcer_tests::probe::{Outcome, Probe};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::UdpSocket;

/// Time limit for an answer that must come. Ample, also on a busy machine.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);
/// Duration of silence that counts as a drop.
pub(crate) const SILENCE: Duration = Duration::from_millis(500);

/// Runs a test on a thread inside a sandbox. Only the threads that start there share it.
pub(crate) fn in_sandbox<F>(test: F)
where
    F: AsyncFnOnce(&Sandbox) + Send + 'static,
{
    let inside = move || {
        // Concurrent tests of one process open more connections than the usual 1,024.
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard).unwrap();
        let sandbox = Sandbox::enter().expect("the lab's tests need root");
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test(&sandbox));
    };
    if let Err(panic) = std::thread::spawn(inside).join() {
        std::panic::resume_unwind(panic);
    }
}

/// The lab's program, which starts processes. A virtual machine has it in another folder.
pub(crate) fn spawner() -> PathBuf {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_enforcer-lab"));
    match std::env::var_os("ENFORCER_PROGRAMS") {
        Some(folder) => Path::new(&folder).join(built.file_name().unwrap_or_default()),
        None => built,
    }
}

/// The agent under test. Cargo builds no program of another package for a test; `cargo xtask test`
/// builds it.
pub(crate) fn agent() -> PathBuf {
    let path = spawner().with_file_name("enforcer");
    assert!(path.is_file(), "there is no {}: cargo build -p enforcer", path.display());
    path
}

/// The ports of a web server that also answers on UDP port 53.
pub(crate) fn web() -> Ports {
    Ports { tcp: vec![80], udp: vec![53] }
}

/// The outcomes of all probes, which run concurrently.
pub(crate) async fn outcomes(lab: &Lab, probes: &[Probe], patience: Duration) -> Vec<Outcome> {
    let all = probes.iter().map(|probe| probe.run(lab, patience));
    futures::future::try_join_all(all).await.unwrap()
}

/// A connection to TCP port 80.
pub(crate) fn web_probe(from: &Party, to: &Party, family: Family) -> Probe {
    let traffic = Traffic::Port(Protocol::Tcp, 80);
    Probe { from: from.clone(), to: to.clone(), family, traffic }
}

/// A UDP socket in a party's namespace.
pub(crate) async fn udp_socket(lab: &Lab, party: &Party, at: SocketAddr) -> UdpSocket {
    let bind = move || {
        let socket = std::net::UdpSocket::bind(at)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    let socket = lab.namespace(party).unwrap().io("bind", bind).await.unwrap();
    UdpSocket::from_std(socket).unwrap()
}

/// A UDP socket at a party's own address; the kernel assigns port 0.
pub(crate) async fn udp_at(lab: &Lab, party: &Party, family: Family, port: u16) -> UdpSocket {
    udp_socket(lab, party, SocketAddr::new(lab.address(party, family).unwrap(), port)).await
}
