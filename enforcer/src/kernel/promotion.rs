//! Filters that were attached in a hurry become TCX links, one interface after the other.

use std::os::fd::AsFd as _;

use super::attachment::{Attachment, Hook, Program};
use super::hooks::{Attached, Hooks, empty};
use super::{Kernel, KernelError, tcx};

impl Hooks {
    /// Replaces the filters of the next interface that has some by links, if the kernel has TCX.
    /// Returns the interface, and the result.
    pub fn promote_next(&mut self, kernel: &mut Kernel) -> Option<(u32, Result<(), KernelError>)> {
        if self.without_tcx {
            return None;
        }
        let filtered = |(_, it): &(&u32, &Attached)| it.has_filter();
        let after = self.attached.range(self.promoted.saturating_add(1)..).find(filtered);
        let next = after.or_else(|| self.attached.iter().find(filtered));
        let ifindex = *next?.0;
        self.promoted = ifindex;
        Some((ifindex, self.promote(kernel, ifindex)))
    }

    /// Replaces the filters of an interface by links, if the kernel has TCX.
    pub(super) fn promote(&mut self, kernel: &mut Kernel, ifindex: u32) -> Result<(), KernelError> {
        let has_filter = self.attached.get(&ifindex).is_some_and(Attached::has_filter);
        if !has_filter || self.without_tcx {
            return Ok(());
        }
        if !tcx::is_supported(ifindex) {
            self.without_tcx = true;
            return Ok(());
        }
        let empty = empty(kernel)?;
        let Some(attached) = self.attached.get_mut(&ifindex) else { return Ok(()) };
        let links = self.links.as_deref();
        for attachment in &mut attached.programs {
            let direction = attachment.direction;
            let wanted = attached.place.programs().into_iter().find(|(_, it)| *it == direction);
            let Some((program, _)) = wanted else { continue };
            let program = Program::new(program, kernel.program(program)?)?;
            let hook = Hook { ifindex, interface: &attached.name, direction, links };
            attachment.promote(&hook, &program, empty.as_fd())?;
        }
        match (attached.clsact.take(), links) {
            (Some(clsact), Some(links)) => clsact.remove(links),
            (clsact, _) => drop(clsact),
        }
        Ok(())
    }
}

impl Attached {
    fn has_filter(&self) -> bool {
        self.programs.iter().any(|it: &Attachment| !it.is_link())
    }
}
