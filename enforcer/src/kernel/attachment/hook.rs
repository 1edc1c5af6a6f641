//! A hook of an interface, and a program for it.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use aya::programs::{SchedClassifier, TcAttachType};

use crate::kernel::{KernelError, pins};

/// The endings of the names of pins and markers.
pub(super) const IN: &str = "in";
const OUT: &str = "out";
/// Added to the name of a pin that is about to replace another one. The BPF file system allows no
/// dots.
pub(super) const NEXT: &str = "-next";

/// A hook of an interface.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernel) struct Hook<'a> {
    pub(in crate::kernel) ifindex: u32,
    pub(in crate::kernel) interface: &'a str,
    pub(in crate::kernel) direction: TcAttachType,
    /// The folder for pins and markers, if attachments outlive the agent.
    pub(in crate::kernel) links: Option<&'a Path>,
}

impl Hook<'_> {
    pub(super) fn failed(&self) -> impl Fn(io::Error) -> KernelError + Copy {
        |source| KernelError::Attach { interface: self.interface.to_owned(), source }
    }

    /// The path of the pin or marker.
    pub(in crate::kernel) fn pin(&self) -> Option<PathBuf> {
        self.links.map(|links| links.join(name(self.ifindex, self.direction)))
    }
}

/// A program to attach.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernel) struct Program<'a> {
    pub(in crate::kernel) fd: BorrowedFd<'a>,
    pub(in crate::kernel) id: u32,
    pub(in crate::kernel) name: &'static str,
}

impl<'a> Program<'a> {
    pub(in crate::kernel) fn new(
        name: &'static str,
        program: &'a SchedClassifier,
    ) -> Result<Self, KernelError> {
        let failed = |source| KernelError::Program { name, source };
        let id = program.info().map_err(failed)?.id();
        Ok(Self { fd: program.fd().map_err(failed)?.as_fd(), id, name })
    }
}

/// The name of a hook's pin or marker.
pub(in crate::kernel) fn name(ifindex: u32, hook: TcAttachType) -> String {
    let direction = if hook == TcAttachType::Ingress { IN } else { OUT };
    format!("{ifindex}-{direction}")
}

/// The path of a pin that is about to take the place of `pin`.
pub(super) fn next(pin: &Path) -> PathBuf {
    pin.with_file_name(pins::name(pin).to_owned() + NEXT)
}
