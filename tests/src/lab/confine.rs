//! The agent's privileges in the lab: only those of the manifest for clusters.

use std::fs;
use std::str::FromStr as _;

use caps::{CapSet, Capability};
use k8s_openapi::api::apps::v1::DaemonSet;
use nix::mount::{MsFlags, mount};
use nix::sys::prctl::set_no_new_privs;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::LabError;
use super::error::Context as _;
use super::sandbox::own_mounts;

/// The manifest for clusters.
const MANIFEST: &str = include_str!("../../../deploy/kustomize/base/daemon-set.yaml");

/// In bytes; less than any container runtime's. Since Linux 5.11, BPF memory is not charged to it.
const MEMLOCK: u64 = 64 << 10;

/// Open files, at first: what a process gets from most container runtimes.
const FILES: u64 = 1024;

/// Drops the privileges that the agent's container lacks: capabilities other than the manifest's,
/// privilege escalation, writing to files, and locked memory. Limits open files. `further`: capabilities
/// that an optional part of the manifests grants.
pub(super) fn confine(further: &[Capability]) -> Result<(), LabError> {
    let mut kept = agent_capabilities()?;
    kept.extend(further);
    read_only_root()?;
    setrlimit(Resource::RLIMIT_MEMLOCK, MEMLOCK, MEMLOCK).context("limit locked memory")?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("the limit on open files")?;
    setrlimit(Resource::RLIMIT_NOFILE, FILES.min(hard), hard).context("limit open files")?;
    for capability in caps::all() {
        if !kept.contains(&capability) && is_known(capability) {
            let dropped = caps::drop(None, CapSet::Bounding, capability);
            dropped.map_err(|e| LabError::Agent(format!("drop {capability}: {e}")))?;
        }
    }
    set_no_new_privs().context("refuse new privileges")
}

/// Whether this kernel has the capability: it has all up to a number.
fn is_known(capability: Capability) -> bool {
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
    last.trim().parse().is_ok_and(|last: u8| capability.index() <= last)
}

/// The only capabilities that the DaemonSet's manifest grants.
///
/// # Errors
/// The manifest grants other privileges, too.
pub fn agent_capabilities() -> Result<Vec<Capability>, LabError> {
    let wrong = |what: &str| LabError::Agent(format!("the DaemonSet's manifest: {what}"));
    let set: DaemonSet = serde_saphyr::from_str(MANIFEST).map_err(|e| wrong(&e.to_string()))?;
    let pod = set.spec.and_then(|it| it.template.spec).ok_or_else(|| wrong("no pod"))?;
    let container = pod.containers.first().ok_or_else(|| wrong("no container"))?;
    let context = container.security_context.as_ref().ok_or_else(|| wrong("no context"))?;
    let capabilities = context.capabilities.as_ref().ok_or_else(|| wrong("no capabilities"))?;
    let dropped = capabilities.drop.clone().unwrap_or_default();
    let all_others = (dropped.as_slice(), context.read_only_root_filesystem)
        == (&["ALL".to_owned()], Some(true));
    if !all_others || context.allow_privilege_escalation != Some(false) {
        return Err(wrong("it grants more than the lab imitates"));
    }
    let added = capabilities.add.iter().flatten();
    let named = added.map(|name| Capability::from_str(&format!("CAP_{name}")));
    named.collect::<Result<_, _>>().map_err(|e| wrong(&e.to_string()))
}

/// Makes the root file system read-only for this process. File systems mounted in it, such as
/// bpffs, are unchanged.
fn read_only_root() -> Result<(), LabError> {
    own_mounts(MsFlags::MS_SLAVE)?;
    let none: Option<&str> = None;
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(none, "/", none, read_only, none).context("make the root read-only")
}
