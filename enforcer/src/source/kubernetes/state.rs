//! How the watches are doing, for metrics and for whoever asks why the agent is not ready.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::kind::Kind;

/// What a watch is about at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Waiting for its first list, or for a new one: the server said that the old one is too old.
    #[default]
    Listing,
    /// Hears of every change.
    Synced,
    /// The connection was lost; what was last heard stays in effect.
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

/// How a kind's watch is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchState {
    /// What it is about.
    pub phase: Phase,
    /// Whether a list was complete at least once.
    pub complete: bool,
    /// When the server last sent something; `None` if it never did.
    pub received_at: Option<Instant>,
    /// Objects known.
    pub objects: usize,
    /// Objects with an error at present.
    pub bad: usize,
    /// How many lists were begun, the first included.
    pub lists: u64,
    /// How often a list or a watch failed.
    pub errors: u64,
    /// What failed last; `None` since it works again.
    pub failing: Option<String>,
}

/// How all watches are doing; shared between those who watch and those who tell.
#[derive(Debug, Default)]
pub struct Watches {
    kinds: Mutex<BTreeMap<Kind, WatchState>>,
    node: Mutex<Option<String>>,
}

impl Watches {
    /// Watches that have not begun.
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

    /// Why the cluster's state is not completely known yet, if it isn't.
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

    /// What is wrong with the node's name, if something is.
    #[must_use]
    pub fn node_problem(&self) -> Option<String> {
        lock(&self.node).clone()
    }

    /// Changes a kind's state.
    pub(super) fn change(&self, kind: Kind, change: impl FnOnce(&mut WatchState)) {
        change(self.kinds().entry(kind).or_default());
    }

    /// Notes what is wrong with the node's name.
    pub(super) fn set_node_problem(&self, problem: Option<String>) {
        *lock(&self.node) = problem;
    }

    fn kinds(&self) -> MutexGuard<'_, BTreeMap<Kind, WatchState>> {
        lock(&self.kinds)
    }
}

/// Each state is whole between any two changes, so a panic elsewhere does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
