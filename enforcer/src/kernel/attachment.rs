//! What holds a program on an interface's hook, with the agent or beyond it (semantics C3).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use nix::net::if_::if_indextoname;

use super::clsact::{self, Clsact, already_there};
use super::hooks::refused;
use super::{KernelError, pins, sys};

/// Priority of our filters on a clsact qdisc: before those that take the kernel's default, so
/// that what they accept was judged first.
const PRIORITY: u16 = 1;

/// The handle of filters that outlive the agent, by which the next agent finds them.
const HANDLE: u32 = 0x656e_6601;

/// What holds a program.
#[derive(Debug)]
pub(super) enum Hold {
    /// A link or filter that ends with the agent.
    Own(SchedClassifierLink),
    /// A link that outlives it, by its pin.
    Pinned(PathBuf),
    /// A filter that outlives it.
    Filter {
        ifindex: u32,
        hook: TcAttachType,
        /// The folder that says so.
        note: PathBuf,
    },
}

impl Hold {
    /// Takes the program off.
    pub(super) fn release(self) {
        let released = match self {
            Self::Own(link) => {
                drop(link);
                Ok(())
            }
            Self::Pinned(pin) => remove_link(&pin),
            Self::Filter { ifindex, hook, note } => {
                remove_filter(ifindex, hook);
                fs::remove_dir(note)
            }
        };
        if let Err(error) = released {
            tracing::debug!(%error, "a pin was removed before");
        }
    }
}

/// The name of a hook's pin or note.
pub(super) fn name(ifindex: u32, hook: TcAttachType) -> String {
    let way = if hook == TcAttachType::Ingress { "in" } else { "out" };
    format!("{ifindex}-{way}")
}

/// Pins a link that was just made.
pub(super) fn pin(link: SchedClassifierLink, pin: PathBuf) -> Result<Hold, KernelError> {
    let link = FdLink::try_from(link).map_err(|error| KernelError::ReadPin {
        path: pin.clone(),
        source: io::Error::other(error),
    })?;
    match link.pin(&pin) {
        Ok(_) => Ok(Hold::Pinned(pin)),
        Err(source) => Err(KernelError::Pin { path: pin, source }),
    }
}

/// Replaces the program of a pinned link; `None` if there is none for this interface.
pub(super) fn take_over(
    program: &mut SchedClassifier,
    pin: &Path,
    ifindex: u32,
) -> Result<Option<Hold>, KernelError> {
    let unreadable = |source| KernelError::ReadPin { path: pin.to_owned(), source };
    match sys::interface_of_link(pin) {
        Ok(Some(it)) if it == ifindex => {}
        // Its interface is no more, and this is another of the same number.
        Ok(_) => return fs::remove_file(pin).map(|()| None).map_err(unreadable),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    }
    let other = |error| unreadable(io::Error::other(error));
    let link = FdLink::from(PinnedLink::from_pin(pin).map_err(other)?);
    let link = SchedClassifierLink::try_from(link).map_err(other)?;
    let failed = |error| refused(&ifindex.to_string(), error);
    let id = program.attach_to_link(link).map_err(failed)?;
    // Dropped, it stays: there is the pin.
    drop(program.take_link(id).map_err(failed)?);
    Ok(Some(Hold::Pinned(pin.to_owned())))
}

/// Attaches by a filter of the interface's clsact qdisc, or replaces that of an earlier agent.
/// `links`: where a note of it is made, if it shall outlive the agent.
pub(super) fn by_filter(
    program: &mut SchedClassifier,
    ifindex: u32,
    interface: &str,
    hook: TcAttachType,
    links: Option<&Path>,
) -> Result<Hold, KernelError> {
    let failed = |error| refused(interface, error);
    let Some(links) = links else {
        let options = NlOptions { priority: PRIORITY, ..NlOptions::default() };
        let options = TcAttachOptions::Netlink(options);
        let id = program.attach_with_options(interface, hook, options).map_err(failed)?;
        return program.take_link(id).map(Hold::Own).map_err(failed);
    };
    let note = links.join(name(ifindex, hook));
    // A link of an agent that used TCX stays until the filter is there.
    let had_link = note.exists() && !note.is_dir();
    if !had_link {
        pins::make(&note)?;
    }
    let handle = TcHandle::from(HANDLE);
    let options = NlOptions { priority: PRIORITY, handle, ..NlOptions::default() };
    let id = match program.attach_with_options(interface, hook, TcAttachOptions::Netlink(options)) {
        Err(ProgramError::TcError(error)) if already_there(&error) => {
            let theirs = SchedClassifierLink::attached(interface, hook, PRIORITY, handle, None)
                .map_err(|error| failed(TcError::IoError(error).into()))?;
            program.attach_to_link(theirs)
        }
        attached => attached,
    };
    // Dropping it would take the filter off.
    std::mem::forget(program.take_link(id.map_err(failed)?).map_err(failed)?);
    if had_link {
        let unreadable = |source| KernelError::ReadPin { path: note.clone(), source };
        remove_link(&note).map_err(unreadable)?;
        pins::make(&note)?;
    }
    Ok(Hold::Filter { ifindex, hook, note })
}

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trace {
    /// A program on an interface.
    Program {
        /// The interface.
        ifindex: u32,
        /// The hook's pin or note.
        pin: String,
    },
    /// A clsact qdisc of ours.
    Qdisc {
        /// The interface.
        ifindex: u32,
    },
}

/// Removes what there are pins and notes of in `links`, for interfaces that `is_left` says so of.
pub(super) fn remove_left(
    links: &Path,
    is_left: impl Fn(u32) -> bool,
) -> Result<Vec<Trace>, KernelError> {
    let mut removed = Vec::new();
    // In the order of names, programs come before the qdisc that they may be on.
    for path in pins::entries(links)? {
        let pin = pins::name(&path).to_owned();
        let Some((ifindex, what)) = pin.split_once('-') else { continue };
        let Ok(ifindex) = ifindex.parse() else { continue };
        if !is_left(ifindex) {
            continue;
        }
        let gone = match what {
            clsact::NOTE => {
                Clsact::of_note(ifindex).give_back(links);
                removed.push(Trace::Qdisc { ifindex });
                continue;
            }
            _ if path.is_dir() => {
                let hook = if what == "in" { TcAttachType::Ingress } else { TcAttachType::Egress };
                remove_filter(ifindex, hook);
                fs::remove_dir(&path)
            }
            _ => remove_link(&path),
        };
        gone.map_err(|source| KernelError::ReadPin { path: path.clone(), source })?;
        removed.push(Trace::Program { ifindex, pin });
    }
    Ok(removed)
}

/// Takes the program of a pinned link off, and removes the pin.
fn remove_link(pin: &Path) -> io::Result<()> {
    // Its interface may be gone, and the program with it.
    if let Err(error) = sys::detach_link(pin) {
        tracing::debug!(pin = %pin.display(), %error, "the link is not attached any more");
    }
    fs::remove_file(pin)
}

/// Removes a filter that outlives the agent, if its interface still exists.
fn remove_filter(ifindex: u32, hook: TcAttachType) {
    let Ok(interface) = if_indextoname(ifindex) else { return };
    let Ok(interface) = interface.into_string() else { return };
    let handle = TcHandle::from(HANDLE);
    if let Ok(filter) = SchedClassifierLink::attached(&interface, hook, PRIORITY, handle, None) {
        drop(filter);
    }
}
