//! The attachment of one program to one hook of an interface: a link or a filter, which may outlive
//! the agent (semantics C3).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use nix::net::if_::if_indextoname;

use super::clsact::{self, Clsact, already_exists};
use super::{KernelError, pins, sys};

/// The priority of our filters on a clsact qdisc: before filters with the kernel's default
/// priority, so that packets are checked before these accept them.
const PRIORITY: u16 = 1;

/// The endings of the names of pins and markers.
const IN: &str = "in";
const OUT: &str = "out";

/// The handle of filters that outlive the agent. The next agent finds them by it.
const HANDLE: u32 = 0x656e_6601;

/// The attachment of one program to one hook.
#[derive(Debug)]
pub(super) enum Attachment {
    /// A link or filter that ends with the agent.
    Own(SchedClassifierLink),
    /// A link that outlives the agent, by its pin.
    Pinned(PathBuf),
    /// A filter that outlives the agent.
    Filter {
        ifindex: u32,
        hook: TcAttachType,
        /// The folder that marks the filter as ours.
        marker: PathBuf,
    },
}

impl Attachment {
    /// The attachment with this pin or marker, whose name ends in `direction`.
    fn of_path(path: PathBuf, ifindex: u32, direction: &str) -> Self {
        if !path.is_dir() {
            return Self::Pinned(path);
        }
        let hook = if direction == IN { TcAttachType::Ingress } else { TcAttachType::Egress };
        Self::Filter { ifindex, hook, marker: path }
    }

    /// Detaches the program.
    pub(super) fn detach(self) {
        if let Err(error) = self.remove() {
            tracing::debug!(%error, "the pin of a program was removed before");
        }
    }

    fn remove(self) -> io::Result<()> {
        match self {
            Self::Own(link) => {
                drop(link);
                Ok(())
            }
            Self::Pinned(pin) => remove_link(&pin),
            Self::Filter { ifindex, hook, marker } => {
                remove_filter(ifindex, hook);
                fs::remove_dir(marker)
            }
        }
    }
}

/// The name of a hook's pin or marker.
pub(super) fn name(ifindex: u32, hook: TcAttachType) -> String {
    let direction = if hook == TcAttachType::Ingress { IN } else { OUT };
    format!("{ifindex}-{direction}")
}

/// Pins a new link.
pub(super) fn pin(link: SchedClassifierLink, pin: PathBuf) -> Result<Attachment, KernelError> {
    let link = FdLink::try_from(link)
        .map_err(|error| KernelError::read_pin(&pin)(io::Error::other(error)))?;
    match link.pin(&pin) {
        Ok(_) => Ok(Attachment::Pinned(pin)),
        Err(source) => Err(KernelError::Pin { path: pin, source }),
    }
}

/// Replaces the program of a pinned link; `None` if there is no link for this interface.
pub(super) fn take_over(
    program: &mut SchedClassifier,
    pin: &Path,
    ifindex: u32,
) -> Result<Option<Attachment>, KernelError> {
    let unreadable = KernelError::read_pin(pin);
    match sys::interface_of_link(pin) {
        Ok(Some(it)) if it == ifindex => {}
        // The link's interface is gone, and another one has its number.
        Ok(_) => return fs::remove_file(pin).map(|()| None).map_err(unreadable),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    }
    let other = |error| unreadable(io::Error::other(error));
    let link = FdLink::from(PinnedLink::from_pin(pin).map_err(other)?);
    let link = SchedClassifierLink::try_from(link).map_err(other)?;
    let interface = ifindex.to_string();
    let failed = KernelError::attach(&interface);
    let id = program.attach_to_link(link).map_err(failed)?;
    // The pin keeps the link attached.
    drop(program.take_link(id).map_err(failed)?);
    Ok(Some(Attachment::Pinned(pin.to_owned())))
}

