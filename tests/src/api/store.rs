//! The objects, their recent changes, and one version counter for all of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::key::Key;
use super::kinds::Kind;
use super::object;
use super::status::Refusal;

/// The number of changes remembered of each kind.
const HISTORY: usize = 5_000;

/// The type of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Added,
    Modified,
    Deleted,
    /// No change: informs watches of the current version.
    Bookmark,
}

/// A change of an object.
#[derive(Debug)]
pub(crate) struct Change {
    pub version: u64,
    pub at: Instant,
    pub what: What,
    /// The object after the change; if it was deleted, its last state.
    pub object: Arc<Value>,
    /// The object before the change.
    pub before: Option<Arc<Value>>,
}

/// The objects of a kind.
#[derive(Debug, Default)]
struct Shelf {
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Arc<Change>>,
    /// The oldest version that a new watch or list may start from.
    forgotten: u64,
    /// The newest change that is no longer in the history.
    lost: u64,
    /// The version of the last event since the server's start; 0 if there was none.
    moved: u64,
}

/// The state behind the lock.
#[derive(Debug)]
pub(crate) struct Contents {
    version: u64,
    made: u64,
    shelves: BTreeMap<&'static str, Shelf>,
    /// The last configuration of each manager, for server-side apply.
    pub(crate) applied: BTreeMap<(&'static str, Key, String), Value>,
}

/// The objects. Clones share one store.
#[derive(Debug, Clone)]
pub struct Store {
    contents: Arc<Mutex<Contents>>,
    version: watch::Sender<u64>,
}

impl Default for Store {
    fn default() -> Self {
        let contents = Contents {
            // Not 0: versions must not be mistaken for counts.
            version: 100,
            made: 0,
            shelves: BTreeMap::new(),
            applied: BTreeMap::new(),
        };
        let version = watch::Sender::new(contents.version);
        Self { contents: Arc::new(Mutex::new(contents)), version }
    }
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads or writes several objects atomically, then notifies the watches.
    pub(crate) fn with<T>(&self, job: impl FnOnce(&mut Contents) -> T) -> T {
        let mut contents = self.lock();
        let result = job(&mut contents);
        let version = contents.version;
        drop(contents);
        self.version.send_if_modified(|it| std::mem::replace(it, version) != version);
        result
    }

    /// The version of the newest object.
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    /// Follows [`Self::version`].
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// An object.
    pub fn get(&self, kind: &Kind, key: &Key) -> Option<Arc<Value>> {
        self.lock().get(kind, key)
    }

    /// All objects of a kind as they are.
    pub fn all(&self, kind: &Kind) -> Vec<Arc<Value>> {
        let contents = self.lock();
        let shelf = contents.shelves.get(kind.shelf);
        shelf.map(|it| it.objects.values().cloned().collect()).unwrap_or_default()
    }

    /// Stores an object unchecked, without defaults, in place of an older one. Malformed objects
    /// are accepted.
    ///
    /// # Errors
    /// `metadata` is missing or is not an object.
    pub fn put(&self, kind: &'static Kind, mut object: Value) -> Result<Arc<Value>, Refusal> {
        if !object["metadata"].is_object() {
            return Err(Refusal::bad_request("the object has no metadata"));
        }
        let key = object::key(&object);
        object::restore(kind, &mut object);
        Ok(self.with(|contents| contents.set(kind, key, object)))
    }

    /// Removes an object at once, with or without finalizers.
    pub fn remove(&self, kind: &'static Kind, key: &Key) -> Option<Arc<Value>> {
        self.with(|contents| contents.take(kind, key))
    }

    /// Removes an object whose last state is `last`.
    pub fn finish(&self, kind: &'static Kind, key: &Key, last: Value) -> Option<Arc<Value>> {
        self.with(|contents| contents.take_as(kind, key, Some(last)))
    }

    /// Changes an existing object, as a controller of the cluster would.
    pub fn edit(&self, kind: &'static Kind, key: &Key, edit: impl FnOnce(&mut Value)) -> bool {
        self.with(|contents| {
            let Some(before) = contents.get(kind, key) else { return false };
            let mut object = Value::clone(&before);
            edit(&mut object);
            if object != *before {
                contents.set(kind, key.clone(), object);
            }
            true
        })
    }

    /// Forgets the history, as the real server does after a while, or when it starts: new watches and
    /// further pages at an older version get 410. Running watches continue.
    pub fn compact(&self) {
        self.with(|contents| {
            // The present version must expire, too.
            contents.version += 1;
            let version = contents.version;
            for kind in super::kinds::KINDS {
                let shelf = contents.shelves.entry(kind.shelf).or_default();
                shelf.lost = shelf.history.back().map_or(shelf.lost, |it| it.version);
                shelf.history.clear();
                shelf.forgotten = version;
                shelf.moved = 0;
            }
        });
    }

    /// The version of the last event of a kind since the server's start; 0 if there was none.
    pub(crate) fn moved(&self, kind: &Kind) -> u64 {
        self.lock().shelves.get(kind.shelf).map_or(0, |it| it.moved)
    }

    /// Sends a bookmark to the watches of a kind that request bookmarks.
    pub fn bookmark(&self, kind: &'static Kind, object: Value) {
        self.with(|contents| contents.mark(kind, object));
    }

