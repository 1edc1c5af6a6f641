//! Attaching the programs to interfaces: TCX where the kernel has it, clsact otherwise.

use std::collections::BTreeMap;

use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType};
use aya::sys::SyscallError;

use super::clsact::Clsact;
use super::{Kernel, KernelError};

/// Priority of our filters on a clsact qdisc: before those that take the kernel's default, so
/// that what they accept was judged first.
const PRIORITY: u16 = 1;

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
    fn programs(self) -> [(&'static str, TcAttachType); 2] {
        let (from, to) = match self {
            Self::Pod => ("from_pod", "to_pod"),
            Self::Uplink => ("from_wire", "to_wire"),
        };
        [(from, TcAttachType::Ingress), (to, TcAttachType::Egress)]
    }
}

/// The interfaces that have our programs. Dropping it detaches them.
#[derive(Debug, Default)]
pub struct Hooks {
    attached: BTreeMap<u32, Attached>,
    without_tcx: bool,
}

/// What was put on one interface; dropped in this order.
#[derive(Debug)]
struct Attached {
    place: Place,
    links: Vec<SchedClassifierLink>,
    clsact: Option<Clsact>,
}

impl Hooks {
    /// Attaches by clsact, as on kernels before 6.6, whatever this one can do.
    #[must_use]
    pub fn without_tcx() -> Self {
        Self { without_tcx: true, ..Self::default() }
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

    /// Puts both programs in front of whatever else is on the interface's hooks (semantics P5).
    ///
    /// # Errors
    /// The kernel refuses; the interface may be gone.
    pub fn attach(
        &mut self,
        kernel: &mut Kernel,
        ifindex: u32,
        name: &str,
        place: Place,
    ) -> Result<(), KernelError> {
        let mut attached = Attached { place, links: Vec::new(), clsact: None };
        for (program, hook) in place.programs() {
            let program = kernel.program(program)?;
            let link = match self.by_tcx(program, name, hook)? {
                Some(link) => link,
                None => by_clsact(program, name, ifindex, hook, &mut attached.clsact)?,
            };
            attached.links.push(link);
        }
        self.attached.insert(ifindex, attached);
        Ok(())
    }

    /// Forgets an interface; programs on it are detached if it still exists.
    pub fn detach(&mut self, ifindex: u32) {
        self.attached.remove(&ifindex);
    }

    /// Attaches by TCX; `None` if this kernel has none.
    fn by_tcx(
        &mut self,
        program: &mut SchedClassifier,
        interface: &str,
        hook: TcAttachType,
    ) -> Result<Option<SchedClassifierLink>, KernelError> {
        if self.without_tcx {
            return Ok(None);
        }
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
}

/// Attaches by a clsact qdisc, which is put into `own` if the interface had none.
fn by_clsact(
    program: &mut SchedClassifier,
    interface: &str,
    ifindex: u32,
    hook: TcAttachType,
    own: &mut Option<Clsact>,
) -> Result<SchedClassifierLink, KernelError> {
    if own.is_none() {
        *own = Clsact::add(interface, ifindex)?;
    }
    let filter = NlOptions { priority: PRIORITY, ..NlOptions::default() };
    let link = program
        .attach_with_options(interface, hook, TcAttachOptions::Netlink(filter))
        .map_err(|it| refused(interface, it))?;
    program.take_link(link).map_err(|it| refused(interface, it))
}

fn refused(interface: &str, source: ProgramError) -> KernelError {
    KernelError::Attach { interface: interface.to_owned(), source }
}

/// Kernels before 6.6 don't know the attach type.
fn lacks_tcx(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(SyscallError { io_error, .. })
        if io_error.raw_os_error() == Some(libc::EINVAL))
}
