//! Attaching the programs to interfaces: TCX where the kernel has it, clsact otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use aya::programs::{ProgramFd, TcAttachType};

use super::attachment::{self, Attachment, Fault, Hook, Program};
use super::clsact::Clsact;
use super::pins::Pins;
use super::traces;
use super::{Kernel, KernelError, foreign, orphans, tcx};

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

/// The program that passes every packet on.
const EMPTY: &str = "empty";

/// The interfaces with our programs. Dropping this detaches them, unless they are pinned.
#[derive(Debug, Default)]
pub struct Hooks {
    pub(super) attached: BTreeMap<u32, Attached>,
    pub(super) without_tcx: bool,
    /// Whether filters are preferred for now.
    is_hurried: bool,
    /// The interface that was promoted last.
    pub(super) promoted: u32,
    /// The folder for pins, so that programs outlive the agent (semantics C3).
    pub(super) links: Option<PathBuf>,
}

/// The programs of one interface, and the qdisc they need. Fields are dropped in this order.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) programs: Vec<Attachment>,
    pub(super) clsact: Option<Clsact>,
}

/// A hook that is not as it must be (semantics C7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookFault {
    /// The interface.
    pub ifindex: u32,
    /// Whether packets may pass unchecked. If not, only the agent's end would detach the program.
    pub is_open: bool,
    /// The fault, as part of a sentence.
    pub text: String,
}

