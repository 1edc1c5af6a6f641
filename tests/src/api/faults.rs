//! What can go wrong between a client and a server, on demand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures::stream::{self, StreamExt};
use tokio::sync::watch;

use super::kinds::Kind;
use super::reply::{Cut, Pieces};
use super::request::Verb;
use super::status::Refusal;

/// How often watches get bookmarks, unless told otherwise; the real server takes a minute.
const BOOKMARKS: Duration = Duration::from_secs(10);

/// A cut comes so much later than what was sent before it, so that this is really sent.
const BEFORE_THE_CUT: Duration = Duration::from_millis(20);

/// Something that goes wrong. A *piece* is an event of a watch, or else the whole answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The request is taken and never answered.
    Stall,
    /// The connection is closed instead of an answer.
    HangUp,
    /// A `Status` with this HTTP code.
    Refuse {
        /// The code.
        code: u16,
        /// After how many seconds to try again.
        retry_after: Option<u32>,
    },
    /// The answer begins, and after so many pieces nothing comes any more; the connection stays.
    Silence {
        /// How many pieces are sent.
        after: usize,
    },
    /// After so many pieces and half of the next one, the connection is cut.
    Cut {
        /// How many pieces are sent.
        after: usize,
    },
    /// After so many pieces the answer ends as if that were all.
    End {
        /// How many pieces are sent.
        after: usize,
    },
    /// After so many pieces these bytes are sent, then the rest.
    Insert {
        /// How many pieces are sent.
        after: usize,
        /// What is sent then.
        bytes: Vec<u8>,
    },
    /// After so many pieces these bytes are sent, and then the answer ends.
    Last {
        /// How many pieces are sent.
        after: usize,
        /// What is sent then.
        bytes: Vec<u8>,
    },
    /// The answer comes in small portions.
    Drip {
        /// Bytes of a portion.
        bytes: usize,
        /// The time from one to the next.
        pause: Duration,
    },
    /// Every piece is sent twice.
    Twice,
}

impl Fault {
    /// The code and nothing else.
    #[must_use]
    pub fn refuse(code: u16) -> Self {
        Self::Refuse { code, retry_after: None }
    }

    /// A line that is no JSON.
    #[must_use]
    pub fn garbage(after: usize) -> Self {
        Self::Insert { after, bytes: b"\x00\xff{]garbage\n".to_vec() }
    }

    /// An event of a type that nobody knows.
    #[must_use]
    pub fn unknown_event(after: usize) -> Self {
        let line = "{\"type\":\"RENAMED\",\"object\":{\"metadata\":{\"name\":\"x\"}}}\n";
        Self::Insert { after, bytes: line.into() }
    }

    /// The event by which a watch is told that its version is forgotten; it ends the watch.
    #[must_use]
    pub fn expired(after: usize) -> Self {
        let status = Refusal::of_code(410, None).status();
        let line = format!("{}\n", serde_json::json!({ "type": "ERROR", "object": status }));
        Self::Last { after, bytes: line.into() }
    }
}

/// For which requests something goes wrong, and how often.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    verb: Option<Verb>,
    kind: Option<&'static Kind>,
    user_agent: Option<String>,
    times: Option<u32>,
}

impl Rule {
    /// Every request about objects.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Only those of a verb.
    #[must_use]
    pub fn verb(self, verb: Verb) -> Self {
        Self { verb: Some(verb), ..self }
    }

    /// Only those about a kind.
    #[must_use]
    pub fn kind(self, kind: &'static Kind) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// Only those of clients whose name begins so.
    #[must_use]
    pub fn user_agent(self, prefix: impl Into<String>) -> Self {
        Self { user_agent: Some(prefix.into()), ..self }
    }

    /// Only so often.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    fn matches(&self, verb: Verb, kind: &Kind, user_agent: &str) -> bool {
        self.verb.is_none_or(|it| it == verb)
            && self.kind.is_none_or(|it| it == kind)
            && self.user_agent.as_ref().is_none_or(|it| user_agent.starts_with(it))
    }
}

