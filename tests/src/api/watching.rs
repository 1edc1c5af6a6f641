//! Watches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures::stream::{self, StreamExt};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::faults::Faults;
use super::object::{self, metadata_only};
use super::read::selection;
use super::reply::Pieces;
use super::request::{Request, Shape};
use super::selector::Selection;
use super::status::Refusal;
use super::store::{Change, Store, What};
use super::table;

/// The default duration of a watch.
const LONGEST: Duration = Duration::from_secs(1800);

/// The time between the last bookmark and the end of a watch.
const BEFORE_THE_END: Duration = Duration::from_secs(2);

struct Watching {
    store: Store,
    faults: Faults,
    versions: watch::Receiver<u64>,
    delays: watch::Receiver<u64>,
    request: Request,
    selection: Selection,
    /// The version up to which changes have been sent.
    version: u64,
    /// The version that it began with: a bookmark must be newer.
    first: u64,
    is_live: bool,
    waiting: VecDeque<Bytes>,
    is_over: bool,
    wants_bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
    /// Only the first row of a table has the columns' names.
    is_first_row: bool,
}

/// The events of a watch request.
pub(crate) fn watch(store: &Store, faults: &Faults, request: Request) -> Result<Pieces, Refusal> {
    let selection = selection(&request)?;
    let query = &request.query;
    let seconds = query.number("timeoutSeconds")?.filter(|it| *it > 0).map(Duration::from_secs);
    let asked = query.number("resourceVersion")?;
    let wants_bookmarks = query.is_set("allowWatchBookmarks");
    let wants_list = query.is_set("sendInitialEvents");
    let now = Instant::now();
    let mut watching = Watching {
        versions: store.follow(),
        delays: faults.follow_delays(),
        store: store.clone(),
        faults: faults.clone(),
        selection,
        version: 0,
        first: 0,
        is_live: false,
        waiting: VecDeque::new(),
        is_over: false,
        wants_bookmarks,
        next_bookmark: now,
        end: now + seconds.unwrap_or(LONGEST),
        is_first_row: true,
        request,
    };
    if wants_list && !faults.streams_lists() {
        watching.fail(&streaming_refused());
    } else {
        match asked.filter(|it| *it > 0 && !wants_list) {
            Some(version) => watching.version = version,
            None => watching.begin_with_all(wants_list)?,
        }
    }
    watching.first = watching.version;
    watching.plan_bookmark();
    let step = async |mut watching: Watching| {
        let piece = watching.next().await?;
        Some((Ok(piece), watching))
    };
    Ok(stream::unfold(watching, step).boxed())
}

/// The refusal of kube-apiserver 1.36 with an etcd without support.
fn streaming_refused() -> Refusal {
    let message = "a watch stream was requested by the client but the required storage feature \
        RequestWatchProgress is disabled";
    Refusal::new(500, "InternalError", message)
}

