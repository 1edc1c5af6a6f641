//! Attaching the programs to interfaces: TCX where the kernel has it, clsact otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType};
use aya::sys::SyscallError;

use super::attachment::{self, Hold};
use super::clsact::Clsact;
use super::pins::Pins;
use super::{Kernel, KernelError};

/// What an interface leads to, and so which programs it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A pod.
    Pod,
    /// Away from the node.
    Uplink,
}

impl Place {
    /// The program for packets that come from there, and the one for packets that go there.
    pub(super) fn programs(self) -> [(&'static str, TcAttachType); 2] {
        let (from, to) = match self {
            Self::Pod => ("from_pod", "to_pod"),
            Self::Uplink => ("from_wire", "to_wire"),
        };
        [(from, TcAttachType::Ingress), (to, TcAttachType::Egress)]
    }
}

/// The interfaces that have our programs. Dropping it detaches them, unless they are pinned.
#[derive(Debug, Default)]
pub struct Hooks {
    attached: BTreeMap<u32, Attached>,
    without_tcx: bool,
    /// Where programs are pinned, so that they outlive the agent (semantics C3).
    links: Option<PathBuf>,
}

/// What was put on one interface; dropped in this order.
#[derive(Debug)]
struct Attached {
    place: Place,
    holds: Vec<Hold>,
    clsact: Option<Clsact>,
}

impl Hooks {
    /// Programs stay where they are when the agent ends, and those of an earlier agent are
    /// replaced in place.
    #[must_use]
    pub fn pinned(pins: &Pins) -> Self {
        Self { links: Some(pins.links()), ..Self::default() }
    }

    /// Attaches by clsact, as on kernels before 6.6, whatever this one can do.
    #[must_use]
    pub fn without_tcx(self) -> Self {
        Self { without_tcx: true, ..self }
    }

    /// Whether programs are attached by TCX, as far as is known: what the kernel has shows when
    /// the first interface is attached to.
    #[must_use]
    pub fn uses_tcx(&self) -> bool {
        !self.without_tcx
    }

    /// Whose programs the interface has, if any.
    #[must_use]
    pub fn place(&self, ifindex: u32) -> Option<Place> {
        self.attached.get(&ifindex).map(|attached| attached.place)
    }

    /// The interfaces that have programs, and whose.
    pub fn interfaces(&self) -> impl Iterator<Item = (u32, Place)> + '_ {
        self.attached.iter().map(|(ifindex, attached)| (*ifindex, attached.place))
    }

    /// Puts both programs in front of whatever else is on the interface's hooks (semantics P5), or
    /// in the place of an earlier agent's.
    ///
    /// # Errors
    /// The kernel refuses; the interface may be gone. What an earlier agent put there stays.
    pub fn attach(
        &mut self,
        kernel: &mut Kernel,
        ifindex: u32,
        name: &str,
        place: Place,
    ) -> Result<(), KernelError> {
        let mut attached = Attached { place, holds: Vec::new(), clsact: None };
        for (program, hook) in place.programs() {
            let program = kernel.program(program)?;
            let hold = match self.by_link(program, ifindex, name, hook)? {
                Some(hold) => hold,
                None => {
                    if attached.clsact.is_none() {
                        attached.clsact = self.clsact(name, ifindex)?;
                    }
                    attachment::by_filter(program, ifindex, name, hook, self.links.as_deref())?
                }
            };
            attached.holds.push(hold);
        }
        self.attached.insert(ifindex, attached);
        Ok(())
    }

    /// Lets go of all that is pinned, so that it can be replaced once more.
    pub fn let_go(&mut self) {
        if self.links.is_some() {
            self.attached.clear();
        }
    }

    /// Takes our programs off an interface, if it still exists.
    pub fn detach(&mut self, ifindex: u32) {
        let Some(Attached { holds, clsact, .. }) = self.attached.remove(&ifindex) else { return };
        for hold in holds {
            hold.release();
        }
        if let (Some(clsact), Some(links)) = (clsact, &self.links) {
            clsact.give_back(links);
        }
    }

    /// Takes the programs that an earlier agent has left off interfaces that are none of `wanted`.
    ///
    /// # Errors
    /// What it has left can't be listed.
    pub fn prune(&self, wanted: &BTreeSet<u32>) -> Result<(), KernelError> {
        let Some(links) = &self.links else { return Ok(()) };
        attachment::remove_left(links, |ifindex| !wanted.contains(&ifindex)).map(|_| ())
    }

    /// Attaches by TCX; `None` if this kernel has none.
    fn by_link(
        &mut self,
        program: &mut SchedClassifier,
        ifindex: u32,
        interface: &str,
        hook: TcAttachType,
    ) -> Result<Option<Hold>, KernelError> {
        if self.without_tcx {
            return Ok(None);
        }
        let pin = self.links.as_ref().map(|links| links.join(attachment::name(ifindex, hook)));
        if pin.as_ref().is_some_and(|pin| pin.is_dir()) {
            // An earlier agent's filter of a clsact qdisc: it is replaced in place.
            return Ok(None);
        }
        if let Some(pin) = &pin
            && let Some(hold) = attachment::take_over(program, pin, ifindex)?
        {
            return Ok(Some(hold));
        }
        let Some(link) = self.by_tcx(program, interface, hook)? else { return Ok(None) };
        match pin {
            Some(pin) => attachment::pin(link, pin).map(Some),
            None => Ok(Some(Hold::Own(link))),
        }
    }

    fn by_tcx(
        &mut self,
        program: &mut SchedClassifier,
        interface: &str,
        hook: TcAttachType,
    ) -> Result<Option<SchedClassifierLink>, KernelError> {
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        match program.attach_with_options(interface, hook, order) {
            Ok(link) => program.take_link(link).map(Some).map_err(|it| refused(interface, it)),
            Err(error) if lacks_tcx(&error) => {
                self.without_tcx = true;
                Ok(None)
            }
            Err(error) => Err(refused(interface, error)),
        }
    }

    /// The interface's clsact qdisc, if it is ours.
    fn clsact(&self, name: &str, ifindex: u32) -> Result<Option<Clsact>, KernelError> {
        match &self.links {
            None => Clsact::add(name, ifindex),
            Some(links) => Clsact::add_kept(name, ifindex, links),
        }
    }
}

pub(super) fn refused(interface: &str, source: ProgramError) -> KernelError {
    KernelError::Attach { interface: interface.to_owned(), source }
}

/// Kernels before 6.6 don't know the attach type.
fn lacks_tcx(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(SyscallError { io_error, .. })
        if io_error.raw_os_error() == Some(libc::EINVAL))
}
