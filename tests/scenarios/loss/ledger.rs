//! What was sent, what arrived, and what went wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    /// Connections held open all the time.
    Living,
    /// Messages that these exchanged, one there and one back.
    Exchanged,
    /// Connections opened, used and closed.
    Opened,
    /// Datagrams of allowed flows that arrived, answers included.
    Datagrams,
    /// Datagrams sent on flows that no state allows.
    Forbidden,
    /// Connections tried that no state allows.
    Tried,
    /// Datagrams sent on flows that some states allow.
    Sometimes,
    /// Those of them that arrived.
    Arrived,
}

/// Counts and failures of one run. Shared by all who send and receive.
#[derive(Default)]
pub(super) struct Ledger {
    counts: [AtomicU64; 8],
    /// Packets sent, by those flows that are not always allowed.
    sent: Mutex<BTreeMap<String, u64>>,
    failures: Mutex<BTreeMap<String, u64>>,
    failed: AtomicBool,
    stopped: AtomicBool,
}

impl Ledger {
    pub(super) fn add(&self, count: Count) {
        self.counts[count as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self, count: Count) -> u64 {
        self.counts[count as usize].load(Ordering::Relaxed)
    }

    /// Notes how many packets a flow was sent that is not always allowed.
    pub(super) fn sent(&self, flow: String, packets: u64) {
        self.sent.lock().unwrap().insert(flow, packets);
    }

    /// What each of these flows was sent.
    pub(super) fn sent_by_flow(&self) -> BTreeMap<String, u64> {
        self.sent.lock().unwrap().clone()
    }

    /// Notes what must not happen; the run ends soon.
    pub(super) fn fail(&self, what: String) {
        *self.failures.lock().unwrap().entry(what).or_default() += 1;
        self.failed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_good(&self) -> bool {
        !self.failed.load(Ordering::Relaxed)
    }

    /// Whether senders go on.
    pub(super) fn goes_on(&self) -> bool {
        self.is_good() && !self.stopped.load(Ordering::Relaxed)
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(super) fn assert_good(&self) {
        let failures = self.failures.lock().unwrap();
        assert!(failures.is_empty(), "{failures:#?}\n{self}");
    }

    /// The changes have mattered: of what only some states allow, some arrived and some did not.
    pub(super) fn assert_various(&self) {
        let (sent, arrived) = (self.get(Count::Sometimes), self.get(Count::Arrived));
        assert!(arrived > sent / 10 && arrived < sent * 9 / 10, "{arrived} of {sent} arrived");
        assert!(self.get(Count::Forbidden) > 1_000 && self.get(Count::Tried) > 20, "{self}");
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |count| self.get(count);
        write!(
            f,
            "{} connections held ({} exchanges), {} opened, {} datagrams that all states allow; \
             {} datagrams and {} connections that none allows; \
             of {} datagrams that some allow {} passed",
            number(Count::Living),
            number(Count::Exchanged),
            number(Count::Opened),
            number(Count::Datagrams),
            number(Count::Forbidden),
            number(Count::Tried),
            number(Count::Sometimes),
            number(Count::Arrived),
        )
    }
}
