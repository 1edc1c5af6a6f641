//! Flows that are older than the programs at their pod's interface (semantics C8): at the first
//! installation, of pods that started while no agent ran, after a failed attachment, and after the
//! programs were removed and restored.
//!
//! They are imported twice: before the programs are attached, so that these deny no reply that policy
//! allows, and again afterwards, for the flows that opened in between.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use enforcer_ebpf::packet::protocol;

use crate::conntrack::{self, Flow, Flows};
use crate::kernel::{FlowTables, Hooks, Imported, Kernel, KernelError};
use crate::node::Snapshot;
use crate::observe::ConntrackReport;
use enforcer_core::model::{Cluster, Protocol};
use enforcer_core::tables::{Owner, State};

/// The number of flows that are written at once: a node may track millions.
const BATCH: usize = 16_384;

/// The time until another attempt to read connection tracking.
const RETRY: Duration = Duration::from_secs(5);

/// A pause of the main loop after which new interfaces may be old.
const PAUSE: Duration = Duration::from_secs(3);

/// The time after such a pause in which interfaces are found that appeared during it.
const CATCH_UP: Duration = Duration::from_secs(10);

/// The interfaces whose flows have to be imported.
#[derive(Debug, Default)]
pub(super) struct OlderFlows {
    /// The interfaces of pods in earlier passes.
    seen: BTreeSet<u32>,
    has_passed: bool,
    /// The interfaces that may have older flows, and the addresses whose flows were imported.
    pending: BTreeMap<u32, BTreeSet<IpAddr>>,
    ran_at: Option<Instant>,
    catches_up_until: Option<Instant>,
    failed_at: Option<Instant>,
    /// The interfaces whose programs were restored since the last import for such.
    restored: BTreeSet<u32>,
    restored_at: Option<Instant>,
    /// Whether it was logged that nothing is tracked.
    is_logged: bool,
    pub(super) report: ConntrackReport,
}

impl OlderFlows {
    /// Notes that the main loop runs. After a pause, an interface that is new to the agent may have
    /// existed for a while.
    pub(super) fn ran(&mut self, now: Instant) {
        let before = self.ran_at.replace(now);
        if before.is_some_and(|it| now.saturating_duration_since(it) > PAUSE) {
            self.catches_up_until = Some(now + CATCH_UP);
        }
    }

    /// Notes which of the present interfaces of pods are about to get programs, and keeps those
    /// that may have older flows. `is_guarded`: whether an earlier agent's programs are there.
    fn note(
        &mut self,
        present: BTreeSet<u32>,
        missing: &BTreeSet<u32>,
        is_guarded: impl Fn(u32) -> bool,
        now: Instant,
    ) {
        self.pending.retain(|it, _| present.contains(it));
        self.restored.retain(|it| present.contains(it));
        if self.until_restored(now).is_some_and(|it| it.is_zero()) {
            self.restored_at = Some(now);
            self.pending.extend(self.restored.iter().map(|it| (*it, BTreeSet::new())));
            self.restored.clear();
        }
        let catches_up = self.catches_up_until.is_some_and(|it| now < it);
        let is_late = |it: &u32| !self.has_passed || catches_up || self.seen.contains(it);
        let late: Vec<u32> =
            missing.iter().copied().filter(|it| is_late(it) && !is_guarded(*it)).collect();
        for ifindex in late {
            self.pending.entry(ifindex).or_default();
        }
        self.seen = present;
        self.has_passed = true;
    }

    /// Whether interfaces may have older flows.
    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Notes interfaces that get their programs in a later pass, though no packet has passed there.
    pub(super) fn postpone(&mut self, interfaces: &BTreeSet<u32>) {
        self.seen.retain(|it| !interfaces.contains(it));
    }

    /// Notes that the programs of an interface were missing for a while. Flows that opened meanwhile are
    /// imported, but not as often as another program may remove ours.
    pub(super) fn restored(&mut self, ifindex: u32) {
        self.restored.insert(ifindex);
    }

