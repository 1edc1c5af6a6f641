//! TCX links that take the first place of a hook from another link.

use std::io;
use std::os::fd::BorrowedFd;

use super::hook::{Hook, Program, next};
use crate::kernel::tcx::TcxLink;

/// Replaces a link by one that runs before all others of the hook.
///
/// A link can't be moved, and a hook can't have the same program twice. So a program that decides
/// nothing takes the new place, and becomes ours as soon as the old link is detached: in between
/// are two system calls, and nothing that could fail for want of memory or descriptors.
pub(super) fn put_first(
    link: &mut TcxLink,
    hook: &Hook<'_>,
    program: &Program<'_>,
    empty: BorrowedFd<'_>,
) -> io::Result<()> {
    let pin = hook.pin();
    let mut new = TcxLink::attach(empty, hook.ifindex, hook.direction)?;
    if let Some(pin) = &pin {
        new.pin(&next(pin))?;
    }
    link.detach()?;
    new.replace_program(program.fd)?;
    *link = new;
    pin.map_or(Ok(()), |pin| link.move_pin(&pin))
}
