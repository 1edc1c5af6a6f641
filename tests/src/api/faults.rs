//! Faults between a client and a server, on demand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use futures::stream::{self, StreamExt};
use tokio::sync::watch;

use super::kinds::Kind;
use super::reply::{Cut, Pieces};
use super::request::Verb;
use super::status::Refusal;

/// The default interval of a watch's bookmarks.
const BOOKMARKS: Duration = Duration::from_secs(60);

/// The delay of a cut, so that the data before it is really sent.
const BEFORE_THE_CUT: Duration = Duration::from_millis(20);

/// A fault. A *piece* is an event of a watch, or else the whole answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The request is accepted and never answered.
    Stall,
    /// The connection is closed instead of an answer.
    HangUp,
    /// A `Status` with this HTTP code.
    Refuse {
        /// The code.
        code: u16,
        /// Seconds until the client may retry.
        retry_after: Option<u32>,
    },
    /// Nothing is sent after some pieces; the connection stays open.
    Silence {
        /// The number of pieces sent before.
        after: usize,
    },
    /// The connection is cut after some pieces and half of the next one.
    Cut {
        /// The number of pieces sent before.
        after: usize,
    },
    /// The answer ends regularly after some pieces.
    End {
        /// The number of pieces sent before.
        after: usize,
    },
    /// Some bytes are inserted after some pieces.
    Insert {
        /// The number of pieces sent before.
        after: usize,
        /// The inserted bytes.
        bytes: Vec<u8>,
    },
    /// Some bytes are sent after some pieces, then the answer ends.
    Last {
        /// The number of pieces sent before.
        after: usize,
        /// The last bytes.
        bytes: Vec<u8>,
    },
    /// The answer is sent in small portions.
    Drip {
        /// Bytes of a portion.
        bytes: usize,
        /// The time between portions.
        pause: Duration,
    },
    /// Every piece is sent twice.
    Twice,
}

impl Fault {
    /// A refusal with this code, without a retry time.
    pub fn refuse(code: u16) -> Self {
        Self::Refuse { code, retry_after: None }
    }

    /// A line that is not JSON.
    pub fn garbage(after: usize) -> Self {
        Self::Insert { after, bytes: b"\x00\xff{]garbage\n".to_vec() }
    }

    /// An event of an unknown type.
    pub fn unknown_event(after: usize) -> Self {
        let line = "{\"type\":\"RENAMED\",\"object\":{\"metadata\":{\"name\":\"x\"}}}\n";
        Self::Insert { after, bytes: line.into() }
    }

    /// The event that reports a watch's version as too old and ends the watch.
    pub fn expired(after: usize) -> Self {
        let status = Refusal::of_code(410, None).status();
        let line = format!("{}\n", serde_json::json!({ "type": "ERROR", "object": status }));
        Self::Last { after, bytes: line.into() }
    }
}

/// The requests that a fault applies to, and how often.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    verb: Option<Verb>,
    kind: Option<&'static Kind>,
    times: Option<u32>,
}

impl Rule {
    /// All requests about objects.
    pub fn any() -> Self {
        Self::default()
    }

    /// Restricts the rule to a verb.
    pub fn verb(self, verb: Verb) -> Self {
        Self { verb: Some(verb), ..self }
    }

    /// Restricts the rule to a kind.
    pub fn kind(self, kind: &'static Kind) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// Limits how often the fault happens.
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    fn matches(&self, verb: Verb, kind: &Kind) -> bool {
        self.verb.is_none_or(|it| it == verb) && self.kind.is_none_or(|it| it == kind)
    }
}

/// Counts how often a fault has happened.
#[derive(Debug, Clone, Default)]
pub struct Hits(Arc<AtomicU32>);

impl Hits {
    /// The count.
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Settings {
    rules: Vec<(Rule, Fault, Hits)>,
    /// The delay of each kind's events; `None`: they are held back.
    delays: BTreeMap<&'static str, Option<Duration>>,
    bookmarks: Duration,
    streams_lists: bool,
    notifies_progress: bool,
}

/// The faults of a server. Clones share them.
#[derive(Debug, Clone)]
pub struct Faults {
    settings: Arc<Mutex<Settings>>,
    /// Notifies watches of changed delays.
    changes: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        let settings = Settings {
            rules: Vec::new(),
            delays: BTreeMap::new(),
            bookmarks: BOOKMARKS,
            streams_lists: false,
            notifies_progress: false,
        };
        Self { settings: Arc::new(Mutex::new(settings)), changes: watch::Sender::new(0) }
    }
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a fault. If several rules match a request, the oldest applies.
    pub fn add(&self, rule: Rule, fault: Fault) -> Hits {
        let hits = Hits::default();
        self.lock().rules.push((rule, fault, hits.clone()));
        hits
    }

    /// Removes all faults and delays.
    pub fn clear(&self) {
        let mut settings = self.lock();
        settings.rules.clear();
        settings.delays.clear();
        drop(settings);
        self.changes.send_modify(|it| *it += 1);
    }

