//! The state of the watches, for metrics and readiness.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::kind::Kind;

/// The phase of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Waits for its first list, or for a new one because the last version expired.
    #[default]
    Listing,
    /// Receives every change.
    Synced,
    /// Lost the connection; the last known state stays in effect.
    Reconnecting,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Listing, Self::Synced, Self::Reconnecting];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listing => "listing",
            Self::Synced => "synced",
            Self::Reconnecting => "reconnecting",
        }
    }
}

/// The state of the watch of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchState {
    /// Its phase.
    pub phase: Phase,
    /// Whether a list was complete at least once.
    pub complete: bool,
    /// When the server last sent something; `None` if it never did.
    pub received_at: Option<Instant>,
    /// Objects known.
    pub objects: usize,
    /// Objects with an error at present.
    pub bad: usize,
    /// Lists that were started, the first included.
    pub lists: u64,
    /// Failures of lists and watches.
    pub errors: u64,
    /// The last failure; `None` while it works.
    pub failing: Option<String>,
    /// Failures since the server last answered.
    pub(super) failures: u32,
    /// Lists in a row that were needed soon after another one, and when the last was.
    pub(super) relists: u32,
    pub(super) relisted_at: Option<tokio::time::Instant>,
}

/// The state of all watches; shared between the watches and its readers.
#[derive(Debug, Default)]
pub struct Watches {
    kinds: Mutex<BTreeMap<Kind, WatchState>>,
    node: Mutex<Option<String>>,
}

impl Watches {
    /// Watches that have not started.
    #[must_use]
    pub fn new() -> Self {
        let watches = Self::default();
        watches.kinds().extend(Kind::ALL.map(|kind| (kind, WatchState::default())));
        watches
    }

    /// Each kind's state.
    #[must_use]
    pub fn states(&self) -> Vec<(Kind, WatchState)> {
        self.kinds().iter().map(|(kind, state)| (*kind, state.clone())).collect()
    }

    /// Why the cluster's state is incomplete, if it is.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        let states = self.states();
        let missing = states.iter().filter(|(_, state)| !state.complete).map(|(kind, state)| {
            let why = state.failing.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
            format!("the first list of {} is not complete{why}", kind.resource())
        });
        let missing: Vec<String> = missing.chain(self.node_problem()).collect();
        (!missing.is_empty()).then(|| missing.join("; "))
    }

    /// Whether no kind's list is missing or being received.
    #[must_use]
    pub fn are_listed(&self) -> bool {
        self.kinds().values().all(|state| state.phase != Phase::Listing)
    }

    /// The problem with the node's name, if there is one.
    #[must_use]
    pub fn node_problem(&self) -> Option<String> {
        lock(&self.node).clone()
    }

    /// Changes a kind's state.
    pub(super) fn change(&self, kind: Kind, change: impl FnOnce(&mut WatchState)) {
        change(self.kinds().entry(kind).or_default());
    }

    /// Sets or clears the problem with the node's name.
    pub(super) fn set_node_problem(&self, problem: Option<String>) {
        *lock(&self.node) = problem;
    }

    fn kinds(&self) -> MutexGuard<'_, BTreeMap<Kind, WatchState>> {
        lock(&self.kinds)
    }
}

/// Locks it even after a panic: every change leaves it consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
