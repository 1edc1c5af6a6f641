//! One kind's events → changes. Pure.
//!
//! Nothing is forgotten because of a lost connection or a new list: what a list lacks is gone only
//! when the list is complete (semantics C4). What was good of an object stays in effect while the
//! object can't be read.

use std::collections::BTreeMap;

use super::key::Key;
use super::kind::Kind;
use super::object::{Outcome, Seen};
use crate::source::remark::{Remark, Remarks, Severity};
use enforcer_core::model::{Change, PolicyId};

/// Something that happened to a kind's objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// A list begins.
    Listing,
    /// An object is there, or changed.
    Object(Box<Seen>),
    /// An object is gone.
    Gone(Key),
    /// The list is complete.
    Listed,
}

/// What an event leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Consequences {
    pub(super) changes: Vec<Change>,
    pub(super) remarks: Vec<Remarks>,
}

/// What is in effect of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Its last good state.
    Good,
    /// What takes effect in doubt, or nothing at all: it never was good.
    Doubtful,
}

#[derive(Debug)]
struct Held {
    /// Of its uid.
    identity: u64,
    effect: Effect,
    /// In which list, or after which, it was seen last.
    list: u32,
}

/// The objects of a kind: which there are, not what they are.
#[derive(Debug)]
pub(super) struct Tracker {
    kind: Kind,
    held: BTreeMap<Key, Held>,
    /// What was last said about the few objects that there is something to say about.
    said: BTreeMap<Key, Vec<Remark>>,
    /// Counts lists, so that what the present one lacks can be told.
    list: u32,
    complete: bool,
}

impl Tracker {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, held: BTreeMap::new(), said: BTreeMap::new(), list: 0, complete: false }
    }

    /// Whether a list was complete at least once.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// How many objects there are.
    pub(super) fn objects(&self) -> usize {
        self.held.len()
    }

    /// How many of them can't be read.
    pub(super) fn bad(&self) -> usize {
        let is_bad = |list: &&Vec<Remark>| list.iter().any(|it| it.severity == Severity::Error);
        self.said.values().filter(is_bad).count()
    }

    /// Whether there is an object of this name.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.held.contains_key(key)
    }

    /// Takes an event.
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
                self.complete = true;
            }
        }
        then
    }

    fn see(&mut self, seen: Seen, then: &mut Consequences) {
        let identity = seen.identity();
        if self.held.get(&seen.key).is_some_and(|held| held.identity != identity) {
            // Another object of the same name: that the former one ended was missed.
            self.release(&seen.key, then);
        }
        self.say(&seen, then);
        if seen.key.name.is_empty() {
            // What can't be named can't be held to be the same later on.
            return;
        }
        let held = self.held.get(&seen.key);
        let (effect, change) = match (seen.outcome, held.map(|it| it.effect)) {
            (Outcome::Good(change), _) => (Effect::Good, change),
            (Outcome::Bad(_), Some(Effect::Good)) => (Effect::Good, None),
            (Outcome::Bad(in_doubt), _) => (Effect::Doubtful, in_doubt),
        };
        then.changes.extend(change);
        self.held.insert(seen.key, Held { identity, effect, list: self.list });
    }

    fn release(&mut self, key: &Key, then: &mut Consequences) {
        if self.held.remove(key).is_some() {
            then.changes.extend(self.kind.gone(key));
        }
    }

    fn forget(&mut self, key: &Key, then: &mut Consequences) {
        self.release(key, then);
        if let Some(before) = self.said.remove(key) {
            then.remarks.extend(retracted(&self.about(key), &before, "gone, with its errors"));
        }
    }

    /// Says what there is to say, unless that was said before.
    fn say(&mut self, seen: &Seen, then: &mut Consequences) {
        let before = self.said.get(&seen.key);
        if before.map_or(&[][..], Vec::as_slice) == seen.remarks {
            return;
        }
        let about = self.about(&seen.key);
        if seen.remarks.is_empty() {
            let before = self.said.remove(&seen.key).unwrap_or_default();
            then.remarks.extend(retracted(&about, &before, "fixed"));
            return;
        }
        let mut list = seen.remarks.clone();
        if let Outcome::Bad(in_doubt) = &seen.outcome {
            let was_good = self.held.get(&seen.key).is_some_and(|it| it.effect == Effect::Good);
            list.push(Remark {
                severity: Severity::Notice,
                text: effect(was_good, in_doubt).into(),
            });
        }
        self.said.insert(seen.key.clone(), seen.remarks.clone());
        for remark in &mut list {
            remark.text = format!("{about}: {}", remark.text);
        }
        let id = PolicyId::new(&*seen.key.namespace, &*seen.key.name);
        let policy = (self.kind == Kind::Policy).then_some(id);
        then.remarks.push(Remarks { about, policy, list });
    }

    fn about(&self, key: &Key) -> String {
        format!("{} {key}", self.kind.name())
    }
}

/// What follows from an object's errors.
fn effect(was_good: bool, in_doubt: &Option<Change>) -> &'static str {
    match in_doubt {
        _ if was_good => "its last good version stays in effect",
        Some(_) => {
            "until it is understood, it isolates the pods that it selects and allows nothing"
        }
        None => "it is not in effect",
    }
}

fn retracted(about: &str, before: &[Remark], what: &str) -> Option<Remarks> {
    let list = vec![Remark { severity: Severity::Notice, text: format!("{about}: {what}") }];
    (!before.is_empty()).then(|| Remarks { about: about.to_owned(), policy: None, list })
}
