//! The log of dropped packets.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::drop_log::{DropLog, Question};
use super::rejector::Rejector;
use super::shared::Shared;
use super::snapshot::Snapshot;
use crate::kernel::{DropReader, ProgramLog};
use crate::observe::{Attribution, DropRecord, EndedDrop, Names, Observed as _};

/// The time between two reads of the ring buffers for drop events and log lines. They wake no reader.
const INTERVAL: Duration = Duration::from_millis(100);

/// The same while clients wait for answers.
const ANSWER_INTERVAL: Duration = Duration::from_millis(10);

/// Logs dropped packets, and the messages of the programs.
pub(super) async fn watch(
    shared: &Shared,
    mut drops: DropReader,
    mut log: Option<ProgramLog>,
    questions: mpsc::Sender<Question>,
) -> anyhow::Result<()> {
    let mut drop_log = DropLog::new(shared, questions);
    let mut rejector = Rejector::open(shared.rejections());
    loop {
        let answers = !shared.snapshot().rejecting.is_empty();
        if answers {
            rejector.retry(shared.rejections());
        }
        tokio::time::sleep(if answers { ANSWER_INTERVAL } else { INTERVAL }).await;
        if let Some(log) = &mut log {
            log.flush();
        }
        let mut names = None;
        while let Some(event) = drops.take() {
            let snapshot = names.get_or_insert_with(|| shared.snapshot());
            rejector.take(&event, shared, snapshot);
            let record = DropRecord::new(&event, &Known { shared, snapshot });
            drop_log.take(record);
        }
        drop_log.flush();
        for ended in shared.ended_drops() {
            log_end(&ended, shared.log().is_json());
        }
    }
}

/// Logs the end of an attempt: its line said nothing of the packets that followed.
fn log_end(EndedDrop { repeats, lasted, drop }: &EndedDrop, as_json: bool) {
    // The first line has the policies.
    let plain = DropRecord { attribution: Attribution::default(), ..drop.clone() };
    let seconds = lasted.as_secs();
    let message = format!("{plain}; repeated {repeats} times in {seconds} s");
    if as_json {
        drop.log_fields(&message, Some((*repeats, seconds)));
    } else {
        tracing::info!(target: "enforcer::drops", "{message}");
    }
}

/// The names of pods as far as the agent knows them now.
struct Known<'a> {
    shared: &'a Shared,
    snapshot: &'a Arc<Snapshot>,
}

impl Names for Known<'_> {
    fn pod_at(&self, address: &IpAddr) -> Option<String> {
        self.shared.addresses().read().name(address)
    }

    fn pod_of(&self, endpoint: u32) -> Option<String> {
        self.snapshot.names.get(&endpoint).map(ToString::to_string)
    }
}
