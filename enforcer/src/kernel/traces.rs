//! What agents left at interfaces, as their pins and markers tell.

use std::path::Path;

use super::clsact::{self, Clsact};
use super::{KernelError, attachment, pins};

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
        if !is_stale(ifindex) && !attachment::is_draft(ending) {
            continue;
        }
        if ending == clsact::MARKER {
            Clsact::of_marker(ifindex).remove(links);
            removed.push(Trace::Qdisc { ifindex });
            continue;
        }
        attachment::remove_pinned(&path, ifindex, ending).map_err(KernelError::read_pin(&path))?;
        removed.push(Trace::Program { ifindex, pin });
    }
    Ok(removed)
}
