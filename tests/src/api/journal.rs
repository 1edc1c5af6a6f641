//! Who asked for what.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::request::Verb;

/// A request about objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it came.
    pub at: Instant,
    /// What was to be done, in RBAC's words.
    pub verb: Verb,
    /// With the group: `networkpolicies.networking.k8s.io`, and the part, if one was named:
    /// `pods/status`.
    pub resource: String,
    /// Empty: all, or none.
    pub namespace: String,
    /// Empty: many.
    pub name: String,
    /// The parameters as they were sent.
    pub query: String,
    /// What the client calls itself.
    pub user_agent: String,
}

/// All requests about objects since the server began. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<Entry>>>);

impl Journal {
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, entry: Entry) {
        self.lock().push(entry);
    }

    /// The requests in the order in which they came.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// What clients whose names begin so have done to what: the permissions that they need.
    #[must_use]
    pub fn permissions(&self, user_agent: &str) -> BTreeSet<(Verb, String)> {
        let entries = self.lock();
        let theirs = entries.iter().filter(|it| it.user_agent.starts_with(user_agent));
        theirs.map(|it| (it.verb, it.resource.clone())).collect()
    }

    /// How often something was done.
    #[must_use]
    pub fn count(&self, verb: Verb, resource: &str) -> usize {
        self.lock().iter().filter(|it| it.verb == verb && it.resource == resource).count()
    }
}