/// The hooks to verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All.
    All,
    /// Those with TCX links, about which the kernel sends no notifications.
    Links,
    /// Those of some interfaces.
    Interfaces(BTreeSet<u32>),
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

    /// Whether attaching adds a qdisc to an interface that has none.
    #[must_use]
    pub fn adds_qdiscs(&self) -> bool {
        self.without_tcx || self.is_hurried
    }

    /// Sets whether many interfaces wait for programs: then these are attached by filters, which takes a
    /// hundredth of the time, and by TCX later, see [`Self::promote_next`].
    pub fn hurry(&mut self, many: bool) {
        self.is_hurried = many;
    }

    /// The kind of programs that the interface has, if both were attached.
    #[must_use]
    pub fn place(&self, ifindex: u32) -> Option<Place> {
        let attached = self.attached.get(&ifindex)?;
        (attached.programs.len() == attached.place.programs().len()).then_some(attached.place)
    }

    /// Whether there are pins or markers of an earlier agent's programs at the interface's hooks.
    #[must_use]
    pub fn is_pinned(&self, ifindex: u32) -> bool {
        let hooks = [TcAttachType::Ingress, TcAttachType::Egress];
        self.links.as_ref().is_some_and(|links| {
            hooks.iter().all(|hook| links.join(attachment::name(ifindex, *hook)).exists())
        })
    }

    /// The interfaces that have a program, and the kind of these.
    pub fn interfaces(&self) -> impl Iterator<Item = (u32, Place)> + '_ {
        self.attached.iter().map(|(ifindex, attached)| (*ifindex, attached.place))
    }

    /// Attaches both programs before all others on the interface's hooks (semantics P5), or
    /// replaces those of an earlier agent.
    ///
    /// # Errors
    /// The kernel rejects a program, or the interface is gone. What was attached stays, as do the
    /// programs of an earlier agent; the next call attaches what is missing.
    pub fn attach(
        &mut self,
        kernel: &mut Kernel,
        ifindex: u32,
        name: &str,
        place: Place,
    ) -> Result<(), KernelError> {
        let mut attached = self.attached.remove(&ifindex).filter(|it| it.place == place);
        let attached = attached.get_or_insert_with(|| Attached::new(name, place));
        let result = self.attach_missing(kernel, ifindex, attached);
        if !attached.programs.is_empty() {
            let attached = std::mem::replace(attached, Attached::new(name, place));
            self.attached.insert(ifindex, attached);
        }
        result
    }

    fn attach_missing(
        &mut self,
        kernel: &mut Kernel,
        ifindex: u32,
        attached: &mut Attached,
    ) -> Result<(), KernelError> {
        let links = self.links.clone();
        let mut displaced = None;
        let mut result = Ok(());
        let is_hurried = self.is_hurried
            && (attached.clsact.is_some() || !Clsact::is_foreign(ifindex, links.as_deref()));
        for (program, direction) in attached.place.programs() {
            if attached.programs.iter().any(|it| it.direction == direction) {
                continue;
            }
            let interface = &attached.name;
            let hook = Hook { ifindex, interface, direction, links: links.as_deref() };
            let program = Program::new(program, kernel.program(program)?)?;
            let attachment = match self.by_link(&hook, &program, is_hurried) {
                Ok(Some(attachment)) => Ok(attachment),
                Ok(None) => {
                    if displaced.is_none() {
                        let prepared = Clsact::prepare(ifindex, interface, links.as_deref())?;
                        attached.clsact = prepared.ours.or(attached.clsact.take());
                        displaced = Some(prepared.displaced);
                    }
                    Attachment::by_filter(&hook, &program)
                }
                Err(error) => Err(error),
            };
            match attachment {
                Ok(attachment) => attached.programs.push(attachment),
                Err(error) => result = Err(error),
            }
        }
        let displaced = displaced.unwrap_or_default();
        foreign::add_behind(&displaced, TcAttachType::Ingress, foreign::PRIORITY);
        result
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
        traces::remove_stale(links, |ifindex| !wanted.contains(&ifindex)).map(|_| ())
    }

    /// Asks the kernel for hooks (semantics C7).
    #[must_use]
    pub fn faults(&self, scope: &Scope) -> Vec<HookFault> {
        let asked = self.attached.iter().filter(|(ifindex, it)| match scope {
            Scope::All => true,
            Scope::Links => it.programs.iter().any(Attachment::is_link),
            Scope::Interfaces(some) => some.contains(ifindex),
        });
        asked.flat_map(|(ifindex, it)| it.faults(*ifindex)).collect()
    }

    /// Restores what is wrong at the hooks of an interface.
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub fn restore(&mut self, kernel: &mut Kernel, ifindex: u32) -> Result<(), KernelError> {
        let promoted = self.promote(kernel, ifindex);
        let Some(mut attached) = self.attached.remove(&ifindex) else { return Ok(()) };
        let result = promoted.and_then(|()| self.restore_attached(kernel, ifindex, &mut attached));
        let (name, place) = (attached.name.clone(), attached.place);
        self.attached.insert(ifindex, attached);
        result.and_then(|()| self.attach(kernel, ifindex, &name, place))
    }

    fn restore_attached(
        &self,
        kernel: &mut Kernel,
        ifindex: u32,
        attached: &mut Attached,
    ) -> Result<(), KernelError> {
        let links = self.links.as_deref();
        let empty = empty(kernel)?;
        let place = attached.place;
        for attachment in &mut attached.programs {
            let Some(fault) = attachment.fault() else { continue };
            if fault == Fault::Missing && !attachment.is_link() {
                let prepared = Clsact::prepare(ifindex, &attached.name, links)?;
                attached.clsact = prepared.ours.or(attached.clsact.take());
                foreign::add_behind(&prepared.displaced, TcAttachType::Ingress, foreign::PRIORITY);
            }
            let direction = attachment.direction;
            let wanted = place.programs().into_iter().find(|(_, it)| *it == direction);
            let Some((program, _)) = wanted else { continue };
            let program = Program::new(program, kernel.program(program)?)?;
            let hook = Hook { ifindex, interface: &attached.name, direction, links };
            attachment.restore(&fault, &hook, &program, empty.as_fd())?;
        }
        Ok(())
    }

    /// Attaches by TCX; `None` if clsact is to be used. `is_hurried`: it is preferred, unless there is
    /// the link of an earlier agent.
    fn by_link(
        &mut self,
        hook: &Hook<'_>,
        program: &Program<'_>,
        is_hurried: bool,
    ) -> Result<Option<Attachment>, KernelError> {
        // A folder is the marker of an earlier agent's clsact filter, which is replaced in place.
        let pin = hook.pin();
        let is_marked = pin.as_ref().is_some_and(|pin| pin.is_dir());
        let is_new = !pin.is_some_and(|pin| pin.exists());
        if self.without_tcx || is_marked || is_hurried && is_new {
            return Ok(None);
        }
        let mut existing = attachment::pinned_link(hook)?;
        if existing.is_none() && hook.links.is_some() {
            existing = orphans::adopt(hook, program.name);
        }
        match Attachment::by_link(hook, program, existing) {
            Err(KernelError::Attach { .. }) if !tcx::is_supported(hook.ifindex) => {
                self.without_tcx = true;
                Ok(None)
            }
            attached => attached.map(Some),
        }
    }
}

/// The program that lets everything pass.
pub(super) fn empty(kernel: &mut Kernel) -> Result<ProgramFd, KernelError> {
    let failed = |source| KernelError::Program { name: EMPTY, source };
    let program = kernel.program(EMPTY)?.fd().map_err(failed)?;
    program.try_clone().map_err(|error| failed(error.into()))
}

impl Attached {
    fn new(name: &str, place: Place) -> Self {
        Self { name: name.to_owned(), place, programs: Vec::new(), clsact: None }
    }

    fn faults(&self, ifindex: u32) -> Vec<HookFault> {
        let one = |(program, direction): (&str, TcAttachType)| {
            let attachment = self.programs.iter().find(|it| it.direction == direction);
            let fault = attachment.map_or(Some(Fault::Missing), Attachment::fault)?;
            let side = match (self.place, direction) {
                (Place::Pod, TcAttachType::Ingress) => "from the pod",
                (Place::Pod, _) => "to the pod",
                (_, TcAttachType::Ingress) => "from outside",
                (_, _) => "to outside",
            };
            let text = format!("packets {side} ({program}): {fault}");
            Some(HookFault { ifindex, is_open: fault != Fault::Unpinned, text })
        };
        self.place.programs().into_iter().filter_map(one).collect()
    }
}
