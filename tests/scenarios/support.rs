//! A lab per test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use enforcer_tests::lab::{LAB_DIR, Lab, Party, Ports, Sandbox, Topology};
use enforcer_tests::probe::{Outcome, Probe};

/// Ample: an answer that has to come is waited for, also on a busy machine.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);
/// How long silence must last to count as a drop.
pub(crate) const SILENCE: Duration = Duration::from_millis(500);

/// Runs a test in a sandbox of its own, with a lab of that topology.
pub(crate) fn with_lab<F>(topology: Topology, test: F)
where
    F: AsyncFnOnce(&mut Lab) + Send + 'static,
{
    in_sandbox(async move |sandbox| {
        let mut lab = Lab::new(sandbox, topology, Path::new(LAB_DIR)).await.unwrap();
        test(&mut lab).await;
    });
}

/// Runs a test on a thread inside a sandbox; only the threads that start there share it.
pub(crate) fn in_sandbox<F>(test: F)
where
    F: AsyncFnOnce(&Sandbox) + Send + 'static,
{
    let inside = move || {
        let sandbox = Sandbox::enter().expect("the lab's tests need root");
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test(&sandbox));
    };
    let done = std::thread::spawn(inside).join();
    if let Err(panic) = done {
        std::panic::resume_unwind(panic);
    }
}

/// The lab's program, which starts processes.
pub(crate) fn spawner() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_enforcer-lab"))
}

/// The agent under test. Cargo builds no program of another package for a test: `cargo xtask test`
/// sees to it.
pub(crate) fn agent() -> PathBuf {
    let path = spawner().with_file_name("enforcer");
    assert!(path.is_file(), "there is no {}: cargo build -p enforcer", path.display());
    path
}

/// A web server that also answers on UDP port 53.
pub(crate) fn web() -> Ports {
    Ports { tcp: vec![80], udp: vec![53] }
}

/// Runs all probes at once.
pub(crate) async fn outcomes(lab: &Lab, probes: &[Probe], patience: Duration) -> Vec<Outcome> {
    let all = probes.iter().map(|probe| probe.run(lab, patience));
    futures::future::try_join_all(all).await.unwrap()
}

/// All parties of a lab.
pub(crate) fn parties(lab: &Lab) -> Vec<Party> {
    let pods = lab.pods().keys().cloned().map(Party::Pod);
    let clients = enforcer_tests::lab::OUTSIDE_CLIENTS.iter().map(|it| Party::outside(it.name));
    pods.chain([Party::Node]).chain(clients).collect()
}
