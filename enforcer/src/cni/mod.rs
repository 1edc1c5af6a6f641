//! The container runtime's records of pods' networks: the results of CNI plugins.
//!
//! ```text
//! runtime: CNI plugins ADD ─► libcni writes a file ─► containers start
//!                                   │ inotify, and a scan at start and from time to time
//!                                   ▼
//!                    watch ─► result (one file) ─► results (by sandbox) ─► the agent's loop
//! ```
//! libcni, the library of containerd and CRI-O, keeps the result of each successful ADD in
//! `/var/lib/cni/results/<network>-<container>-<interface>` until DEL (containernetworking/cni,
//! `libcni/api.go`). The file is complete before any container of the pod starts, root alone can write
//! it, and nothing in it comes from inside the pod. So it is the best evidence for the pod of an
//! interface (semantics S6, C6).
//!
//! Belongs here: reading these files. Does not belong here: their use as evidence (`agent`).

mod result;
mod results;
mod watch;

use std::collections::BTreeMap;
use std::time::Instant;

pub use watch::watch;

use enforcer_core::model::Sandbox;

/// The directory of libcni's results, if nobody configured another one.
pub const DEFAULT_DIRECTORY: &str = "/var/lib/cni/results";

/// Whether the directory can be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum State {
    /// It was not tried yet.
    #[default]
    Pending,
    /// Reading it is turned off.
    Off,
    /// There is no such directory, or it can't be read.
    Missing {
        /// The error.
        why: String,
    },
    /// It is read and watched.
    Readable,
}

/// The results of this node's pods.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Results {
    /// Whether the directory can be read.
    pub state: State,
    /// The sandboxes that have results, by id. Of several sandboxes of a pod only the newest.
    pub sandboxes: BTreeMap<String, Sandbox>,
    /// Files that are not understood, and why.
    pub problems: BTreeMap<String, String>,
    /// When the change was noticed that led to this.
    pub received_at: Option<Instant>,
}