/// How often a fault has happened.
#[derive(Debug, Clone, Default)]
pub struct Hits(Arc<AtomicU32>);

impl Hits {
    /// So often.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How events of a kind are held back.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hold {
    delay: Duration,
    is_closed: bool,
}

impl Hold {
    pub(crate) fn is_due(self, at: Instant) -> bool {
        !self.is_closed && at + self.delay <= Instant::now()
    }

    /// When it is due, if that is known.
    pub(crate) fn due(self, at: Instant) -> Option<Instant> {
        (!self.is_closed).then(|| at + self.delay)
    }
}

#[derive(Debug)]
struct Settings {
    rules: Vec<(Rule, Fault, Hits)>,
    holds: BTreeMap<&'static str, Hold>,
    bookmarks: Duration,
    streams_lists: bool,
}

/// What goes wrong at a server. Clones are the same.
#[derive(Debug, Clone)]
pub struct Faults {
    settings: Arc<Mutex<Settings>>,
    holds: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        let settings = Settings {
            rules: Vec::new(),
            holds: BTreeMap::new(),
            bookmarks: BOOKMARKS,
            streams_lists: false,
        };
        Self { settings: Arc::new(Mutex::new(settings)), holds: watch::Sender::new(0) }
    }
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this goes wrong. Of several rules for a request, the oldest counts.
    pub fn add(&self, rule: Rule, fault: Fault) -> Hits {
        let hits = Hits::default();
        self.lock().rules.push((rule, fault, hits.clone()));
        hits
    }

    /// Nothing goes wrong any more, and nothing is held back.
    pub fn clear(&self) {
        let mut settings = self.lock();
        settings.rules.clear();
        settings.holds.clear();
        drop(settings);
        self.holds.send_modify(|it| *it += 1);
    }

    /// Watches hear of a kind's events so much later than they happen.
    pub fn delay(&self, kind: &'static Kind, by: Duration) {
        self.hold_back(kind, Hold { delay: by, is_closed: false });
    }

    /// Watches hear no more of a kind until [`Self::release`]: other kinds' events overtake its.
    pub fn hold(&self, kind: &'static Kind) {
        self.hold_back(kind, Hold { delay: Duration::ZERO, is_closed: true });
    }

    /// Watches hear what was held back of a kind, and of the rest without delay.
    pub fn release(&self, kind: &'static Kind) {
        self.hold_back(kind, Hold::default());
    }

    fn hold_back(&self, kind: &'static Kind, hold: Hold) {
        self.lock().holds.insert(kind.shelf, hold);
        self.holds.send_modify(|it| *it += 1);
    }

    /// How often watches get bookmarks.
    pub fn bookmark_every(&self, interval: Duration) {
        self.lock().bookmarks = interval;
    }

    /// Whether `sendInitialEvents` is granted; if not, it is refused as servers do whose etcd
    /// can't do it.
    pub fn stream_lists(&self, granted: bool) {
        self.lock().streams_lists = granted;
    }

    pub(crate) fn bookmark_interval(&self) -> Duration {
        self.lock().bookmarks
    }

    pub(crate) fn streams_lists(&self) -> bool {
        self.lock().streams_lists
    }

    pub(crate) fn hold_of(&self, kind: &Kind) -> Hold {
        self.lock().holds.get(kind.shelf).copied().unwrap_or_default()
    }

    pub(crate) fn follow_holds(&self) -> watch::Receiver<u64> {
        self.holds.subscribe()
    }

    /// What goes wrong with a request.
    pub(crate) fn strike(&self, verb: Verb, kind: &Kind, user_agent: &str) -> Option<Fault> {
        let settings = self.lock();
        let is_left = |rule: &Rule, hits: &Hits| rule.times.is_none_or(|it| hits.count() < it);
        let found = settings
            .rules
            .iter()
            .find(|(rule, _, hits)| rule.matches(verb, kind, user_agent) && is_left(rule, hits));
        let (_, fault, hits) = found?;
        hits.0.fetch_add(1, Ordering::Relaxed);
        Some(fault.clone())
    }
}

/// What becomes of an answer's pieces.
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
