//! The load's own counts, and its failures.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    /// Connections held open all the time.
    Living,
    /// Exchanges on these, one message in each direction.
    Exchanged,
    /// Connections opened, used and closed.
    Opened,
    /// Datagrams of allowed flows that arrived, answers included.
    Datagrams,
    /// Datagrams sent on flows that no state allows.
    Never,
    /// Attempts at connections that no state allows.
    Tried,
    /// Datagrams sent on flows that some states allow.
    Sometimes,
    /// The datagrams of these that arrived.
    Arrived,
}

/// Counts and failures of one run. All senders and receivers share it.
#[derive(Default)]
pub(super) struct Ledger {
    counts: [AtomicU64; 8],
    /// Packets sent, by flow, of flows that are not always allowed.
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

    /// Records the packets sent on a flow that is not always allowed.
    pub(super) fn sent(&self, flow: String, packets: u64) {
        self.sent.lock().unwrap().insert(flow, packets);
    }

    /// The packets sent, by flow.
    pub(super) fn sent_by_flow(&self) -> BTreeMap<String, u64> {
        self.sent.lock().unwrap().clone()
    }

    /// Records a failure; the run ends soon.
    pub(super) fn fail(&self, what: String) {
        *self.failures.lock().unwrap().entry(what).or_default() += 1;
        self.failed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_good(&self) -> bool {
        !self.failed.load(Ordering::Relaxed)
    }

    /// Whether senders continue.
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

    /// The changes had an effect: of the packets that only some states allow, some arrived and some
    /// did not.
    pub(super) fn assert_various(&self) {
        let (sent, arrived) = (self.get(Count::Sometimes), self.get(Count::Arrived));
        assert!(arrived > sent / 10 && arrived < sent * 9 / 10, "{arrived} of {sent} arrived");
        assert!(self.get(Count::Never) > 1_000 && self.get(Count::Tried) > 20, "{self}");
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
            number(Count::Never),
            number(Count::Tried),
            number(Count::Sometimes),
            number(Count::Arrived),
        )
    }
}