/// Attaches by a filter of the interface's clsact qdisc, or replaces the filter of an earlier
/// agent. `links`: the folder for its marker, if it is to outlive the agent.
pub(super) fn by_filter(
    program: &mut SchedClassifier,
    ifindex: u32,
    interface: &str,
    hook: TcAttachType,
    links: Option<&Path>,
) -> Result<Attachment, KernelError> {
    let failed = KernelError::attach(interface);
    let Some(links) = links else {
        let options = NlOptions { priority: PRIORITY, ..NlOptions::default() };
        let options = TcAttachOptions::Netlink(options);
        let id = program.attach_with_options(interface, hook, options).map_err(failed)?;
        return program.take_link(id).map(Attachment::Own).map_err(failed);
    };
    let marker = links.join(name(ifindex, hook));
    // The link of an agent that used TCX stays until the filter is attached.
    let had_link = marker.exists() && !marker.is_dir();
    if !had_link {
        pins::make(&marker)?;
    }
    let handle = TcHandle::from(HANDLE);
    let options = NlOptions { priority: PRIORITY, handle, ..NlOptions::default() };
    let id = match program.attach_with_options(interface, hook, TcAttachOptions::Netlink(options)) {
        Err(ProgramError::TcError(error)) if already_exists(&error) => {
            let theirs = SchedClassifierLink::attached(interface, hook, PRIORITY, handle, None)
                .map_err(|error| failed(TcError::IoError(error).into()))?;
            program.attach_to_link(theirs)
        }
        attached => attached,
    };
    // Dropping the link would remove the filter.
    std::mem::forget(program.take_link(id.map_err(failed)?).map_err(failed)?);
    if had_link {
        remove_link(&marker).map_err(KernelError::read_pin(&marker))?;
        pins::make(&marker)?;
    }
    Ok(Attachment::Filter { ifindex, hook, marker })
}

/// An object of an agent that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trace {
    /// A program on an interface.
    Program {
        /// The interface.
        ifindex: u32,
        /// The name of the hook's pin or marker.
        pin: String,
    },
    /// A clsact qdisc that an agent added.
    Qdisc {
        /// The interface.
        ifindex: u32,
    },
}

/// Removes the programs and qdiscs with a pin or marker in `links`, on the interfaces that
/// `is_stale` selects.
pub(super) fn remove_stale(
    links: &Path,
    is_stale: impl Fn(u32) -> bool,
) -> Result<Vec<Trace>, KernelError> {
    let mut removed = Vec::new();
    // Sorted by name, programs come before the qdisc that they may be on.
    for path in pins::entries(links)? {
        let pin = pins::name(&path).to_owned();
        let Some((ifindex, ending)) = pin.split_once('-') else { continue };
        let Ok(ifindex) = ifindex.parse() else { continue };
        if !is_stale(ifindex) {
            continue;
        }
        if ending == clsact::MARKER {
            Clsact::of_marker(ifindex).remove(links);
            removed.push(Trace::Qdisc { ifindex });
            continue;
        }
        let attachment = Attachment::of_path(path.clone(), ifindex, ending);
        attachment.remove().map_err(KernelError::read_pin(&path))?;
        removed.push(Trace::Program { ifindex, pin });
    }
    Ok(removed)
}

/// Detaches the program of a pinned link and removes the pin.
fn remove_link(pin: &Path) -> io::Result<()> {
    // The interface may be gone, and the attachment with it.
    if let Err(error) = sys::detach_link(pin) {
        tracing::debug!(pin = %pin.display(), %error, "cannot detach a link");
    }
    fs::remove_file(pin)
}

/// Removes a filter that outlives the agent, if the interface still exists.
fn remove_filter(ifindex: u32, hook: TcAttachType) {
    let Ok(interface) = if_indextoname(ifindex) else { return };
    let Ok(interface) = interface.into_string() else { return };
    let handle = TcHandle::from(HANDLE);
    if let Ok(filter) = SchedClassifierLink::attached(&interface, hook, PRIORITY, handle, None) {
        drop(filter);
    }
}
