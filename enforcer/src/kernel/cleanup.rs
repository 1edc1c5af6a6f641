//! Removing every trace of enforcement.

use std::path::{Path, PathBuf};

use aya::programs::TcAttachType;
use aya::programs::tc::{TcError, qdisc_detach_program};
use nix::net::if_::if_nameindex;

use super::KernelError;
use super::attachment::{self, Trace};
use super::hooks::Place;
use super::pins::{Pins, PinsError};

/// What [`cleanup`] has removed.
#[derive(Debug, Default)]
pub struct Removed {
    /// Programs and qdiscs of which there were pins and notes.
    pub traces: Vec<Trace>,
    /// Interfaces that had filters of which there was no note.
    pub filters: Vec<String>,
    /// The folder of pins, if it was there.
    pub folder: Option<PathBuf>,
}

/// Removes everything that agents have left in this network namespace; nothing is enforced here
/// any more then. Done twice, the second time finds nothing.
///
/// # Errors
/// An agent is running, or what is left can't be removed.
pub fn cleanup(root: &Path) -> Result<Removed, KernelError> {
    let mut removed = Removed::default();
    match Pins::open(root) {
        Ok(pins) => {
            removed.traces = attachment::remove_left(&pins.links(), |_| true)?;
            let was_there = pins.has_tables()? || !removed.traces.is_empty();
            removed.folder = was_there.then(|| root.to_owned());
            pins.remove()?;
        }
        // Then nothing is pinned; filters may have been left all the same.
        Err(PinsError::NotBpf { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    removed.filters = remove_nameless_filters()?;
    Ok(removed)
}

/// Filters of our programs that nobody has notes of: somebody has removed the pins, say.
fn remove_nameless_filters() -> Result<Vec<String>, KernelError> {
    let interfaces = if_nameindex().map_err(|errno| PinsError::Io {
        path: PathBuf::from("the list of interfaces"),
        source: errno.into(),
    })?;
    let mut found = Vec::new();
    for interface in &interfaces {
        let Ok(name) = interface.name().to_str() else { continue };
        let places = [Place::Pod, Place::Uplink];
        let programs = places.into_iter().flat_map(Place::programs);
        let mut any = false;
        for (program, hook) in programs {
            any |= detach(name, hook, program);
        }
        if any {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

fn detach(interface: &str, hook: TcAttachType, program: &str) -> bool {
    match qdisc_detach_program(interface, hook, program) {
        Ok(()) => true,
        Err(TcError::IoError(error)) if error.kind() == std::io::ErrorKind::NotFound => false,
        // Without a clsact qdisc there are no filters to list.
        Err(error) => {
            tracing::debug!(interface, program, %error, "no filter");
            false
        }
    }
}
