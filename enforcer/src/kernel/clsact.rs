//! The clsact qdisc: programs are attached to it where the kernel has no TCX.
//!
//! An interface has one qdisc of kind `clsact` or of kind `ingress`, which has no egress side and
//! refuses a clsact qdisc beside it. An `ingress` qdisc is replaced by a clsact qdisc: its filters
//! are added again behind ours. The CNI bandwidth plugin makes one for each limited pod, so leaving
//! it would leave these pods open. Where its filters can't be added again, it stays.

use std::fs;
use std::io;
use std::path::Path;

use aya::programs::TcAttachType;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL};

use super::filters::{self, Filter};
use super::traffic_control::{
    Attribute, INGRESS_HANDLE, INGRESS_QDISC, Message, TCA_KIND, parent, request,
};
use super::{KernelError, foreign, pins};

/// The ending of the name of a qdisc's marker folder.
pub(super) const MARKER: &str = "qdisc";

/// The kinds of qdiscs with filters for packets from the interface.
const CLSACT: &str = "clsact";
const INGRESS: &str = "ingress";

/// A clsact qdisc that an agent added. Dropping it removes the qdisc, unless it has filters of
/// others by then: removing the qdisc would remove these, too.
#[derive(Debug)]
pub(super) struct Clsact {
    ifindex: u32,
    /// Whether the qdisc outlives the agent.
    is_pinned: bool,
}

/// An interface that is ready for our filters.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// The qdisc; `None`: it is not ours.
    pub(super) ours: Option<Clsact>,
    /// The filters of an `ingress` qdisc that was replaced, to be added again.
    pub(super) displaced: Vec<Filter>,
}

impl Clsact {
    /// Adds a clsact qdisc to the interface, or finds the existing one. `links`: the folder for the
    /// marker of a qdisc that outlives the agent.
    pub(super) fn prepare(
        ifindex: u32,
        interface: &str,
        links: Option<&Path>,
    ) -> Result<Prepared, KernelError> {
        let failed = |source| KernelError::Qdisc { interface: interface.to_owned(), source };
        let mut prepared = Prepared::default();
        match add(ifindex) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let kind = kind(ifindex).map_err(failed)?;
                if kind != INGRESS {
                    let marked = links.is_some_and(|it| it.join(marker(ifindex)).exists());
                    prepared.ours = marked.then_some(Self { ifindex, is_pinned: true });
                    return Ok(prepared);
                }
                prepared.displaced = replace(ifindex, interface)?;
            }
            Err(error) => return Err(failed(error)),
        }
        if let Some(links) = links {
            pins::make(&links.join(marker(ifindex)))?;
        }
        prepared.ours = Some(Self { ifindex, is_pinned: links.is_some() });
        Ok(prepared)
    }

    /// Whether the interface has a qdisc with filters that no agent added.
    pub(super) fn is_foreign(ifindex: u32, links: Option<&Path>) -> bool {
        let is_marked = links.is_some_and(|it| it.join(marker(ifindex)).exists());
        !is_marked && kind(ifindex).is_ok_and(|kind| [CLSACT, INGRESS].contains(&&*kind))
    }

    /// The qdisc of an interface for which there is a marker.
    pub(super) fn of_marker(ifindex: u32) -> Self {
        Self { ifindex, is_pinned: true }
    }

    /// Removes a qdisc that outlives the agent, unless others use it, and its marker.
    pub(super) fn remove(mut self, links: &Path) {
        self.is_pinned = false;
        let marker = links.join(marker(self.ifindex));
        drop(self);
        if let Err(error) = fs::remove_dir(&marker) {
            tracing::debug!(marker = %marker.display(), %error, "cannot remove a marker");
        }
    }

    fn remove_if_unused(&self) -> io::Result<()> {
        if kind(self.ifindex)? != CLSACT {
            return Ok(());
        }
        for hook in [TcAttachType::Ingress, TcAttachType::Egress] {
            if !filters::list(self.ifindex, parent(hook))?.is_empty() {
                return Ok(());
            }
        }
        // A filter that is added at this moment is lost: netlink has no "remove if empty".
        remove(self.ifindex)
    }
}

impl Drop for Clsact {
    fn drop(&mut self) {
        if self.is_pinned {
            return;
        }
        // The interface may be gone, and its qdisc with it. A qdisc that stays is harmless.
        if let Err(error) = self.remove_if_unused() {
            tracing::debug!(ifindex = self.ifindex, %error, "cannot remove the clsact qdisc");
        }
    }
}

/// Replaces an `ingress` qdisc; returns its filters.
fn replace(ifindex: u32, interface: &str) -> Result<Vec<Filter>, KernelError> {
    let failed = |source| KernelError::Qdisc { interface: interface.to_owned(), source };
    let filters = filters::list(ifindex, INGRESS_HANDLE).map_err(failed)?;
    if let Some(filter) = filters.iter().find(|it| !foreign::can_replace(it)) {
        let (interface, filter) = (interface.to_owned(), filter.to_string());
        return Err(KernelError::IngressQdisc { interface, filter });
    }
    tracing::info!(
        interface,
        filters = filters.len(),
        "an ingress qdisc, which has no egress side, is replaced by a clsact qdisc"
    );
    remove(ifindex).map_err(failed)?;
    if let Err(error) = add(ifindex) {
        restore(ifindex, &filters);
        return Err(failed(error));
    }
    Ok(filters)
}

fn add(ifindex: u32) -> io::Result<()> {
    put(ifindex, CLSACT)
}

/// Adds an `ingress` qdisc and its filters again as they were.
fn restore(ifindex: u32, filters: &[Filter]) {
    let added = put(ifindex, INGRESS).and_then(|()| {
        let mut filters = filters.iter().filter(|it| !foreign::is_table(it));
        filters.try_for_each(|it| foreign::add(it, INGRESS_HANDLE, it.priority()))
    });
    if let Err(error) = added {
        tracing::error!(ifindex, %error, "cannot restore another program's ingress qdisc");
    }
}

fn put(ifindex: u32, kind: &str) -> io::Result<()> {
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let message = Message { attributes: vec![Attribute::text(TCA_KIND, kind)], ..qdisc(ifindex) };
    request(libc::RTM_NEWQDISC, flags, &message).map(|_| ())
}

fn remove(ifindex: u32) -> io::Result<()> {
    request(libc::RTM_DELQDISC, NLM_F_ACK, &qdisc(ifindex)).map(|_| ())
}

/// The kind of the interface's qdisc with filters.
fn kind(ifindex: u32) -> io::Result<String> {
    let message = Message { handle: 0, ..qdisc(ifindex) };
    // Older kernels answer only those who want an echo.
    let found = request(libc::RTM_GETQDISC, NLM_F_ACK | NLM_F_ECHO, &message)?;
    Ok(found.first().map(Message::kind).unwrap_or_default())
}

fn qdisc(ifindex: u32) -> Message {
    Message { ifindex, handle: INGRESS_HANDLE, parent: INGRESS_QDISC, ..Message::default() }
}

/// The name of the marker folder for the qdisc of an interface.
fn marker(ifindex: u32) -> String {
    format!("{ifindex}-{MARKER}")
}