    /// Delays a kind's events.
    pub fn delay(&self, kind: &'static Kind, by: Duration) {
        self.set_delay(kind, Some(by));
    }

    /// Holds a kind's events back until [`Self::release`]: other kinds' events overtake them.
    pub fn hold(&self, kind: &'static Kind) {
        self.set_delay(kind, None);
    }

    /// Delivers the held events of a kind, and further ones without delay.
    pub fn release(&self, kind: &'static Kind) {
        self.set_delay(kind, Some(Duration::ZERO));
    }

    fn set_delay(&self, kind: &'static Kind, delay: Option<Duration>) {
        self.lock().delays.insert(kind.shelf, delay);
        self.changes.send_modify(|it| *it += 1);
    }

    /// Sets the interval of bookmarks.
    pub fn bookmark_every(&self, interval: Duration) {
        self.lock().bookmarks = interval;
    }

    /// Sets whether `sendInitialEvents` is supported. If not, it is refused like by a server with
    /// an etcd without support.
    pub fn stream_lists(&self, supported: bool) {
        self.lock().streams_lists = supported;
    }

    /// Sets whether the storage notifies the server of its progress: then the bookmarks of a quiet
    /// kind have the version of the newest object of any kind. etcd does so on request (3.4.25, 3.5.8
    /// and newer, for consistent lists), or every few minutes.
    pub fn notify_progress(&self, does: bool) {
        self.lock().notifies_progress = does;
    }

    pub(crate) fn notifies_progress(&self) -> bool {
        self.lock().notifies_progress
    }

    pub(crate) fn bookmark_interval(&self) -> Duration {
        self.lock().bookmarks
    }

    pub(crate) fn streams_lists(&self) -> bool {
        self.lock().streams_lists
    }

    /// The delay of a kind's events; `None`: they are held back.
    pub(crate) fn delay_of(&self, kind: &Kind) -> Option<Duration> {
        self.lock().delays.get(kind.shelf).copied().unwrap_or(Some(Duration::ZERO))
    }

    pub(crate) fn follow_delays(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn strike(&self, verb: Verb, kind: &Kind) -> Option<Fault> {
        let settings = self.lock();
        let is_left = |rule: &Rule, hits: &Hits| rule.times.is_none_or(|it| hits.count() < it);
        let found = settings
            .rules
            .iter()
            .find(|(rule, _, hits)| rule.matches(verb, kind) && is_left(rule, hits));
        let (_, fault, hits) = found?;
        hits.0.fetch_add(1, Ordering::Relaxed);
        Some(fault.clone())
    }
}

/// Applies a fault to an answer's pieces.
pub(crate) fn spoil(fault: Fault, pieces: Pieces) -> Pieces {
    match fault {
        Fault::Silence { after } => pieces.take(after).chain(stream::pending()).boxed(),
        Fault::End { after } => pieces.take(after).boxed(),
        Fault::Twice => pieces.flat_map(|it| stream::iter(twice(it))).boxed(),
        Fault::Insert { after, bytes } => inserted(pieces, after, bytes.into()),
        Fault::Last { after, bytes } => inserted(pieces.take(after).boxed(), after, bytes.into()),
        Fault::Cut { after } => cut(pieces, after),
        Fault::Drip { bytes, pause } => dripping(pieces, bytes.max(1), pause),
        Fault::Stall | Fault::HangUp | Fault::Refuse { .. } => pieces,
    }
}

fn twice(piece: Result<Bytes, Cut>) -> Vec<Result<Bytes, Cut>> {
    match piece {
        Ok(bytes) => vec![Ok(bytes.clone()), Ok(bytes)],
        Err(cut) => vec![Err(cut)],
    }
}

fn inserted(pieces: Pieces, after: usize, bytes: Bytes) -> Pieces {
    let step = async |(mut pieces, number, bytes): (Pieces, usize, Option<Bytes>)| match bytes {
        Some(bytes) if number == 0 => Some((Ok(bytes), (pieces, 0, None))),
        bytes => Some((pieces.next().await?, (pieces, number.saturating_sub(1), bytes))),
    };
    stream::unfold((pieces, after, Some(bytes)), step).boxed()
}

fn cut(pieces: Pieces, after: usize) -> Pieces {
    let pieces = pieces.take(after + 1).enumerate().map(move |(number, piece)| {
        piece.map(|bytes| if number == after { bytes.slice(..bytes.len() / 2) } else { bytes })
    });
    let end = stream::once(async {
        tokio::time::sleep(BEFORE_THE_CUT).await;
        Err(Cut)
    });
    pieces.chain(end).boxed()
}

fn dripping(pieces: Pieces, size: usize, pause: Duration) -> Pieces {
    let portions = pieces.flat_map(move |piece| {
        let portions = match piece {
            Ok(bytes) => bytes.chunks(size).map(|it| Ok(Bytes::copy_from_slice(it))).collect(),
            Err(cut) => vec![Err(cut)],
        };
        stream::iter(portions)
    });
    let slowly = move |portion| async move {
        tokio::time::sleep(pause).await;
        portion
    };
    portions.then(slowly).boxed()
}
