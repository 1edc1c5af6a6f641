//! The attachment of one program to one hook of an interface: a link or a filter, which may outlive
//! the agent (semantics C3), and whether it is still there and runs first (semantics C7).

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use aya::programs::TcAttachType;

use super::filters::{self, Filter};
use super::foreign::{self, Displaced};
use super::tcx::{self, TcxLink};
use super::traffic_control::parent;
use super::{KernelError, pins};

mod hook;
mod links;
mod promote;

pub(super) use hook::{Hook, Program, name};

use hook::{IN, NEXT};

/// The handles of our filters that outlive the agent. The next agent finds them by these. A filter
/// that must run before others is added under the other handle before the old one is removed.
const HANDLES: [u32; 2] = [0x656e_6601, 0x656e_6602];
/// The first handle of filters that end with the agent: several agents of tests have some.
const OWN_HANDLES: u32 = 0x656e_6610;

/// What is wrong with an attachment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// The hook does not have the program.
    #[error("its program was detached")]
    Missing,
    /// The link or filter runs another program.
    #[error("its program was replaced by another one")]
    Replaced,
    /// Other programs run first, and may accept packets.
    #[error("{0} of another program runs before ours")]
    Preceded(String),
    /// The attachment would end with the agent.
    #[error("its pin was removed")]
    Unpinned,
    /// The kernel does not say.
    #[error("its programs can't be listed: {0}")]
    Unknown(String),
}

/// The attachment of one program to one hook.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) direction: TcAttachType,
    ifindex: u32,
    program: u32,
    how: How,
}

#[derive(Debug)]
enum How {
    Link(TcxLink),
    Filter(OwnFilter),
}

/// A filter of ours. Dropping it removes it, unless there is a marker for it.
#[derive(Debug)]
struct OwnFilter {
    place: filters::Place,
    /// The folder that marks the filter as ours.
    marker: Option<PathBuf>,
}

impl Drop for OwnFilter {
    fn drop(&mut self) {
        if self.marker.is_none()
            && let Err(error) = self.place.remove()
        {
            tracing::debug!(ifindex = self.place.ifindex, %error, "cannot remove a filter");
        }
    }
}

impl Attachment {
    /// Attaches by a TCX link. `existing`: a link of an earlier agent, whose program is replaced.
    pub(super) fn by_link(
        hook: &Hook<'_>,
        program: &Program<'_>,
        existing: Option<TcxLink>,
    ) -> Result<Self, KernelError> {
        let mut link = match existing {
            Some(link) => {
                link.replace_program(program.fd).map_err(hook.failed())?;
                link
            }
            None => first_link(hook, program)?,
        };
        if let Some(pin) = hook.pin()
            && !link.has_pin()
        {
            link.pin(&pin).map_err(KernelError::read_pin(&pin))?;
        }
        Ok(Self::new(hook, program, How::Link(link)))
    }

    /// Attaches by a filter of the interface's clsact qdisc, or replaces that of an earlier agent.
    pub(super) fn by_filter(hook: &Hook<'_>, program: &Program<'_>) -> Result<Self, KernelError> {
        let place = put_first(hook, program, &[]).map_err(hook.failed())?;
        let marker = hook.pin();
        if let Some(marker) = &marker {
            // The link of an agent that used TCX stays until the filter is attached.
            if marker.exists() && !marker.is_dir() {
                remove_link(marker, hook.ifindex).map_err(KernelError::read_pin(marker))?;
            }
            pins::make(marker)?;
        }
        Ok(Self::new(hook, program, How::Filter(OwnFilter { place, marker })))
    }

    fn new(hook: &Hook<'_>, program: &Program<'_>, how: How) -> Self {
        let Hook { ifindex, direction, .. } = *hook;
        Self { direction, ifindex, program: program.id, how }
    }

    pub(super) fn is_link(&self) -> bool {
        matches!(self.how, How::Link(_))
    }

    /// What is wrong with the attachment, as the kernel has it now. An interface that is gone has
    /// no fault.
    pub(super) fn fault(&self) -> Option<Fault> {
        let fault = match &self.how {
            How::Link(link) => self.fault_of_link(link),
            How::Filter(filter) => self.fault_of_filter(filter),
        };
        match fault {
            Ok(fault) => fault,
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => None,
            Err(error) => Some(Fault::Unknown(error.to_string())),
        }
    }

