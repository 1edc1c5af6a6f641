//! A record of all requests about objects.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::request::Verb;

/// A request about objects.
#[derive(Debug)]
pub(crate) struct Entry {
    pub verb: Verb,
    /// With group and subresource: `networkpolicies.networking.k8s.io`, `pods/status`.
    pub resource: String,
    pub user_agent: String,
}

/// All requests about objects since the server started. Clones share the record.
#[derive(Debug, Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<Entry>>>);

impl Journal {
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, entry: Entry) {
        self.lock().push(entry);
    }

    /// The verbs and resources of the clients whose user agent has this prefix: the permissions
    /// that they need.
    pub fn permissions(&self, user_agent: &str) -> BTreeSet<(Verb, String)> {
        let entries = self.lock();
        let theirs = entries.iter().filter(|it| it.user_agent.starts_with(user_agent));
        theirs.map(|it| (it.verb, it.resource.clone())).collect()
    }

    /// The number of requests with this verb and resource.
    pub fn count(&self, verb: Verb, resource: &str) -> usize {
        self.lock().iter().filter(|it| it.verb == verb && it.resource == resource).count()
    }
}
