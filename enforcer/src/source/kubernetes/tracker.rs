//! One kind's events → changes. Pure.
//!
//! An object is removed only when it is deleted or a *complete* list lacks it, never because of a
//! lost connection (semantics C4). While an object has errors, what can be read of it is in effect, for its last
//! good version may allow what the present one no longer allows (semantics R9). That version stays only while the
//! present one can't be read at all.

use std::collections::BTreeMap;

use super::key::Key;
use super::kind::Kind;
use super::object::{Outcome, Seen};
use crate::source::remark::{Remark, Remarks, Severity};
use enforcer_core::model::{Change, PolicyId};

/// An event of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// A list starts.
    Listing,
    /// An object exists or changed.
    Object(Box<Seen>),
    /// An object was deleted.
    Gone(Key),
    /// The list is complete.
    Listed,
}

/// The results of an event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Consequences {
    pub(super) changes: Vec<Change>,
    pub(super) remarks: Vec<Remarks>,
}

#[derive(Debug)]
struct Held {
    /// The hash of its uid.
    identity: u64,
    /// Whether a version of it is in effect.
    in_effect: bool,
    /// The list during or after which it was last seen.
    list: u32,
}

/// The names of a kind's objects, without their contents.
#[derive(Debug)]
pub(super) struct Tracker {
    kind: Kind,
    held: BTreeMap<Key, Held>,
    /// The last reported remarks on each object that has any.
    reported: BTreeMap<Key, Vec<Remark>>,
    /// The number of the current list: it lacks the objects that were last seen in earlier ones.
    list: u32,
    complete: bool,
}

impl Tracker {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, held: BTreeMap::new(), reported: BTreeMap::new(), list: 0, complete: false }
    }

    /// Whether a list was complete at least once.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The number of objects.
    pub(super) fn objects(&self) -> usize {
        self.held.len()
    }

    /// The number of objects with errors.
    pub(super) fn bad(&self) -> usize {
        let is_bad = |list: &&Vec<Remark>| list.iter().any(|it| it.severity == Severity::Error);
        self.reported.values().filter(is_bad).count()
    }

    /// Whether there is an object of this name.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.held.contains_key(key)
    }

    /// Applies an event.
    pub(super) fn take(&mut self, event: Event) -> Consequences {
        let mut then = Consequences::default();
        match event {
            Event::Listing => self.list = self.list.wrapping_add(1),
            Event::Object(seen) => self.see(*seen, &mut then),
            Event::Gone(key) => self.forget(&key, &mut then),
            Event::Listed => {
                let unseen = self.held.iter().filter(|(_, held)| held.list != self.list);
                let unseen: Vec<Key> = unseen.map(|(key, _)| key.clone()).collect();
                unseen.iter().for_each(|key| self.forget(key, &mut then));
                if !self.complete {
                    // Names of a list arrive in order, which leaves nearly half of each node of the map free.
                    self.held = std::mem::take(&mut self.held).into_iter().collect();
                }
                self.complete = true;
            }
        }
        then
    }

    fn see(&mut self, seen: Seen, then: &mut Consequences) {
        let identity = seen.identity();
        if self.held.get(&seen.key).is_some_and(|held| held.identity != identity) {
            // Another object of the same name: the deletion of the former was missed.
            self.release(&seen.key, then);
        }
        self.report(&seen, then);
        if seen.key.name().is_empty() {
            // An object without a name can't be recognised later.
            return;
        }
        let was_in_effect = self.is_in_effect(&seen.key);
        let (in_effect, change) = match seen.outcome {
            Outcome::Good(change) => (true, change),
            Outcome::Bad(fallback) => (was_in_effect || fallback.is_some(), fallback),
        };
        then.changes.extend(change);
        self.held.insert(seen.key, Held { identity, in_effect, list: self.list });
    }

    fn is_in_effect(&self, key: &Key) -> bool {
        self.held.get(key).is_some_and(|it| it.in_effect)
    }

    fn release(&mut self, key: &Key, then: &mut Consequences) {
        if self.held.remove(key).is_some() {
            then.changes.extend(self.kind.gone(key));
        }
    }

    fn forget(&mut self, key: &Key, then: &mut Consequences) {
        self.release(key, then);
        if let Some(before) = self.reported.remove(key) {
            then.remarks.extend(retracted(&self.about(key), &before, "gone, with its errors"));
        }
    }

    /// Reports the remarks on an object, unless they are those that were reported last.
    fn report(&mut self, seen: &Seen, then: &mut Consequences) {
        let before = self.reported.get(&seen.key);
        if before.map_or(&[][..], Vec::as_slice) == seen.remarks {
            return;
        }
        let about = self.about(&seen.key);
        if seen.remarks.is_empty() {
            let before = self.reported.remove(&seen.key).unwrap_or_default();
            then.remarks.extend(retracted(&about, &before, "fixed"));
            return;
        }
        let mut list = seen.remarks.clone();
        if let Outcome::Bad(fallback) = &seen.outcome {
            let text = effect(self.is_in_effect(&seen.key), fallback.as_ref()).into();
            list.push(Remark { severity: Severity::Notice, text });
        }
        self.reported.insert(seen.key.clone(), seen.remarks.clone());
        for remark in &mut list {
            remark.text = format!("{about}: {}", remark.text);
        }
        let id = PolicyId::new(seen.key.namespace(), seen.key.name());
        let policy = (self.kind == Kind::Policy).then_some(id);
        then.remarks.push(Remarks { about, policy, list });
    }

    fn about(&self, key: &Key) -> String {
        format!("{} {key}", self.kind.name())
    }
}

/// The effect of an object's errors.
fn effect(was_in_effect: bool, fallback: Option<&Change>) -> &'static str {
    match fallback {
        Some(Change::Policy(_)) => {
            "until it has no errors, it isolates the pods that it selects and allows nothing"
        }
        Some(_) => "what can be read of it is in effect",
        None if was_in_effect => "its last good version stays in effect",
        None => "it is not in effect",
    }
}

fn retracted(about: &str, before: &[Remark], what: &str) -> Option<Remarks> {
    let list = vec![Remark { severity: Severity::Notice, text: format!("{about}: {what}") }];
    (!before.is_empty()).then(|| Remarks { about: about.to_owned(), policy: None, list })
}
