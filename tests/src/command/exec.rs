//! `enforcer-lab exec`: a command in a pod of a running lab.
//!
//! A lab listens on a socket in Linux's abstract namespace: it has no file, so nothing is left
//! when the lab dies, and connecting proves that the lab lives.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::lab::{NODE_NAMESPACE, namespace_name};
use enforcer_core::model::PodId;

const PREFIX: &str = "enforcer-lab-";

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct ExecOptions {
    /// The pod as "namespace/name" or, in namespace default, "name"; or "node" or "outside"
    #[arg(value_name = "POD")]
    place: String,
    /// The lab's process id, where several run
    #[arg(long, value_name = "PID")]
    lab: Option<u32>,
    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Lets `exec` find this process for as long as the result lives.
pub(crate) fn announce() -> anyhow::Result<UnixListener> {
    let name = format!("{PREFIX}{}", std::process::id());
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?).context("announce the lab")
}

/// Becomes the command; returns only when that fails.
pub(crate) fn main(options: &ExecOptions) -> anyhow::Result<Infallible> {
    let lab = match options.lab {
        Some(pid) => pid,
        None => the_only(&running()?)?,
    };
    prove(lab)?;
    let directory = std::env::current_dir().ok();
    let mounts = File::open(format!("/proc/{lab}/ns/mnt")).context("open the lab's mounts")?;
    setns(mounts, CloneFlags::CLONE_NEWNS).context("enter the lab's mounts")?;
    let name = namespace_of(&options.place);
    let path = Path::new("/run/netns").join(&name);
    let network = File::open(&path)
        .map_err(|_| anyhow!("the lab has no {}; it has {}", options.place, places().join(", ")))?;
    setns(network, CloneFlags::CLONE_NEWNET).context("enter the pod's network")?;
    if let Some(directory) = directory {
        // Another mount namespace begins at its root.
        let _ = std::env::set_current_dir(directory);
    }
    let (program, arguments) = options.command.split_first().context("no command given")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("run {}", program.display()))
}

/// The process ids of the labs that have announced themselves.
fn running() -> anyhow::Result<Vec<u32>> {
    let sockets = fs::read_to_string("/proc/net/unix").context("look for labs")?;
    Ok(pids(&sockets))
}

fn pids(sockets: &str) -> Vec<u32> {
    let names = sockets.lines().filter_map(|line| line.split_whitespace().last());
    let mut pids: Vec<u32> = names
        .filter_map(|name| name.strip_prefix('@')?.strip_prefix(PREFIX)?.parse().ok())
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

fn the_only(labs: &[u32]) -> anyhow::Result<u32> {
    match labs {
        [] => bail!("no lab is running; start one with: cargo xtask run"),
        [one] => Ok(*one),
        several => bail!("several labs are running, choose one with --lab: {several:?}"),
    }
}

/// Anybody may use that name for a socket: only a lab that runs as this user is believed.
fn prove(lab: u32) -> anyhow::Result<()> {
    let address = SocketAddr::from_abstract_name(format!("{PREFIX}{lab}"))?;
    let stream =
        UnixStream::connect_addr(&address).with_context(|| format!("no lab {lab} runs"))?;
    let peer = getsockopt(&stream, PeerCredentials)?;
    if u32::try_from(peer.pid()) != Ok(lab) || peer.uid() != nix::unistd::geteuid().as_raw() {
        bail!("process {lab} is no lab of this user; labs run as root");
    }
    Ok(())
}

fn namespace_of(place: &str) -> String {
    match place.split_once('/') {
        Some((namespace, name)) => namespace_name(&PodId::new(namespace, name)),
        None if place == "outside" || is_node(place) => place.to_owned(),
        None => namespace_name(&PodId::new("default", place)),
    }
}

/// Whether nodes' namespaces are called so: `node`, `node2`, …
fn is_node(place: &str) -> bool {
    let rest = place.strip_prefix(NODE_NAMESPACE);
    rest.is_some_and(|rest| rest.chars().all(|it| it.is_ascii_digit()))
}

/// What there is to enter, as the command line writes it.
fn places() -> Vec<String> {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().replacen('.', "/", 1)).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labs_are_found_among_other_sockets() {
        let sockets = "Num RefCount Protocol Flags Type St Inode Path\n\
            0: 00000002 00000000 00010000 0001 01 1 @enforcer-lab-42\n\
            0: 00000003 00000000 00000000 0001 03 2 @enforcer-lab-42\n\
            0: 00000002 00000000 00010000 0001 01 3 /run/enforcer-lab-7\n\
            0: 00000002 00000000 00010000 0001 01 4 @enforcer-lab-x\n\
            0: 00000002 00000000 00010000 0001 01 5\n";
        assert_eq!(pids(sockets), [42]);
    }

    #[test]
    fn pods_have_namespaces_and_default_is_implied() {
        assert_eq!(namespace_of("demo/pod1"), "demo.pod1");
        assert_eq!(namespace_of("pod1"), "default.pod1");
        assert_eq!(namespace_of("node"), "node");
        assert_eq!(namespace_of("node2"), "node2");
        assert_eq!(namespace_of("nodejs"), "default.nodejs");
    }
}
