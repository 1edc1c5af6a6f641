//! Attaching the programs to pods' interfaces: TCX where the kernel has it, clsact otherwise.

use std::collections::BTreeMap;

use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType};
use aya::sys::SyscallError;

use super::clsact::Clsact;
use super::{Kernel, KernelError};

/// Priority of our filters on a clsact qdisc: before those that take the kernel's default, so
/// that what they accept was judged first.
const PRIORITY: u16 = 1;

/// The interfaces that have our programs. Dropping it detaches them.
#[derive(Debug, Default)]
pub struct Hooks {
    attached: BTreeMap<u32, Attached>,
    without_tcx: bool,
}

/// What was put on one interface; dropped in this order.
#[derive(Debug, Default)]
struct Attached {
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

    /// Whether the interface has the programs.
    #[must_use]
    pub fn contains(&self, ifindex: u32) -> bool {
        self.attached.contains_key(&ifindex)
    }

    /// The interfaces that have the programs.
    pub fn interfaces(&self) -> impl Iterator<Item = u32> + '_ {
        self.attached.keys().copied()
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
    ) -> Result<(), KernelError> {
        let mut attached = Attached::default();
        for (program, hook) in
            [("from_pod", TcAttachType::Ingress), ("to_pod", TcAttachType::Egress)]
        {
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
