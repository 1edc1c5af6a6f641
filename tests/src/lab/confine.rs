//! The agent's privileges in the lab: those of the manifest that clusters get, and no more.

use std::fs;
use std::str::FromStr as _;

use caps::{CapSet, Capability};
use k8s_openapi::api::apps::v1::DaemonSet;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_no_new_privs;
use nix::sys::resource::{Resource, setrlimit};

use super::LabError;

/// What is applied to clusters.
const MANIFEST: &str = include_str!("../../../deploy/kustomize/base/daemon-set.yaml");

/// Less than any container runtime gives: from Linux 5.11 on, BPF memory is not charged to it.
const MEMLOCK: u64 = 64 << 10;

/// Gives up all that the agent's container would not have: capabilities other than the manifest's,
/// the way to more of them, writing to files, and locked memory.
///
/// # Errors
/// When the kernel refuses, or the manifest is not what it was.
pub(super) fn confine() -> Result<(), LabError> {
    let kept = agent_capabilities()?;
    read_only_root()?;
    setrlimit(Resource::RLIMIT_MEMLOCK, MEMLOCK, MEMLOCK)
        .map_err(|e| LabError::io("limit locked memory", e))?;
    for capability in caps::all() {
        if !kept.contains(&capability) && is_known(capability) {
            let dropped = caps::drop(None, CapSet::Bounding, capability);
            dropped.map_err(|e| LabError::Agent(format!("drop {capability}: {e}")))?;
        }
    }
    set_no_new_privs().map_err(|e| LabError::io("refuse new privileges", e))
}

/// Kernels know the capabilities up to a number; later ones can't be had in any case.
fn is_known(capability: Capability) -> bool {
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
    last.trim().parse().is_ok_and(|last: u8| capability.index() <= last)
}

/// The capabilities that the DaemonSet's manifest adds to nothing.
///
/// # Errors
/// When the manifest gives something else than them, too.
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
        return Err(wrong("it gives more than this imitates"));
    }
    let added = capabilities.add.iter().flatten();
    let named = added.map(|name| Capability::from_str(&format!("CAP_{name}")));
    named.collect::<Result<_, _>>().map_err(|e| wrong(&e.to_string()))
}

/// Makes the root file system read-only for this process; others that are mounted in it, bpffs
/// among them, stay as they are.
fn read_only_root() -> Result<(), LabError> {
    let failed = |what: &'static str| move |e| LabError::io(what, e);
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed("unshare the mounts"))?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)
        .map_err(failed("make the mounts one's own"))?;
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(none, "/", none, read_only, none).map_err(failed("make the root read-only"))
}
