//! Dropped packets: one line for each attempt to connect, and its policies as far as time allows.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::reconciler::Reconciler;
use super::shared::Shared;
use crate::observe::{Attribution, DropRecord, Observed as _};
use enforcer_core::explain;

/// Drops that may wait for the reconciler's thread, which alone has the cluster.
pub(super) const WAITING: usize = 256;

/// A budget of attributions, so that a flood of drops delays no change: this many, or as many as take this
/// long.
const ATTRIBUTED: u32 = 20;
const SPENT: Duration = Duration::from_millis(2);
const WINDOW: Duration = Duration::from_millis(100);

/// The longest wait for the reconciler's thread. After that, a drop is logged without its policies.
const PATIENCE: Duration = Duration::from_millis(500);

/// A question for the policies behind a drop.
pub(super) type Question = (DropRecord, oneshot::Sender<Attribution>);

/// Attributes drops to policies, in the reconciler's thread.
pub(super) async fn keep(
    reconciler: &RefCell<Reconciler>,
    mut questions: mpsc::Receiver<Question>,
) -> anyhow::Result<()> {
    let (mut left, mut spent, mut since) = (ATTRIBUTED, Duration::ZERO, Instant::now());
    while let Some((record, answer)) = questions.recv().await {
        let now = Instant::now();
        if now.saturating_duration_since(since) >= WINDOW {
            (left, spent, since) = (ATTRIBUTED, Duration::ZERO, now);
        }
        if left > 0 || spent < SPENT {
            left = left.saturating_sub(1);
            // Nobody may be waiting any more.
            let _ = answer.send(reconciler.borrow().attribute(&record));
            spent += now.elapsed();
        }
    }
    std::future::pending().await
}

/// Drops that are to be logged.
pub(super) struct DropLog<'a> {
    shared: &'a Shared,
    questions: mpsc::Sender<Question>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    record: DropRecord,
    answer: oneshot::Receiver<Attribution>,
    since: Instant,
    /// Packets of the same attempt since then.
    repeats: u32,
}

impl<'a> DropLog<'a> {
    pub(super) fn new(shared: &'a Shared, questions: mpsc::Sender<Question>) -> Self {
        Self { shared, questions, waiting: VecDeque::new() }
    }

    /// Takes a drop. A repeated one is only counted.
    pub(super) fn take(&mut self, record: DropRecord) {
        let since = Instant::now();
        let waiting = self.waiting.iter_mut().find(|it| it.record.is_same_attempt(&record));
        if let Some(waiting) = waiting {
            waiting.repeats = waiting.repeats.saturating_add(1);
            return;
        }
        if self.shared.repeats(since, &record) {
            return;
        }
        let (question, answer) = oneshot::channel();
        match self.questions.try_send((record.clone(), question)) {
            Ok(()) => self.waiting.push_back(Waiting { record, answer, since, repeats: 0 }),
            // The reconciler's thread is busy.
            Err(_) => self.log(&record, 0),
        }
    }

    /// Logs the drops whose policies are known, or that have waited long enough.
    pub(super) fn flush(&mut self) {
        while let Some(mut first) = self.waiting.pop_front() {
            match first.answer.try_recv() {
                Ok(attribution) => first.record.attribution = attribution,
                Err(oneshot::error::TryRecvError::Empty) if first.since.elapsed() < PATIENCE => {
                    self.waiting.push_front(first);
                    return;
                }
                Err(_) => {}
            }
            self.log(&first.record, first.repeats);
        }
    }

    fn log(&self, record: &DropRecord, repeats: u32) {
        if self.shared.log().is_json() {
            record.log_fields(&record.to_string(), None);
        } else {
            tracing::info!(target: "enforcer::drops", "{record}");
        }
        self.shared.metrics().denied(record);
        self.shared.seen_flows().denied(record);
        self.shared.dropped(record.clone());
        for _ in 0..repeats {
            self.shared.repeats(Instant::now(), record);
        }
    }
}

impl Reconciler {
    /// The policies behind a drop.
    fn attribute(&self, record: &DropRecord) -> Attribution {
        let addresses = self.addresses.read();
        Attribution::of(record, &self.cluster, |address| {
            explain::owners_among(addresses.pods(&address, &self.cluster))
        })
    }
}
