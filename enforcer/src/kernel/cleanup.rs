//! Removing every trace of enforcement.

use std::path::{Path, PathBuf};

use aya::programs::TcAttachType;
use aya::programs::tc::{TcError, qdisc_detach_program};
use nix::net::if_::if_nameindex;

use super::attachment::Hook;
use super::hooks::Place;
use super::pins::{Pins, PinsError};
use super::traces::{self, Trace};
use super::{KernelError, orphans};

/// The objects that [`cleanup`] removed.
#[derive(Debug, Default)]
pub struct Removed {
    /// Programs and qdiscs with pins or markers.
    pub traces: Vec<Trace>,
    /// The names of interfaces that had programs without a pin or marker.
    pub filters: Vec<String>,
    /// The folder of pins, if it existed.
    pub folder: Option<PathBuf>,
}

/// Removes everything that agents left in this network namespace, so that nothing is enforced here
/// any more. A second call finds nothing.
///
/// # Errors
/// An agent is running, or an object can't be removed.
pub fn cleanup(root: &Path) -> Result<Removed, KernelError> {
    let mut removed = Removed::default();
    match Pins::open(root) {
        Ok(pins) => {
            removed.traces = traces::remove_stale(&pins.links(), |_| true)?;
            let existed = pins.has_tables()? || !removed.traces.is_empty();
            removed.folder = existed.then(|| root.to_owned());
            pins.remove()?;
        }
        // Nothing is pinned there, but filters may exist.
        Err(PinsError::NotBpf { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    removed.filters = remove_unmarked()?;
    Ok(removed)
}

/// Removes our programs that have no pin or marker, for example because the folder of pins was
/// removed. Returns the names of their interfaces.
fn remove_unmarked() -> Result<Vec<String>, KernelError> {
    let interfaces = if_nameindex().map_err(|errno| PinsError::Io {
        path: PathBuf::from("the list of interfaces"),
        source: errno.into(),
    })?;
    let mut found = Vec::new();
    for interface in &interfaces {
        let Ok(name) = interface.name().to_str() else { continue };
        let programs =
            [Place::Pod, Place::Uplink, Place::BareUplink].into_iter().flat_map(Place::programs);
        let removed = programs.filter(|(program, direction)| {
            let (ifindex, direction) = (interface.index(), *direction);
            let hook = Hook { ifindex, interface: name, direction, links: None };
            let filter = detach(name, direction, program);
            detach_links(&hook, program) || filter
        });
        if removed.count() > 0 {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

/// Detaches the links of a program that have no pin; returns whether there were any.
fn detach_links(hook: &Hook<'_>, program: &str) -> bool {
    match orphans::find(hook, program) {
        // Dropping them detaches them.
        Ok(links) => !links.is_empty(),
        Err(error) => {
            tracing::debug!(interface = hook.interface, program, %error, "cannot list links");
            false
        }
    }
}

/// Removes a filter; returns whether there was one.
fn detach(interface: &str, hook: TcAttachType, program: &str) -> bool {
    match qdisc_detach_program(interface, hook, program) {
        Ok(()) => true,
        Err(TcError::IoError(error)) if error.kind() == std::io::ErrorKind::NotFound => false,
        // Without a clsact qdisc there are no filters to list.
        Err(error) => {
            tracing::debug!(interface, program, %error, "cannot list filters");
            false
        }
    }
}
