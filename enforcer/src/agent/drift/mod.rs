//! The drift check: what the kernel's tables say is compared with the policies, continuously.
//!
//! The evaluator is [`reference`], which shares no code with the compiler of the tables; the look-ups are
//! those of the programs, on the words that the kernel has. So a mistake of the compiler, of a plan or of a
//! write is found, and a word that anybody else changed. Hooks are verified in [`super::hooks`].
//!
//! Some of the questions are also packets: the trial programs ([`Trial`](crate::kernel::Trial)) run on them,
//! and must decide as the tables say.
//!
//! Questions are asked between two reconciliations, and only if the tables have every change that the
//! cluster has. Each sweep asks about one pod. A difference is asked about again in each later sweep, and
//! reported until the answers agree.

mod question;
mod sample;
pub(super) mod state;

use std::cell::RefCell;
use std::net::IpAddr;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::{Duration, Instant};

use enforcer_core::model::{Cluster, Pod, PodId, Traffic};
use enforcer_core::policy::reference;
use enforcer_core::tables::{Answer, Judgement, Owner, answer};
use enforcer_ebpf::contract::endpoint::Endpoint;
use enforcer_ebpf::contract::verdict::Direction;
use tokio::time::sleep;

use self::question::{Dice, Question, Rules, part};
use self::sample::Records;
use self::state::Drift;
use super::reconciler::Reconciler;
use super::shared::Shared;
use crate::kernel::{KernelError, LiveTables};

/// The questions of a sweep.
const QUESTIONS: usize = 32;
/// The test runs of a sweep.
const RUNS: usize = 8;
/// A sweep may take one in so many parts of the reconciler's time.
const SHARE: u32 = 100;
/// The wait for the next moment in which no change is waiting to be enforced.
const SOON: Duration = Duration::from_millis(10);
/// The number of ICMP: any protocol without ports.
const PORTLESS: u8 = 1;

/// Checks for drift periodically; never if the interval is zero.
pub(super) async fn keep(reconciler: &RefCell<Reconciler>, shared: &Shared) -> anyhow::Result<()> {
    let interval = reconciler.borrow().drift.interval;
    if interval.is_zero() {
        return std::future::pending().await;
    }
    let mut wait = interval;
    loop {
        sleep(wait).await;
        let mut reconciler = reconciler.borrow_mut();
        let began = Instant::now();
        if !reconciler.is_enforced() {
            wait = SOON;
            continue;
        }
        // A table that can't be read now is tried again; a failing write ends the agent elsewhere.
        if let Err(error) = reconciler.check_drift() {
            tracing::warn!("cannot check for drift: {error}");
        }
        shared.set_drift(reconciler.drift.report());
        wait = interval.max(began.elapsed() * SHARE);
    }
}

impl Reconciler {
    /// Asks some questions. The tables have the present state of the cluster.
    fn check_drift(&mut self) -> Result<(), KernelError> {
        let mut drift = std::mem::take(&mut self.drift);
        let mut tables = self.kernel.live_tables();
        let result = self.ask_all(&mut drift, &mut tables);
        self.drift = drift;
        result
    }

    fn ask_all(&self, drift: &mut Drift, tables: &mut LiveTables<'_>) -> Result<(), KernelError> {
        let records: Records<'_> = self
            .state
            .endpoints()
            .filter_map(|(owner, record)| match owner {
                Owner::Pod(pod) => Some((record.ifindex, (pod, record))),
                _ => None,
            })
            .collect();
        // Interfaces that are gone, or another pod's.
        drift
            .differences
            .retain(|it, _| records.get(&it.ifindex).is_some_and(|(pod, _)| **pod == it.pod));
        let known: Vec<Question> = drift.differences.keys().cloned().collect();
        let new = self.questions(drift, &records);
        let mut runs = RUNS;
        for question in known.into_iter().chain(new) {
            let Some((_, record)) = records.get(&question.ifindex) else { continue };
            let mut asked = self.difference(&question, record, tables)?;
            if let (Compared::Equal(found), true) = (&asked, runs > 0) {
                let (has_run, difference) = self.sample(&question, found, &records)?;
                runs -= usize::from(has_run);
                drift.samples += u64::from(has_run);
                asked = difference.map_or(asked, Compared::Differs);
            }
            drift.note(question, asked.difference());
        }
        Ok(())
    }