    /// The time until an import because of restored programs.
    fn until_restored(&self, now: Instant) -> Option<Duration> {
        let due = self.restored_at.map_or(now, |it| it + RETRY);
        (!self.restored.is_empty()).then(|| due.saturating_duration_since(now))
    }

    /// Whether an interface that the agent sees now for the first time has only just appeared.
    pub(super) fn sees_new_ones(&self, now: Instant) -> bool {
        self.has_passed && self.catches_up_until.is_none_or(|it| now >= it)
    }

    /// The time until another attempt, if one is due.
    pub(super) fn again(&self, now: Instant) -> Option<Duration> {
        let failed_at = self.failed_at.filter(|_| !self.pending.is_empty());
        let retry = failed_at.map(|it| (it + RETRY).saturating_duration_since(now));
        retry.into_iter().chain(self.until_restored(now)).min()
    }
}

/// Which pod is behind each interface, and its endpoint id.
#[derive(Clone, Copy)]
pub(super) struct Pods<'a> {
    pub(super) state: &'a State,
    pub(super) cluster: &'a Cluster,
    pub(super) snapshot: &'a Snapshot,
}

impl OlderFlows {
    /// Notes the interfaces of pods that are about to get programs, and imports their flows.
    pub(super) fn before(
        &mut self,
        pods: Pods<'_>,
        kernel: &mut Kernel,
        hooks: &Hooks,
        present: BTreeSet<u32>,
        missing: &BTreeSet<u32>,
    ) {
        self.note(present, missing, |it| hooks.is_pinned(it), Instant::now());
        let owned = pods.addresses(&self.pending);
        let is_new = |(ifindex, addresses): (&u32, &BTreeSet<IpAddr>)| {
            self.pending.get(ifindex).is_some_and(|it| it != addresses)
        };
        if owned.iter().any(is_new) {
            self.import(pods, kernel, owned);
        }
    }

    /// Imports the flows that opened before the programs were attached. The rest is recorded.
    pub(super) fn after(
        &mut self,
        pods: Pods<'_>,
        kernel: &mut Kernel,
        hooks: &Hooks,
        attached: &BTreeSet<u32>,
    ) {
        let owned = pods.addresses(&self.pending);
        if owned.keys().any(|it| attached.contains(it)) {
            self.import(pods, kernel, owned);
        }
        if self.failed_at.is_some() {
            return;
        }
        let known = pods.known();
        self.pending.retain(|it, addresses| {
            addresses.is_empty() || !known.contains(it) || hooks.place(*it).is_none()
        });
    }

    fn import(
        &mut self,
        pods: Pods<'_>,
        kernel: &mut Kernel,
        owned: BTreeMap<u32, BTreeSet<IpAddr>>,
    ) {
        let started_at = Instant::now();
        let flows = pods.flows(&owned);
        let result = kernel.now().map_err(anyhow::Error::from).and_then(|now| {
            let tables = kernel.flows();
            let mut batch =
                Batch { tables: &tables, now, flows: Vec::new(), result: Ok(Imported::default()) };
            let counts = conntrack::read(|entry| batch.add(flows.of(&entry)))?;
            Ok((counts, batch.finish()?))
        });
        let report = &mut self.report;
        match result {
            Ok((counts, imported)) => {
                report.imported += imported.added;
                report.refused += imported.refused;
                report.tracked = counts.entries;
                report.picked_up = counts.picked_up;
                if counts.entries == 0 && !std::mem::replace(&mut self.is_logged, true) {
                    tracing::warn!(
                        "the kernel tracks no connections: those that pods opened before their \
                         interface had programs are unknown, and their replies are denied where \
                         policy isolates the pod"
                    );
                }
                report.failing = None;
                self.failed_at = None;
                let interfaces = owned.len();
                self.pending.extend(owned);
                let (added, entries, picked_up) =
                    (imported.added, counts.entries, counts.picked_up);
                let took = started_at.elapsed();
                tracing::info!(
                    interfaces,
                    added,
                    entries,
                    picked_up,
                    ?took,
                    "older flows imported"
                );
            }
            Err(error) => {
                let error = format!(
                    "connections that pods opened before their interface had programs are unknown, \
                     and their replies are denied where policy isolates the pod: {error:#}"
                );
                if report.failing.as_ref() != Some(&error) {
                    tracing::error!("{error}");
                }
                report.failing = Some(error);
                self.failed_at = Some(Instant::now());
            }
        }
    }
}

