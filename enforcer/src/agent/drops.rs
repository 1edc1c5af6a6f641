//! The log of dropped packets.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use enforcer_ebpf::contract::event::Event;
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

/// The longest wait for the name of the pod that dropped a packet, and the most events that wait.
const PATIENCE: Duration = Duration::from_millis(500);
const EARLY: usize = 256;

/// Events that are earlier than the name of their pod: the programs enforce before the snapshot is published.
#[derive(Debug, Default)]
struct Early(VecDeque<(Instant, Event)>);

impl Early {
    /// Keeps an event whose pod has no name yet. Returns others, and those without room.
    fn keep(&mut self, event: Event, names: &impl Names, now: Instant) -> Option<Event> {
        if names.pod_of(event.endpoint).is_some() || self.0.len() >= EARLY {
            return Some(event);
        }
        self.0.push_back((now, event));
        None
    }

    /// The oldest event, if its pod has a name by now or it has waited long enough.
    fn take(&mut self, names: &impl Names, now: Instant) -> Option<Event> {
        let ready = |(since, event): &mut (Instant, Event)| {
            names.pod_of(event.endpoint).is_some()
                || now.saturating_duration_since(*since) >= PATIENCE
        };
        self.0.pop_front_if(ready).map(|(_, event)| event)
    }
}

/// Logs dropped packets, and the messages of the programs.
pub(super) async fn watch(
    shared: &Shared,
    mut drops: DropReader,
    mut log: Option<ProgramLog>,
    questions: mpsc::Sender<Question>,
) -> anyhow::Result<()> {
    let mut drop_log = DropLog::new(shared, questions);
    let mut early = Early::default();
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
        let (snapshot, now) = (shared.snapshot(), Instant::now());
        let known = Known { shared, snapshot: &snapshot };
        while let Some(event) = early.take(&known, now) {
            drop_log.take(DropRecord::new(&event, &known));
        }
        while let Some(event) = drops.take() {
            rejector.take(&event, shared, &snapshot);
            if let Some(event) = early.keep(event, &known, now) {
                drop_log.take(DropRecord::new(&event, &known));
            }
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

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;

    use super::*;

    struct Named(u32);

    impl Names for Named {
        fn pod_at(&self, _: &IpAddr) -> Option<String> {
            None
        }

        fn pod_of(&self, endpoint: u32) -> Option<String> {
            (endpoint <= self.0).then(|| "shop/db-0".to_owned())
        }
    }

    /// A drop right after its pod was programmed, before the agent's snapshot names the pod.
    #[test]
    fn an_event_waits_for_the_name_of_its_pod() {
        let event = |endpoint| Event { endpoint, ..Event::zeroed() };
        let (mut early, now) = (Early::default(), Instant::now());
        assert!(early.keep(event(1), &Named(1), now).is_some());
        assert!(early.keep(event(2), &Named(1), now).is_none());
        assert!(early.take(&Named(1), now).is_none());
        assert_eq!(early.take(&Named(2), now).map(|it| it.endpoint), Some(2));
        assert!(early.keep(event(9), &Named(1), now).is_none());
        assert_eq!(early.take(&Named(1), now + PATIENCE).map(|it| it.endpoint), Some(9));
        for _ in 0..EARLY {
            assert!(early.keep(event(9), &Named(1), now).is_none());
        }
        assert!(early.keep(event(9), &Named(1), now).is_some(), "no room");
    }
}
