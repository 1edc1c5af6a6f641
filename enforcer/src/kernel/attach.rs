//! Attaching the programs to pods' interfaces: TCX where the kernel has it, clsact otherwise.

use std::collections::BTreeMap;
use std::io;

use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcError, qdisc_add_clsact,
};
use aya::programs::{LinkOrder, ProgramError, TcAttachType};
use aya::sys::SyscallError;

use super::{Kernel, KernelError};

/// Priority of our filters on a clsact qdisc: before those that take the kernel's default, so
/// that what they accept was judged first.
const PRIORITY: u16 = 1;

/// The interfaces that have our programs. Dropping it detaches them.
#[derive(Debug, Default)]
pub struct Hooks {
    links: BTreeMap<u32, [SchedClassifierLink; 2]>,
    without_tcx: bool,
}

impl Hooks {
    /// Attaches by clsact, as on kernels before 6.6, whatever this one can do.
    #[must_use]
    pub fn without_tcx() -> Self {
        Self { without_tcx: true, ..Self::default() }
    }

    /// Whether the interface has the programs.
    #[must_use]
    pub fn contains(&self, ifindex: u32) -> bool {
        self.links.contains_key(&ifindex)
    }

    /// The interfaces that have the programs.
    pub fn interfaces(&self) -> impl Iterator<Item = u32> + '_ {
        self.links.keys().copied()
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
        let from_pod = self.one(kernel, "from_pod", name, TcAttachType::Ingress)?;
        let to_pod = self.one(kernel, "to_pod", name, TcAttachType::Egress)?;
        self.links.insert(ifindex, [from_pod, to_pod]);
        Ok(())
    }

    /// Forgets an interface; programs on it are detached if it still exists.
    pub fn detach(&mut self, ifindex: u32) {
        self.links.remove(&ifindex);
    }

    fn one(
        &mut self,
        kernel: &mut Kernel,
        program: &'static str,
        interface: &str,
        hook: TcAttachType,
    ) -> Result<SchedClassifierLink, KernelError> {
        let failed = |source| KernelError::Attach { interface: interface.to_owned(), source };
        let program = kernel.program(program)?;
        if !self.without_tcx {
            let order = TcAttachOptions::TcxOrder(LinkOrder::first());
            match program.attach_with_options(interface, hook, order) {
                Ok(link) => return program.take_link(link).map_err(failed),
                Err(error) if lacks_tcx(&error) => self.without_tcx = true,
                Err(error) => return Err(failed(error)),
            }
        }
        add_clsact(interface)?;
        let filter = NlOptions { priority: PRIORITY, ..NlOptions::default() };
        let link = program
            .attach_with_options(interface, hook, TcAttachOptions::Netlink(filter))
            .map_err(failed)?;
        program.take_link(link).map_err(failed)
    }
}

/// Kernels before 6.6 don't know the attach type.
fn lacks_tcx(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(SyscallError { io_error, .. })
        if io_error.raw_os_error() == Some(libc::EINVAL))
}

fn add_clsact(interface: &str) -> Result<(), KernelError> {
    match qdisc_add_clsact(interface) {
        Ok(()) => Ok(()),
        Err(error) if already_there(&error) => Ok(()),
        Err(source) => Err(KernelError::Qdisc { interface: interface.to_owned(), source }),
    }
}

fn already_there(error: &TcError) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::AlreadyExists;
        }
        source = error.source();
    }
    false
}
