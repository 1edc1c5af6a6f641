//! Attaching the programs to interfaces: TCX where the kernel has it, clsact otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType};
use aya::sys::SyscallError;

use super::attachment::{self, Attachment};
use super::clsact::Clsact;
use super::pins::Pins;
use super::{Kernel, KernelError};

/// The destination behind an interface, which decides which programs it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A pod.
    Pod,
    /// The network outside of the node.
    Uplink,
    /// The same, by an interface without Ethernet headers: tun, WireGuard, IPIP, GRE, SIT.
    BareUplink,
}

impl Place {
    /// The program for packets from there, and the one for packets to there.
    pub(super) fn programs(self) -> [(&'static str, TcAttachType); 2] {
        let (from, to) = match self {
            Self::Pod => ("from_pod", "to_pod"),
            Self::Uplink => ("from_wire", "to_wire"),
            Self::BareUplink => ("from_wire_ip", "to_wire_ip"),
        };
        [(from, TcAttachType::Ingress), (to, TcAttachType::Egress)]
    }
}

/// The interfaces with our programs. Dropping this detaches them, unless they are pinned.
#[derive(Debug, Default)]
pub struct Hooks {
    attached: BTreeMap<u32, Attached>,
    without_tcx: bool,
    /// The folder for pins, so that programs outlive the agent (semantics C3).
    links: Option<PathBuf>,
}

/// The programs of one interface, and the qdisc they need. Fields are dropped in this order.
#[derive(Debug)]
struct Attached {
    place: Place,
    programs: Vec<Attachment>,
    clsact: Option<Clsact>,
}

impl Hooks {
    /// Hooks that outlive the agent, and that replace the programs of an earlier agent in place.
    #[must_use]
    pub fn pinned(pins: &Pins) -> Self {
        Self { links: Some(pins.links()), ..Self::default() }
    }

    /// The same hooks, but attached by clsact even if the kernel has TCX (Linux 6.6).
    #[must_use]
    pub fn without_tcx(self) -> Self {
        Self { without_tcx: true, ..self }
    }

    /// Whether programs are attached by TCX, as far as known: the first attachment shows it.
    #[must_use]
    pub fn uses_tcx(&self) -> bool {
        !self.without_tcx
    }

    /// The kind of programs that the interface has, if any.
    #[must_use]
    pub fn place(&self, ifindex: u32) -> Option<Place> {
        self.attached.get(&ifindex).map(|attached| attached.place)
    }

    /// Whether there are pins or markers of an earlier agent's programs at the interface's hooks.
    #[must_use]
    pub fn is_pinned(&self, ifindex: u32) -> bool {
        let hooks = [TcAttachType::Ingress, TcAttachType::Egress];
        self.links.as_ref().is_some_and(|links| {
            hooks.iter().all(|hook| links.join(attachment::name(ifindex, *hook)).exists())
        })
    }

    /// The interfaces that have programs, and the kind of these.
    pub fn interfaces(&self) -> impl Iterator<Item = (u32, Place)> + '_ {
        self.attached.iter().map(|(ifindex, attached)| (*ifindex, attached.place))
    }

    /// Attaches both programs before all others on the interface's hooks (semantics P5), or
    /// replaces those of an earlier agent.
    ///
    /// # Errors
    /// The kernel rejects a program, or the interface is gone. An earlier agent's programs stay.
    pub fn attach(
        &mut self,
        kernel: &mut Kernel,
        ifindex: u32,
        name: &str,
        place: Place,
    ) -> Result<(), KernelError> {
        let mut attached = Attached { place, programs: Vec::new(), clsact: None };
        for (program, hook) in place.programs() {
            let program = kernel.program(program)?;
            let attachment = match self.by_link(program, ifindex, name, hook)? {
                Some(attachment) => attachment,
                None => {
                    if attached.clsact.is_none() {
                        attached.clsact = self.clsact(name, ifindex)?;
                    }
                    attachment::by_filter(program, ifindex, name, hook, self.links.as_deref())?
                }
            };
            attached.programs.push(attachment);
        }
        self.attached.insert(ifindex, attached);
        Ok(())
    }

    /// Forgets the pinned programs, which stay attached, so that they can be replaced again.
    pub fn release_pins(&mut self) {
        if self.links.is_some() {
            self.attached.clear();
        }
    }

    /// Detaches our programs from an interface, if it still exists.
    pub fn detach(&mut self, ifindex: u32) {
        let Some(Attached { programs, clsact, .. }) = self.attached.remove(&ifindex) else {
            return;
        };
        programs.into_iter().for_each(Attachment::detach);
        if let (Some(clsact), Some(links)) = (clsact, &self.links) {
            clsact.remove(links);
        }
    }

    /// Detaches the programs of an earlier agent from interfaces that are not in `wanted`.
    ///
    /// # Errors
    /// The pins can't be listed or removed.
    pub fn prune(&self, wanted: &BTreeSet<u32>) -> Result<(), KernelError> {
        let Some(links) = &self.links else { return Ok(()) };
        attachment::remove_stale(links, |ifindex| !wanted.contains(&ifindex)).map(|_| ())
    }

    /// Attaches by TCX; `None` if clsact is to be used.
    fn by_link(
        &mut self,
        program: &mut SchedClassifier,
        ifindex: u32,
        interface: &str,
        hook: TcAttachType,
    ) -> Result<Option<Attachment>, KernelError> {
        if self.without_tcx {
            return Ok(None);
        }
        let pin = self.links.as_ref().map(|links| links.join(attachment::name(ifindex, hook)));
        if pin.as_ref().is_some_and(|pin| pin.is_dir()) {
            // The marker of an earlier agent's clsact filter, which is replaced in place.
            return Ok(None);
        }
        if let Some(pin) = &pin
            && let Some(attachment) = attachment::take_over(program, pin, ifindex)?
        {
            return Ok(Some(attachment));
        }
        let Some(link) = self.by_tcx(program, interface, hook)? else { return Ok(None) };
        match pin {
            Some(pin) => attachment::pin(link, pin).map(Some),
            None => Ok(Some(Attachment::Own(link))),
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
            Ok(link) => program.take_link(link).map(Some).map_err(KernelError::attach(interface)),
            Err(error) if lacks_tcx(&error) => {
                self.without_tcx = true;
                Ok(None)
            }
            Err(error) => Err(KernelError::attach(interface)(error)),
        }
    }

    /// The interface's clsact qdisc, if it is ours.
    fn clsact(&self, name: &str, ifindex: u32) -> Result<Option<Clsact>, KernelError> {
        match &self.links {
            None => Clsact::add(name, ifindex),
            Some(links) => Clsact::add_pinned(name, ifindex, links),
        }
    }
}

/// Whether the kernel does not know the attach type (before Linux 6.6).
fn lacks_tcx(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(SyscallError { io_error, .. })
        if io_error.raw_os_error() == Some(libc::EINVAL))
}
