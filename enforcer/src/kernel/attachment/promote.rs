//! From filters to TCX links.
//!
//! Attaching a link takes a grace period, during which the kernel lets nobody else change interfaces
//! (`tcx_entry_sync` in `include/net/tcx.h`, under RTNL): hundreds of links take seconds, and threads
//! gain nothing. Where many interfaces need programs, they get filters first, and links one after the other.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;

use super::hook::{Hook, Program, next};
use super::{Attachment, How, OwnFilter};
use crate::kernel::KernelError;
use crate::kernel::tcx::TcxLink;

impl Attachment {
    /// Replaces a filter by a link that runs before all others of the hook.
    ///
    /// `empty`, a program that decides nothing, keeps the place during the grace period: two programs
    /// that decide would disagree about marks. Both run only between two system calls.
    pub(in crate::kernel) fn promote(
        &mut self,
        hook: &Hook<'_>,
        program: &Program<'_>,
        empty: BorrowedFd<'_>,
    ) -> Result<(), KernelError> {
        let How::Filter(filter) = &self.how else { return Ok(()) };
        let failed = hook.failed();
        let pin = hook.pin();
        let mut link = TcxLink::attach(empty, hook.ifindex, hook.direction).map_err(failed)?;
        if let Some(pin) = &pin {
            link.pin(&next(pin)).map_err(KernelError::read_pin(pin))?;
        }
        if let Err(error) = link.replace_program(program.fd) {
            let _ = link.remove();
            return Err(failed(error));
        }
        if let Err(error) = remove(filter) {
            // It may be gone. Otherwise its program decides after ours, in the same way.
            tracing::debug!(ifindex = hook.ifindex, %error, "cannot remove a filter of ours");
        }
        let moved = pin.as_ref().map_or(Ok(()), |pin| link.move_pin(pin));
        self.how = How::Link(link);
        self.program = program.id;
        moved.map_err(failed)
    }
}

/// Removes a filter and its marker, in this order: the next agent finds a filter by its marker.
fn remove(filter: &OwnFilter) -> io::Result<()> {
    // Without a marker it is removed when it is dropped.
    let Some(marker) = &filter.marker else { return Ok(()) };
    let removed = filter.place.remove();
    fs::remove_dir(marker).and(removed)
}