    fn fault_of_link(&self, link: &TcxLink) -> io::Result<Option<Fault>> {
        let attached = tcx::query(self.ifindex, self.direction)?;
        let Some(at) = attached.iter().position(|it| it.link == link.id()) else {
            return Ok(Some(Fault::Missing));
        };
        if attached.get(at).is_some_and(|it| it.program != self.program) {
            return Ok(Some(Fault::Replaced));
        }
        if let Some(before) = attached.get(..at).unwrap_or_default().first() {
            return Ok(Some(Fault::Preceded(format!("program {}", before.program))));
        }
        Ok(link.lacks_pin().then_some(Fault::Unpinned))
    }

    fn fault_of_filter(&self, own: &OwnFilter) -> io::Result<Option<Fault>> {
        let filters = filters::list(self.ifindex, parent(self.direction))?;
        let Some(at) = filters.iter().position(|it| own.is(it)) else {
            return Ok(Some(Fault::Missing));
        };
        if filters.get(at).is_some_and(|it| it.program() != Some(self.program)) {
            return Ok(Some(Fault::Replaced));
        }
        if let Some(before) = filters.get(..at).unwrap_or_default().first() {
            return Ok(Some(Fault::Preceded(before.to_string())));
        }
        // Links run before filters. Kernels without TCX have none.
        if let Some(before) = tcx::query(self.ifindex, self.direction).unwrap_or_default().first() {
            return Ok(Some(Fault::Preceded(format!("program {}", before.program))));
        }
        let lacks_marker = own.marker.as_ref().is_some_and(|it| !it.is_dir());
        Ok(lacks_marker.then_some(Fault::Unpinned))
    }

    /// Makes the program the first of the hook again. `empty`: a program that lets everything pass
    /// to the next one.
    pub(super) fn restore(
        &mut self,
        fault: &Fault,
        hook: &Hook<'_>,
        program: &Program<'_>,
        empty: BorrowedFd<'_>,
    ) -> Result<(), KernelError> {
        let failed = hook.failed();
        match &mut self.how {
            How::Link(link) => match fault {
                Fault::Replaced => link.replace_program(program.fd).map_err(failed)?,
                Fault::Unpinned => link.restore_pin().map_err(failed)?,
                Fault::Missing => {
                    let mut new = first_link(hook, program)?;
                    if let Some(pin) = hook.pin() {
                        new.pin(&pin).map_err(KernelError::read_pin(&pin))?;
                    }
                    *link = new;
                }
                Fault::Preceded(_) => {
                    links::put_first(link, hook, program, empty).map_err(failed)?;
                }
                Fault::Unknown(_) => {}
            },
            How::Filter(filter) => match (fault, &filter.marker) {
                (Fault::Unpinned, Some(marker)) => pins::make(marker)?,
                (Fault::Unpinned | Fault::Unknown(_), _) => {}
                (_, marker) => {
                    let own = [filter.place.handle];
                    filter.place = put_first(hook, program, &own).map_err(failed)?;
                    marker.as_ref().map_or(Ok(()), |marker| pins::make(marker))?;
                }
            },
        }
        self.program = program.id;
        Ok(())
    }

    /// Detaches the program.
    pub(super) fn detach(self) {
        if let Err(error) = self.remove() {
            tracing::debug!(%error, "the pin of a program was removed before");
        }
    }

    fn remove(self) -> io::Result<()> {
        match self.how {
            How::Link(link) => link.remove(),
            How::Filter(mut filter) => {
                let marker = filter.marker.take();
                drop(filter);
                marker.map_or(Ok(()), fs::remove_dir)
            }
        }
    }
}

impl OwnFilter {
    fn is(&self, filter: &Filter) -> bool {
        filter.shares_priority()
            && (filter.priority(), filter.handle()) == (self.place.priority, self.place.handle)
    }
}