impl Watching {
    /// Sends all existing objects as new ones.
    fn begin_with_all(&mut self, marks_the_end: bool) -> Result<(), Refusal> {
        let (objects, version) = self.store.list(self.request.kind, None)?;
        for object in objects.values() {
            if self.selection.matches(object) {
                self.send("ADDED", object);
            }
        }
        self.version = version;
        if marks_the_end {
            let annotations = json!({ "k8s.io/initial-events-end": "true" });
            self.send_bookmark(json!({
                "metadata": { "resourceVersion": version.to_string(), "annotations": annotations },
            }));
        }
        Ok(())
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(piece) = self.waiting.pop_front() {
                return Some(piece);
            }
            if self.is_over {
                return None;
            }
            self.versions.mark_unchanged();
            self.delays.mark_unchanged();
            let due = self.send_changes();
            if !self.waiting.is_empty() {
                continue;
            }
            let now = Instant::now();
            if now >= self.end {
                self.is_over = true;
            } else if self.wants_bookmarks && now >= self.next_bookmark {
                self.mark();
            } else {
                self.rest(due).await;
            }
        }
    }

    /// Waits until there may be something to send.
    async fn rest(&mut self, due: Option<Instant>) {
        let mut until = self.end;
        if self.wants_bookmarks {
            until = until.min(self.next_bookmark);
        }
        if let Some(due) = due {
            until = until.min(due);
        }
        tokio::select! {
            changed = self.versions.changed() => self.is_over |= changed.is_err(),
            changed = self.delays.changed() => self.is_over |= changed.is_err(),
            () = tokio::time::sleep_until(until.into()) => {}
        }
    }

    /// Sends the changes up to the first delayed one; returns the time of that, if it is known.
    fn send_changes(&mut self) -> Option<Instant> {
        let (changes, version) =
            match self.store.changes(self.request.kind, self.version, self.is_live) {
                Ok(found) => found,
                Err(refusal) => {
                    self.fail(&refusal);
                    return None;
                }
            };
        self.is_live = true;
        let delay = self.faults.delay_of(self.request.kind);
        for change in changes {
            let due = change.at + delay?;
            if due > Instant::now() {
                return Some(due);
            }
            self.version = change.version;
            self.send_change(&change);
        }
        self.version = version;
        None
    }

    fn send_change(&mut self, change: &Change) {
        let is = |object: &Arc<Value>| self.selection.matches(object);
        let was = change.before.as_ref().is_some_and(is);
        match (change.what, was) {
            (What::Bookmark, _) => {
                if self.wants_bookmarks {
                    self.send_bookmark(Value::clone(&change.object));
                }
            }
            (What::Deleted, true) => self.send("DELETED", &change.object),
            (What::Deleted, false) => {}
            (What::Added | What::Modified, was) => match (was, is(&change.object)) {
                (false, true) => self.send("ADDED", &change.object),
                (true, true) => self.send("MODIFIED", &change.object),
                (true, false) => self.send_loss(change),
                (false, false) => {}
            },
        }
    }

    /// An object is no longer selected: its state before the change is sent with the new version.
    fn send_loss(&mut self, change: &Change) {
        let Some(before) = &change.before else { return };
        let mut object = Value::clone(before);
        object["metadata"]["resourceVersion"] = change.version.to_string().into();
        self.send("DELETED", &object);
    }

    fn send(&mut self, what: &str, object: &Value) {
        let kind = self.request.kind;
        let object = match self.request.shape {
            Shape::Whole => object::show(kind, object.clone()),
            Shape::Metadata => metadata_only(object),
            Shape::Table => table::table(
                kind,
                [object].into_iter(),
                None,
                std::mem::take(&mut self.is_first_row),
            ),
        };
        self.line(what, &object);
    }

    fn send_bookmark(&mut self, mut object: Value) {
        object["kind"] = self.request.kind.kind.into();
        object["apiVersion"] = self.request.kind.api_version().into();
        self.line("BOOKMARK", &object);
    }

    /// Sends a bookmark if the kind's version has moved since the watch began (`process` in
    /// kube-apiserver's `cache_watcher.go`).
    fn mark(&mut self) {
        self.plan_bookmark();
        let moved = match self.faults.notifies_progress() {
            true => self.version,
            false => self.store.moved(self.request.kind).min(self.version),
        };
        if moved > self.first {
            self.send_bookmark(json!({ "metadata": { "resourceVersion": moved.to_string() } }));
        }
    }

    /// The next bookmark's time (`nextBookmarkTime` there).
    fn plan_bookmark(&mut self) {
        let now = Instant::now();
        let regular = now + self.faults.bookmark_interval();
        let last = self.end.checked_sub(BEFORE_THE_END).filter(|it| *it > now);
        self.next_bookmark = last.map_or(regular, |it| it.min(regular));
    }

    fn fail(&mut self, refusal: &Refusal) {
        self.line("ERROR", &refusal.status());
        self.is_over = true;
    }

    /// The type comes first, as in `WatchEvent` (apimachinery, `meta/v1/watch.go`): a reader knows what the
    /// object is before it reads it.
    fn line(&mut self, what: &str, object: &Value) {
        let line = format!("{{\"type\":\"{what}\",\"object\":{object}}}\n");
        self.waiting.push_back(Bytes::from(line));
    }
}