    /// The objects of a kind at a version (default: the present one), and that version.
    pub(crate) fn list(
        &self,
        kind: &Kind,
        at: Option<u64>,
    ) -> Result<(BTreeMap<Key, Arc<Value>>, u64), Refusal> {
        let contents = self.lock();
        let at = at.unwrap_or(contents.version);
        contents.check_version(at)?;
        let Some(shelf) = contents.shelves.get(kind.shelf) else {
            return Ok((BTreeMap::new(), at));
        };
        if at < shelf.forgotten {
            return Err(Refusal::expired(at, shelf.forgotten));
        }
        let mut objects = shelf.objects.clone();
        for change in shelf.history.iter().rev().take_while(|it| it.version > at) {
            let key = object::key(&change.object);
            match (change.what, &change.before) {
                (What::Bookmark, _) => {}
                (_, Some(before)) => drop(objects.insert(key, Arc::clone(before))),
                (_, None) => drop(objects.remove(&key)),
            }
        }
        Ok((objects, at))
    }

    /// The changes of a kind's objects after a version, and the present version. A running watch
    /// (`is_live`) may continue from versions that a new one can no longer start from. A version that
    /// does not exist yet is no error: the watch waits for later ones.
    pub(crate) fn changes(
        &self,
        kind: &Kind,
        after: u64,
        is_live: bool,
    ) -> Result<(Vec<Arc<Change>>, u64), Refusal> {
        let contents = self.lock();
        let version = contents.version.max(after);
        let Some(shelf) = contents.shelves.get(kind.shelf) else {
            return Ok((Vec::new(), version));
        };
        let oldest = if is_live { shelf.lost } else { shelf.forgotten };
        if after < oldest {
            return Err(Refusal::expired(after, oldest));
        }
        let first = shelf.history.partition_point(|it| it.version <= after);
        Ok((shelf.history.range(first..).cloned().collect(), version))
    }
}

impl Contents {
    pub(crate) fn get(&self, kind: &Kind, key: &Key) -> Option<Arc<Value>> {
        self.shelves.get(kind.shelf)?.objects.get(key).cloned()
    }

    /// The keys of a kind's objects in a namespace.
    pub(crate) fn keys_in(&self, kind: &Kind, namespace: &str) -> Vec<Key> {
        let shelf = self.shelves.get(kind.shelf);
        let keys = shelf.into_iter().flat_map(|it| it.objects.keys());
        keys.filter(|key| key.namespace == namespace).cloned().collect()
    }

    pub(crate) fn values(&self, kind: &Kind) -> impl Iterator<Item = &Arc<Value>> {
        self.shelves.get(kind.shelf).into_iter().flat_map(|it| it.objects.values())
    }

    /// A number unique to an object.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// Refuses versions that do not exist yet.
    fn check_version(&self, asked: u64) -> Result<(), Refusal> {
        if asked <= self.version {
            return Ok(());
        }
        let message = format!("Too large resource version: {asked}, current: {}", self.version);
        let cause =
            json!({ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" });
        let refusal = Refusal::new(504, "Timeout", message);
        Err(Refusal { details: json!({ "causes": [cause] }), retry_after: Some(1), ..refusal })
    }

    /// Stores an object under the next version.
    pub(crate) fn set(&mut self, kind: &'static Kind, key: Key, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let object = Arc::new(object);
        let shelf = self.shelves.entry(kind.shelf).or_default();
        let before = shelf.objects.insert(key, Arc::clone(&object));
        let what = if before.is_some() { What::Modified } else { What::Added };
        self.record(kind, what, Arc::clone(&object), before);
        object
    }

    /// Removes an object under the next version, which the returned object has.
    pub(crate) fn take(&mut self, kind: &'static Kind, key: &Key) -> Option<Arc<Value>> {
        self.take_as(kind, key, None)
    }

    fn take_as(
        &mut self,
        kind: &'static Kind,
        key: &Key,
        last: Option<Value>,
    ) -> Option<Arc<Value>> {
        let before = self.shelves.get_mut(kind.shelf)?.objects.remove(key)?;
        self.version += 1;
        let last = last.filter(|it| it["metadata"].is_object());
        let mut object = last.unwrap_or_else(|| Value::clone(&before));
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let object = Arc::new(object);
        self.record(kind, What::Deleted, Arc::clone(&object), Some(before));
        self.applied.retain(|(shelf, of, _), _| (*shelf, of) != (kind.shelf, key));
        Some(object)
    }

    fn mark(&mut self, kind: &'static Kind, mut object: Value) {
        self.version += 1;
        object["kind"] = kind.kind.into();
        object["apiVersion"] = kind.api_version().into();
        object["metadata"] = json!({ "resourceVersion": self.version.to_string() });
        self.record(kind, What::Bookmark, Arc::new(object), None);
    }

    fn record(&mut self, kind: &Kind, what: What, object: Arc<Value>, before: Option<Arc<Value>>) {
        let version = self.version;
        let shelf = self.shelves.entry(kind.shelf).or_default();
        let at = Instant::now();
        shelf.moved = version;
        shelf.history.push_back(Arc::new(Change { version, at, what, object, before }));
        while shelf.history.len() > HISTORY {
            if let Some(old) = shelf.history.pop_front() {
                shelf.forgotten = old.version;
                shelf.lost = old.version;
            }
        }
    }
}
