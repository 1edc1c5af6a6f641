//! The steps, and what must hold after each.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use enforcer_core::model::{Cluster, PodId};
use nix::sys::signal::Signal;

use super::cast::Cast;
use super::flood::Flood;
use super::footprint::Footprint;
use super::numbers::Numbers;
use super::report::Summary;
use super::steady::Steady;
use crate::lab::Party;
use crate::matrix::{Matrix, Scope, measure, probes};
use crate::session::Session;

/// Silence that counts as a drop: as in other tests that must not depend on the machine's load.
const SILENCE: Duration = Duration::from_millis(500);
/// Attempts to find each connection as it was while no agent runs: the machine may be slow.
const ATTEMPTS: usize = 3;
/// A pause of the agent.
const STOPPED: Duration = Duration::from_secs(2);
/// Wrong connections that are listed.
const LISTED: usize = 4;

/// A running soak test.
pub(super) struct Soak {
    pub(super) session: Session,
    pub(super) cast: Cast,
    pub(super) numbers: Numbers,
    pub(super) steady: Steady,
    pub(super) summary: Summary,
    /// The cluster that is enforced.
    pub(super) cluster: Cluster,
    /// The first footprint of the first agent, and of the present one.
    pub(super) first: Vec<Footprint>,
}

impl Soak {
    /// One step of some kind; returns what happened.
    pub(super) async fn step(&mut self) -> anyhow::Result<String> {
        match self.numbers.below(10) {
            0 => self.restart(Signal::SIGKILL).await,
            1 => self.restart(Signal::SIGTERM).await,
            2 => self.pause().await,
            3 => self.flood().await,
            _ => self.change().await,
        }
    }

    async fn change(&mut self) -> anyhow::Result<String> {
        self.summary.count("changes");
        let what = self.cast.change(&mut self.numbers)?;
        self.settle(&what).await?;
        Ok(what)
    }

    /// The agent ends, and another one starts. Meanwhile everything stays as it is (semantics C3).
    async fn restart(&mut self, signal: Signal) -> anyhow::Result<String> {
        self.summary.count(if signal == Signal::SIGKILL { "kills" } else { "stops" });
        if signal == Signal::SIGKILL {
            self.session.kill_agent().await?;
        } else {
            self.session.stop_agent().await?;
        }
        self.stays(signal.as_str()).await?;
        let what = self.cast.change(&mut self.numbers)?;
        let declared = self.session.declare().await?;
        self.session.start_agent().await?;
        self.settled(declared, &what).await?;
        self.first.truncate(1);
        Ok(format!("{} and a new agent: {what}", signal.as_str()))
    }

    /// The agent stands still while something changes.
    async fn pause(&mut self) -> anyhow::Result<String> {
        self.summary.count("pauses");
        let agent = self.session.agent().context("no agent runs")?;
        agent.signal(Signal::SIGSTOP)?;
        self.stays("SIGSTOP").await?;
        let what = self.cast.change(&mut self.numbers)?;
        let declared = self.session.declare().await;
        tokio::time::sleep(STOPPED).await;
        self.session.agent().context("no agent runs")?.signal(Signal::SIGCONT)?;
        self.settled(declared?, &what).await?;
        Ok(format!("SIGSTOP and SIGCONT: {what}"))
    }

    /// A change while one pod floods another.
    async fn flood(&mut self) -> anyhow::Result<String> {
        self.summary.count("floods");
        let pods: Vec<PodId> = self.session.lab().pods().keys().cloned().collect();
        let from = Party::Pod(self.numbers.pick(&pods).context("there are pods")?.clone());
        let to = Party::Pod(self.numbers.pick(&pods).context("there are pods")?.clone());
        let flood = Flood::start(self.session.lab(), &from, &to).await?;
        let what = self.cast.change(&mut self.numbers)?;
        self.settle(&what).await?;
        self.summary.flooded += flood.sent();
        Ok(format!("{from} floods {to}: {what}"))
    }

    /// Back to the first cast: nothing may be left of all that happened.
    pub(super) async fn checkpoint(&mut self) -> anyhow::Result<String> {
        self.summary.count("checkpoints");
        self.cast.reset()?;
        self.settle("the first cast").await?;
        let mut leaks = Vec::new();
        // What is unused is removed within some seconds, and the programs of the drift check are
        // loaded within a minute.
        let (mut tries, mut waited) = (0, 0);
        while tries < 10 {
            let now = Footprint::take(&self.session).await?;
            leaks = self.first.iter().flat_map(|first| now.leaks(first)).collect();
            if leaks.is_empty() {
                return Ok(self.note(now));
            }
            waited += 1;
            if !now.loads_trial() || waited >= 120 {
                tries += 1;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        self.summary.violations.push(format!("leaked: {}", leaks.join(", ")));
        Ok("leaks".to_owned())
    }

    fn note(&mut self, now: Footprint) -> String {
        let text =
            format!("checkpoint: {} KiB, {} descriptors", now.resident_kib, now.descriptors());
        let Summary { resident_kib, descriptors, .. } = &mut self.summary;
        if self.first.is_empty() {
            *resident_kib = (now.resident_kib, now.resident_kib);
            *descriptors = (now.descriptors(), now.descriptors());
        }
        resident_kib.1 = resident_kib.1.max(now.resident_kib);
        descriptors.1 = descriptors.1.max(now.descriptors());
        if self.first.len() < 2 {
            self.first.push(now);
        }
        text
    }

    async fn settle(&mut self, what: &str) -> anyhow::Result<()> {
        let declared = self.session.declare().await?;
        self.settled(declared, what).await
    }

    /// Every connection must become as the reference evaluator says.
    async fn settled(
        &mut self,
        declared: crate::session::Declared,
        what: &str,
    ) -> anyhow::Result<()> {
        let applied = self.session.settle(declared, Instant::now()).await?;
        self.summary.longest_change = self.summary.longest_change.max(applied.took);
        self.cluster = applied.cluster;
        self.summary.probes += applied.matrix.cells.len() * applied.rounds;
        self.judge(&applied.matrix, what);
        Ok(())
    }

    /// Without an agent every connection must be as before.
    async fn stays(&mut self, why: &str) -> anyhow::Result<()> {
        let mut matrix = Matrix::default();
        for _ in 0..ATTEMPTS {
            let probes = probes(self.session.lab(), Scope::Pods);
            self.summary.probes += probes.len();
            matrix = measure(self.session.lab(), &self.cluster, probes, SILENCE).await?;
            if matrix.all_good() {
                break;
            }
        }
        self.judge(&matrix, why);
        Ok(())
    }

    fn judge(&mut self, matrix: &Matrix, what: &str) {
        let health = self.steady.health();
        self.summary.answers = health.answered;
        self.summary.longest_answer = health.longest;
        if let Some(why) = health.broken {
            self.summary.violations.push(format!("{what}: the steady connection broke: {why}"));
        }
        if matrix.all_good() {
            return;
        }
        let wrong = matrix.cells.iter().filter(|it| !it.as_expected());
        let list = wrong.take(LISTED).map(|it| {
            let (probe, expected) = (&it.probe, if it.expected { "open" } else { "closed" });
            let (from, to) = (&probe.from, &probe.to);
            format!(
                "{from} → {to} {:?} {:?}: {:?}, not {expected}",
                probe.family, probe.traffic, it.measured
            )
        });
        let list: Vec<String> = list.collect();
        let (good, all) = (matrix.good(), matrix.cells.len());
        self.summary
            .violations
            .push(format!("{what}: {good} of {all} as expected; {}", list.join("; ")));
    }
}
