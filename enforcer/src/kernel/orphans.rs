//! Links of earlier agents without a pin at its path: another BPF file system was mounted over it,
//! or the pins were removed while another process held the link.
//!
//! Without them two sets of programs would run, and the old one would drop what the new one allows.
//! Opening a link by its id needs CAP_SYS_ADMIN, which the agent's container does not have: there
//! `enforcer cleanup` removes them, run by an administrator.

use std::io;

use aya::programs::{ProgramError, SchedClassifier};

use super::attachment::Hook;
use super::tcx::{self, TcxLink};

/// The links of a hook whose programs have this name. None of them is pinned as far as known.
///
/// # Errors
/// They can't be opened, or the kernel has no TCX.
pub(super) fn find(hook: &Hook<'_>, name: &str) -> io::Result<Vec<TcxLink>> {
    let attached = tcx::query(hook.ifindex, hook.direction)?;
    if attached.iter().all(|it| it.link == 0) {
        return Ok(Vec::new());
    }
    let queried = SchedClassifier::query_tcx(hook.interface, hook.direction);
    let (_, programs) = queried.map_err(system_error)?;
    let is_ours = |id: u32| {
        programs.iter().any(|it| it.id() == id && it.name_as_str().is_some_and(|it| it == name))
    };
    let links = attached.into_iter().filter(|it| it.link != 0 && is_ours(it.program));
    links.map(|it| TcxLink::by_id(it.link)).collect()
}

/// The links of a hook that an earlier agent may have left: all but the first become detached.
/// Returns the first.
pub(super) fn adopt(hook: &Hook<'_>, name: &str) -> Option<TcxLink> {
    match find(hook, name) {
        Ok(links) => {
            let mut links = links.into_iter();
            let first = links.next()?;
            tracing::warn!(
                interface = hook.interface,
                program = name,
                "an earlier agent's program without a pin is taken over"
            );
            // Dropping them detaches them.
            links.for_each(drop);
            Some(first)
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!(
                interface = hook.interface,
                program = name,
                "other programs are attached here, too. If an earlier agent attached them and its \
                 pins are hidden, they drop what policy allows now: run `enforcer cleanup` as root"
            );
            None
        }
        // The interface is gone, or the kernel has no TCX: attaching shows it.
        Err(_) => None,
    }
}

fn system_error(error: ProgramError) -> io::Error {
    match error {
        ProgramError::SyscallError(error) => error.io_error,
        error => io::Error::other(error),
    }
}