fn first_link(hook: &Hook<'_>, program: &Program<'_>) -> Result<TcxLink, KernelError> {
    TcxLink::attach(program.fd, hook.ifindex, hook.direction).map_err(hook.failed())
}

/// The pinned link of a hook; `None` if there is none for this interface.
pub(super) fn pinned_link(hook: &Hook<'_>) -> Result<Option<TcxLink>, KernelError> {
    let Some(pin) = hook.pin() else { return Ok(None) };
    let unreadable = KernelError::read_pin(&pin);
    match TcxLink::open(&pin, hook.ifindex) {
        Ok(Some(link)) => Ok(Some(link)),
        // The link was detached, or its interface is gone and another one has its number.
        Ok(None) => fs::remove_file(&pin).map(|()| None).map_err(unreadable),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(error)),
    }
}

/// Makes our filter the first of the hook. `own`: the handles of filters that it replaces.
fn put_first(hook: &Hook<'_>, program: &Program<'_>, own: &[u32]) -> io::Result<filters::Place> {
    let Hook { ifindex, direction, .. } = *hook;
    let filters = filters::list(ifindex, parent(direction))?;
    let is_own = |it: &Filter| {
        let handles: &[u32] = if hook.links.is_some() { &HANDLES } else { own };
        it.shares_priority() && handles.contains(&it.handle())
    };
    let at = |it: &Filter| {
        let (priority, handle) = (it.priority(), it.handle());
        filters::Place { ifindex, hook: direction, priority, handle }
    };
    if let Some(first) = filters.first().filter(|it| is_own(it)) {
        let place = at(first);
        place.replace(program.fd, program.name)?;
        remove_all(filters.iter().skip(1).filter(|it| is_own(it)).map(at));
        return Ok(place);
    }
    let Displaced { priority, filters: displaced, after } = foreign::displace(&filters)?;
    let used =
        |handle: &u32| filters.iter().any(|it| it.shares_priority() && it.handle() == *handle);
    let handle = if hook.links.is_some() {
        HANDLES.into_iter().find(|it| !used(it))
    } else {
        (OWN_HANDLES..u32::MAX).find(|it| !used(it))
    };
    let handle = handle.ok_or(io::ErrorKind::AlreadyExists)?;
    let place = filters::Place { ifindex, hook: direction, priority, handle };
    let added = place.add(program.fd, program.name);
    foreign::add_behind(&displaced, direction, after);
    added?;
    remove_all(filters.iter().filter(|it| is_own(it)).map(at));
    Ok(place)
}

fn remove_all(places: impl Iterator<Item = filters::Place>) {
    for place in places {
        if let Err(error) = place.remove() {
            tracing::debug!(ifindex = place.ifindex, %error, "cannot remove a filter of ours");
        }
    }
}

/// Whether a pin with this ending was left by an agent that ended before it took its place.
pub(super) fn is_draft(ending: &str) -> bool {
    ending.ends_with(NEXT)
}

/// Detaches the program of a hook's pin or marker, whose name ends in `ending`, and removes it.
pub(super) fn remove_pinned(path: &Path, ifindex: u32, ending: &str) -> io::Result<()> {
    if !path.is_dir() {
        return remove_link(path, ifindex);
    }
    let hook = if ending == IN { TcAttachType::Ingress } else { TcAttachType::Egress };
    // The interface may be gone, and its filters with it.
    let filters = filters::list(ifindex, parent(hook)).unwrap_or_default();
    let ours = filters.iter().filter(|it| it.shares_priority() && HANDLES.contains(&it.handle()));
    remove_all(ours.map(|it| {
        let (priority, handle) = (it.priority(), it.handle());
        filters::Place { ifindex, hook, priority, handle }
    }));
    fs::remove_dir(path)
}

/// Detaches the program of a pinned link and removes the pin.
fn remove_link(pin: &Path, ifindex: u32) -> io::Result<()> {
    match TcxLink::open(pin, ifindex) {
        Ok(Some(link)) => link.remove(),
        Ok(None) => fs::remove_file(pin),
        Err(error) => {
            tracing::debug!(pin = %pin.display(), %error, "cannot open a pin");
            fs::remove_file(pin)
        }
    }
}
