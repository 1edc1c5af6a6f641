//! The capabilities in the DaemonSet's manifest are sufficient on every kernel, and each is
//! necessary.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use caps::{CapSet, Capability, CapsHashSet};
use enforcer::cli::error_line;
use enforcer::conntrack;
use enforcer::kernel::{Hooks, Kernel, Pins, Place, RunProgram, Scope, Settings};
use enforcer::node::{self, Seen};
use enforcer_tests::lab::agent_capabilities;
use enforcer_tests::rig::run_input;
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use tokio::sync::{mpsc, watch};

use super::pinned::LINKS_OR_FILTERS;
use super::{NAME, NOTHING, for_each_kind};
use crate::support::with_bpffs;

/// Time limit for a snapshot of the node.
const PATIENCE: Duration = Duration::from_secs(20);

/// The agent's privileged steps: before it is ready, and when others change its hooks.
fn start(ifindex: u32, root: &Path, make: fn(&Pins) -> Hooks) -> anyhow::Result<()> {
    look().context("watching the node")?;
    let pins = Pins::open(root).context("keeping a folder")?;
    let mut kernel = Kernel::load_pinned(&Settings::default(), &pins).context("loading")?;
    let seed = kernel.take_trial_seed().context("sharing tables")?.context("there are pins")?;
    let mut trial = seed.load().context("loading trial programs")?;
    let input = run_input(&[0; 60], ifindex, 1, 0);
    trial
        .attempt(|it| it.run(RunProgram::FromPod, &input, &[]))
        .context("running trial programs")?;
    let mut hooks = make(&pins);
    hooks.attach(&mut kernel, ifindex, NAME, Place::Pod).context("attaching")?;
    let faults = hooks.faults(&Scope::All);
    anyhow::ensure!(faults.is_empty(), "verifying: {faults:?}");
    // Somebody else takes the first place.
    let mut other = Kernel::load(&Settings::default()).context("loading others")?;
    let theirs = Hooks::default();
    let mut theirs = if hooks.uses_tcx() { theirs } else { theirs.without_tcx() };
    theirs.attach(&mut other, ifindex, NAME, Place::Pod).context("attaching others")?;
    anyhow::ensure!(hooks.faults(&Scope::All).len() == 2, "others run first");
    hooks.restore(&mut kernel, ifindex).context("restoring")?;
    let faults = hooks.faults(&Scope::All);
    anyhow::ensure!(faults.is_empty(), "restoring: {faults:?}");
    drop(theirs);
    hooks.detach(ifindex);
    Ok(())
}

fn look() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (snapshots, mut seen) = watch::channel(Seen::default());
        let (_requests, none) = mpsc::channel(1);
        tokio::select! {
            ended = node::watch(snapshots, none) => Ok(ended?),
            first = tokio::time::timeout(PATIENCE, seen.changed()) => Ok(first??),
        }
    })
}

/// Runs something on a thread that has these capabilities and can't gain others.
fn with_capabilities<T: Send>(kept: &CapsHashSet, inside: impl FnOnce() -> T + Send) -> T {
    let confined = || {
        // Effective ones have to be permitted, so they go first.
        caps::set(None, CapSet::Effective, kept).unwrap();
        caps::set(None, CapSet::Permitted, kept).unwrap();
        caps::set(None, CapSet::Inheritable, &CapsHashSet::new()).unwrap();
        inside()
    };
    std::thread::scope(|scope| scope.spawn(confined).join()).unwrap()
}

#[test]
fn the_manifests_capabilities_are_sufficient_and_each_is_necessary() {
    let given: CapsHashSet = agent_capabilities().unwrap().into_iter().collect();
    // Before Linux 5.11 the memory of tables counts against this limit, so the container needs a
    // high one. If it can't be raised, it is high already or the kernel is newer.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    for_each_kind(LINKS_OR_FILTERS, |make| {
        with_bpffs(|ifindex, root| {
            let started = with_capabilities(&given, || start(ifindex, root, make));
            started.expect("with all of them");
            assert_eq!(super::look(ifindex), NOTHING, "detaching needs no more");
        });
    });
    // Once: each is missed before there are hooks of any kind. Without CAP_PERFMON the verifier works
    // several times as long until it rejects the programs.
    with_bpffs(|ifindex, root| {
        let without = |one: Capability| {
            let others = given.iter().copied().filter(|it| *it != one).collect();
            let refused = with_capabilities(&others, || start(ifindex, root, Hooks::pinned));
            let refused = refused.expect_err(&format!("it started without {one}"));
            let before = ["watching the node", "keeping a folder", "loading"];
            assert!(before.contains(&refused.to_string().as_str()), "{one}: {refused:#}");
            println!("without {one}: {}", error_line(&refused));
        };
        given.iter().copied().for_each(without);
    });
}

/// Reading connection tracking takes what the agent has; without it, the reason is reported.
#[test]
fn c8_conntrack_can_be_read_or_the_reason_is_known() {
    let given: CapsHashSet = agent_capabilities().unwrap().into_iter().collect();
    with_bpffs(|_, _| {
        if let Err(error) = with_capabilities(&given, || conntrack::read(|_| ())) {
            // A kernel without conntrack, as some of the virtual machines have.
            let text = error_line(&error.into());
            println!("{text}");
            if text.contains("Protocol not supported") {
                // Without netfilter's sockets there is nothing to need a right for.
                return;
            }
        }
        let without = given.iter().copied().filter(|it| *it != Capability::CAP_NET_ADMIN).collect();
        let refused = with_capabilities(&without, || conntrack::read(|_| ())).unwrap_err();
        let text = error_line(&refused.into());
        assert!(text.contains("CAP_NET_ADMIN") && text.contains("not permitted"), "{text}");
    });
}