impl Pods<'_> {
    /// The interfaces whose pod is known.
    fn known(self) -> BTreeSet<u32> {
        let known = self.state.endpoints().filter(|(owner, _)| matches!(owner, Owner::Pod(_)));
        known.map(|(_, it)| it.ifindex).collect()
    }

    /// The own addresses of the pending interfaces. An address that several interfaces
    /// have belongs to the one of a known pod, or to none.
    fn addresses(
        self,
        pending: &BTreeMap<u32, BTreeSet<IpAddr>>,
    ) -> BTreeMap<u32, BTreeSet<IpAddr>> {
        let mut claims: BTreeMap<IpAddr, Vec<(bool, u32)>> = BTreeMap::new();
        for (owner, endpoint) in self.state.endpoints() {
            let (is_known, addresses) = match owner {
                Owner::Pod(pod) => {
                    (true, self.cluster.pods.get(pod).map(|it| it.addresses.to_set()))
                }
                Owner::Unknown { .. } => {
                    let seen = self.snapshot.interfaces.get(&endpoint.ifindex);
                    (false, seen.map(|it| it.addresses.clone()))
                }
                Owner::Gone(_) => continue,
            };
            for address in addresses.into_iter().flatten() {
                claims.entry(address).or_default().push((is_known, endpoint.ifindex));
            }
        }
        let mut owned: BTreeMap<u32, BTreeSet<IpAddr>> = BTreeMap::new();
        for (address, claims) in claims {
            let known = claims.iter().filter(|(is_known, _)| *is_known);
            let owner = match (known.clone().count(), claims.as_slice()) {
                (1, _) => known.map(|it| it.1).next(),
                (0, [(_, ifindex)]) => Some(*ifindex),
                _ => None,
            };
            if let Some(ifindex) = owner.filter(|it| pending.contains_key(it)) {
                owned.entry(ifindex).or_default().insert(address);
            }
        }
        owned
    }

    /// The flows to look for.
    fn flows(self, owned: &BTreeMap<u32, BTreeSet<IpAddr>>) -> Flows {
        let ids = self.state.endpoints().map(|(_, it)| (it.ifindex, it.id));
        let endpoints = ids.flat_map(|(ifindex, id)| {
            owned.get(&ifindex).into_iter().flatten().map(move |it| (*it, id))
        });
        let pods = self.cluster.pods.values().filter(|it| it.is_peer());
        let served = pods.flat_map(|pod| {
            pod.ports.iter().flat_map(|port| {
                let protocol = match port.protocol {
                    Protocol::Tcp => protocol::TCP,
                    Protocol::Udp => protocol::UDP,
                    Protocol::Sctp => protocol::SCTP,
                };
                let at = move |it: &IpAddr| (protocol, SocketAddr::new(*it, port.port));
                pod.addresses.iter().map(at)
            })
        });
        Flows { endpoints: endpoints.collect(), served: served.collect() }
    }
}

/// Flows on their way to the tables.
struct Batch<'a> {
    tables: &'a FlowTables,
    now: u32,
    flows: Vec<Flow>,
    result: Result<Imported, KernelError>,
}

impl Batch<'_> {
    fn add(&mut self, flows: impl Iterator<Item = Flow>) {
        self.flows.extend(flows);
        if self.flows.len() >= BATCH {
            self.write();
        }
    }

    fn write(&mut self) {
        if let Ok(total) = &mut self.result {
            match self.tables.import(&self.flows, self.now) {
                Ok(more) => {
                    total.added += more.added;
                    total.refused += more.refused;
                }
                Err(error) => self.result = Err(error),
            }
        }
        self.flows.clear();
    }

    fn finish(mut self) -> Result<Imported, KernelError> {
        self.write();
        self.result
    }
}

#[cfg(test)]
mod tests;
