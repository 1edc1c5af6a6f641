//! `enforcer-lab exec`: a command in a pod of a running lab.
//!
//! A lab listens on a socket in Linux's abstract namespace. The socket has no file, so nothing
//! stays when the lab ends, and a successful connection proves that the lab is running.

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

#[derive(Debug, Args)]
pub(crate) struct ExecOptions {
    /// The pod: "namespace/name", or "name" in namespace default; also "node", "node2", "outside"
    #[arg(value_name = "POD")]
    place: String,
    /// The lab's process id, if several labs are running
    #[arg(long, value_name = "PID")]
    lab: Option<u32>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Makes this process visible to `exec` for the lifetime of the result.
pub(crate) fn announce() -> anyhow::Result<UnixListener> {
    let name = format!("{PREFIX}{}", std::process::id());
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?).context("register the lab")
}

/// Replaces this process by the command; returns only on failure.
pub(crate) fn main(options: &ExecOptions) -> anyhow::Result<Infallible> {
    let lab = match options.lab {
        Some(pid) => pid,
        None => the_only(&running()?)?,
    };
    check(lab)?;
    let directory = std::env::current_dir().ok();
    let mounts = File::open(format!("/proc/{lab}/ns/mnt")).context("open the lab's mounts")?;
    setns(mounts, CloneFlags::CLONE_NEWNS).context("enter the lab's mounts")?;
    let name = namespace_of(&options.place);
    let path = Path::new("/run/netns").join(&name);
    let network = File::open(&path)
        .map_err(|_| anyhow!("the lab has no {}; it has {}", options.place, places().join(", ")))?;
    setns(network, CloneFlags::CLONE_NEWNET).context("enter the pod's network")?;
    if let Some(directory) = directory {
        // Entering a mount namespace changes the directory to its root.
        let _ = std::env::set_current_dir(directory);
    }
    let (program, arguments) = options.command.split_first().context("no command given")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("run {}", program.display()))
}

/// The process ids of the running labs.
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
        several => bail!("several labs are running; choose one with --lab: {several:?}"),
    }
}

/// Checks that the socket belongs to a lab of this user: any process may use its name.
fn check(lab: u32) -> anyhow::Result<()> {
    let address = SocketAddr::from_abstract_name(format!("{PREFIX}{lab}"))?;
    let stream =
        UnixStream::connect_addr(&address).with_context(|| format!("lab {lab} is not running"))?;
    let peer = getsockopt(&stream, PeerCredentials)?;
    if u32::try_from(peer.pid()) != Ok(lab) || peer.uid() != nix::unistd::geteuid().as_raw() {
        bail!("process {lab} is not a lab of this user; labs run as root");
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

/// Whether it is the name of a node's namespace: `node`, `node2`, …
fn is_node(place: &str) -> bool {
    let rest = place.strip_prefix(NODE_NAMESPACE);
    rest.is_some_and(|rest| rest.chars().all(|it| it.is_ascii_digit()))
}

/// The possible arguments of `exec`.
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