    /// Questions about one pod of this node.
    fn questions(&self, drift: &mut Drift, records: &Records<'_>) -> Vec<Question> {
        let at = drift.dice.below(records.len());
        let Some((ifindex, (id, _))) = records.iter().nth(at) else { return Vec::new() };
        let Some(pod) = self.cluster.pods.get(*id) else { return Vec::new() };
        let rules = Rules::of(&self.cluster, id);
        let one = |_| {
            let peer = match drift.dice.below(4) {
                0 => Some(rules.address(&mut drift.dice)),
                1 => self.frontend(&mut drift.dice),
                _ => next_peer(&self.cluster, &mut drift.last),
            };
            let direction = Direction::ALL[drift.dice.below(Direction::ALL.len())];
            let traffic = rules.traffic(pod, &mut drift.dice);
            let pod = (*id).clone();
            Some(Question { ifindex: *ifindex, pod, direction, peer: peer?, traffic })
        };
        (0..QUESTIONS).filter_map(one).collect()
    }

    /// An address of a Service or of the node.
    fn frontend(&self, dice: &mut Dice) -> Option<IpAddr> {
        let node = self.cluster.node_addresses.iter();
        let at = dice.below(self.cluster.services.len());
        let service = self.cluster.services.values().nth(at);
        let both = service.map(|it| it.cluster_addresses.iter().chain(&it.external_addresses));
        let all: Vec<&IpAddr> = node.chain(both.into_iter().flatten()).collect();
        all.get(dice.below(all.len())).map(|it| **it)
    }

    /// Compares the answers.
    fn difference(
        &self,
        question: &Question,
        intended: &Endpoint,
        tables: &mut LiveTables<'_>,
    ) -> Result<Compared, KernelError> {
        let Question { ifindex, pod, direction, peer, traffic } = question;
        let (protocol, port) = match traffic {
            Traffic::Port(protocol, port) => (protocol.number(), *port),
            Traffic::Portless => (PORTLESS, 0),
        };
        let found = tables.ask(|it| answer(it, *ifindex, *direction, *peer, protocol, port))?;
        let Some(found) = found else {
            return Ok(Compared::Differs(format!(
                "{pod}: the kernel's tables have no endpoint for it"
            )));
        };
        if found.endpoint != *intended {
            return Ok(Compared::Differs(format!(
                "{pod}: its endpoint in the kernel is not the one that was written"
            )));
        }
        let Some(subject) = self.cluster.pods.get(pod) else { return Ok(Compared::Nothing) };
        // Closed for want of room, and reported as such.
        if found.judgement == Judgement::Closed {
            return Ok(Compared::Nothing);
        }
        let expected = self.allows(subject, *direction, *peer, *traffic);
        Ok(match expected == found.allowed {
            true => Compared::Equal(found),
            false => Compared::Differs(describe(question, &found, expected)),
        })
    }

    fn allows(&self, pod: &Pod, direction: Direction, peer: IpAddr, traffic: Traffic) -> bool {
        let addresses = self.addresses.read();
        let cluster = part(&self.cluster, &addresses, pod, &[peer]);
        reference::why(&cluster, &pod.id, direction, peer, traffic).allows()
    }
}

/// The answers to a question.
enum Compared {
    /// The kernel's tables and the policies say the same.
    Equal(Answer),
    /// They can't be compared.
    Nothing,
    /// They differ.
    Differs(String),
}

impl Compared {
    fn difference(self) -> Option<String> {
        match self {
            Self::Differs(difference) => Some(difference),
            Self::Equal(_) | Self::Nothing => None,
        }
    }
}

/// The next pod's first address, in the order of names.
fn next_peer(cluster: &Cluster, last: &mut PodId) -> Option<IpAddr> {
    let after = (Excluded(&*last), Unbounded);
    let next =
        cluster.pods.range::<PodId, _>(after).next().or_else(|| cluster.pods.iter().next())?;
    *last = next.0.clone();
    next.1.addresses.first().copied()
}

fn describe(question: &Question, found: &Answer, expected: bool) -> String {
    let Question { pod, direction, peer, traffic, .. } = question;
    let [kernel, policies] = [found.allowed, expected].map(|it| if it { "allow" } else { "deny" });
    let traffic = match traffic {
        Traffic::Port(protocol, port) => format!("{port}/{protocol}"),
        Traffic::Portless => "a protocol without ports".to_owned(),
    };
    let place = match found.judgement {
        Judgement::Row(row) => {
            format!("row {row}, class {}, cell {}", found.entry.index(), found.cell.0)
        }
        Judgement::Open => "not isolated".to_owned(),
        Judgement::Closed => "closed".to_owned(),
    };
    format!(
        "{pod} {} with {peer}, {traffic}: the kernel's tables {kernel} it ({place}), the policies {policies} it",
        direction.name()
    )
}
