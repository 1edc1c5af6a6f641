//! Attaching programs to the node's interfaces, and keeping them there (semantics C6, C7).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::guard::Unguarded;
use super::older_flows::Pods;
use super::reconciler::Reconciler;
use crate::kernel::{KernelError, Place, Scope, SettledTable};
use enforcer_core::tables::Owner;

/// The longest wait for the pod of a new interface before a clsact qdisc is added to it. The CNI
/// bandwidth plugin adds a qdisc of its own there, and fails if there is one; the kubelet and the
/// container runtime report the pod when all plugins have run.
const CLSACT_WAIT: Duration = Duration::from_secs(2);

/// The time after which attaching makes room for what has arrived meanwhile, such as the runtime's record
/// of a pod whose containers are about to start. Where many pods start at once, the CNI plugins and each
/// attachment wait for the same lock of the kernel.
const ROUND: Duration = Duration::from_millis(100);

/// With more interfaces than this without programs, filters come first: they take a hundredth of the time
/// of links.
const MANY: usize = 8;

impl Reconciler {
    /// Attaches the programs to every interface that needs them.
    pub(super) fn attach(&mut self) {
        while self.attach_some() {}
    }

    /// Attaches the programs to interfaces that lead to a pod, known or not: once the pod is known, its
    /// next packet is checked. Uplinks come first: they check the packets that a pod's programs leave
    /// open. Then come known pods: their containers may be about to start. Returns whether interfaces are
    /// left for another round.
    pub(super) fn attach_some(&mut self) -> bool {
        let now = Instant::now();
        let wanted = self.hook_places();
        let pods = wanted.iter().filter(|(_, (_, place))| *place == Place::Pod);
        let pods: BTreeSet<u32> = pods.map(|(ifindex, _)| *ifindex).collect();
        let stale: Vec<u32> = self
            .hooks
            .interfaces()
            .filter(|(ifindex, place)| wanted.get(ifindex).is_none_or(|it| it.1 != *place))
            .map(|(ifindex, _)| ifindex)
            .collect();
        for ifindex in stale {
            self.hooks.detach(ifindex);
        }
        self.guard.tidy(|ifindex| wanted.contains_key(&ifindex), now);
        let mut missing: Vec<(u32, String, Place)> = wanted
            .into_iter()
            .filter(|(ifindex, _)| self.hooks.place(*ifindex).is_none())
            .filter(|(ifindex, _)| self.guard.is_due(*ifindex, now))
            .map(|(ifindex, (name, place))| (ifindex, name, place))
            .collect();
        let many = missing.len() > MANY;
        self.hooks.hurry(many);
        let waiting = self.waiting(&missing, now);
        missing.retain(|(ifindex, ..)| !waiting.contains_key(ifindex));
        missing.sort_by_key(|(ifindex, _, place)| {
            (*place == Place::Pod, !self.assignment.pods.contains_key(ifindex), *ifindex)
        });
        let unguarded = missing.iter().map(|it| it.0).filter(|it| pods.contains(it)).collect();
        let known = Pods { state: &self.state, cluster: &self.cluster, snapshot: &self.snapshot };
        self.older.before(known, &mut self.kernel, &self.hooks, pods, &unguarded);
        let mut attached = BTreeSet::new();
        // These have only just appeared: no container of theirs runs before the runtime's record is there.
        let closed = waiting.into_iter().filter(|(_, closed)| *closed);
        let mut later: BTreeSet<u32> = closed.map(|(ifindex, _)| ifindex).collect();
        // Flows are imported twice in each round: older interfaces are done in one.
        let is_limited = !self.older.is_pending();
        let mut is_behind = false;
        for (ifindex, name, place) in missing {
            is_behind = is_limited && !attached.is_empty() && now.elapsed() > ROUND;
            if is_behind {
                later.insert(ifindex);
                continue;
            }
            self.hooks.hurry(many && place == Place::Pod);
            let result = self.hooks.attach(&mut self.kernel, ifindex, &name, place);
            if self.note(ifindex, &name, result, now) {
                attached.insert(ifindex);
                tracing::debug!(interface = %name, ?place, "programs attached");
            }
        }
        let known = Pods { state: &self.state, cluster: &self.cluster, snapshot: &self.snapshot };
        self.older.after(known, &mut self.kernel, &self.hooks, &attached);
        self.older.postpone(&later);
        is_behind
    }

    /// The new interfaces that may wait for their pod: where the programs would let everything pass until
    /// the pod is known, or (`true`) where the runtime's record makes it known before its containers
    /// start.
    fn waiting(&mut self, missing: &[(u32, String, Place)], now: Instant) -> BTreeMap<u32, bool> {
        let pods = missing.iter().filter(|(_, _, place)| *place == Place::Pod);
        let mut waiting: BTreeMap<u32, bool> = BTreeMap::new();
        if !self.hooks.adds_qdiscs() {
            return waiting;
        }
        let has_records = self.has_records() && self.older.sees_new_ones(now);
        let unknown = self.state.endpoints().filter_map(|(owner, record)| match owner {
            Owner::Unknown { closed } if !closed || has_records => Some((record.ifindex, *closed)),
            _ => None,
        });
        let unknown: BTreeMap<u32, bool> = unknown.collect();
        for (ifindex, ..) in pods {
            if let Some(closed) = unknown.get(ifindex)
                && now < self.guard.first_seen(*ifindex, now) + CLSACT_WAIT
            {
                waiting.insert(*ifindex, *closed);
            }
        }
        waiting
    }

    /// Replaces the programs of an earlier agent, now that the tables are complete: each packet is
    /// checked by the old programs or by the new ones.
    pub(super) fn take_over(&mut self) -> Result<(), KernelError> {
        self.attach();
        while self.kernel.next_stage()? {
            self.hooks.release_pins();
            self.attach();
        }
        self.hooks.prune(&self.hook_places().into_keys().collect())?;
        if let Some(pins) = &self.pins {
            self.kernel.drop_other_tables(pins)?;
        }
        Ok(())
    }

    /// Forgets the parts of earlier agents' programs, once no hook has such a program.
    pub(super) fn drop_other_parts(&mut self) {
        let has_ours = |ifindex: &u32| self.hooks.place(*ifindex).is_some();
        if self.has_only_own_parts || !self.hook_places().keys().all(has_ours) {
            return;
        }
        match self.kernel.drop_other_parts() {
            Ok(is_last) => self.has_only_own_parts = is_last,
            Err(error) => tracing::warn!("cannot remove the pins of earlier programs: {error}"),
        }
    }

    /// Verifies hooks, and restores what is wrong with them (semantics C7).
    pub(super) fn verify(&mut self, scope: &Scope) {
        if self.inheritance.is_some() {
            // The programs of an earlier agent, which stay as they are.
            return;
        }
        // What was unpinned with its folder is noticed at once.
        let scope = if self.keep_pins() { &Scope::All } else { scope };
        let now = Instant::now();
        let names = self.hook_places();
        for fault in self.hooks.faults(scope) {
            let Some((name, _)) = names.get(&fault.ifindex) else { continue };
            if self.guard.found(fault.ifindex, name, (fault.is_open, fault.text.clone()), now) {
                tracing::warn!(interface = %name, "{}", fault.text);
            }
        }
        for (ifindex, name) in self.guard.due(now) {
            if self.hooks.place(ifindex).is_some() {
                let restored = self.hooks.restore(&mut self.kernel, ifindex);
                self.check(ifindex, &name, restored, now);
            }
        }
        // What is left is the next reconciliation's.
        self.attach_some();
        self.drop_other_parts();
        if !matches!(scope, Scope::Interfaces(_)) {
            self.promote();
        }
        if *scope == Scope::All
            && let Err(error) = self.hooks.prune(&names.into_keys().collect())
        {
            tracing::debug!("cannot remove the pins of interfaces that are gone: {error}");
        }
    }

    /// Replaces the filters of one interface by links.
    fn promote(&mut self) {
        if let Some((ifindex, Err(error))) = self.hooks.promote_next(&mut self.kernel)
            && !error.means_gone()
        {
            // The filters stay, or the next verification finds what is missing.
            tracing::debug!(ifindex, "the filters are not replaced by links yet: {error}");
        }
    }

    /// Notes the result of restoring an interface's hooks, as the kernel has them then.
    fn check(&mut self, ifindex: u32, name: &str, restored: Result<(), KernelError>, now: Instant) {
        let faults = self.hooks.faults(&Scope::Interfaces([ifindex].into()));
        match (restored, faults.into_iter().find(|it| it.is_open)) {
            (Ok(()), Some(fault)) => {
                if self.guard.failed(ifindex, name, fault.text.clone(), now) {
                    tracing::warn!(interface = %name, "cannot restore: {}", fault.text);
                }
            }
            (restored, _) => {
                if self.note(ifindex, name, restored, now) {
                    tracing::warn!(interface = %name, "programs restored");
                    self.older.restored(ifindex);
                }
            }
        }
    }

    /// Notes the result of attaching; returns whether it succeeded.
    fn note(
        &mut self,
        ifindex: u32,
        name: &str,
        result: Result<(), KernelError>,
        now: Instant,
    ) -> bool {
        let Err(error) = result else {
            self.guard.succeeded(ifindex, now);
            return true;
        };
        if error.means_gone() {
            // Netlink reports it.
            tracing::debug!(interface = %name, "the interface is gone: {error}");
        } else if self.guard.failed(ifindex, name, error.to_string(), now) {
            tracing::warn!(interface = %name, "not guarded: {error}");
        }
        false
    }

    /// Pins again what was unpinned: by its removal, or by a file system that was mounted over it.
    /// Returns whether there was anything.
    fn keep_pins(&mut self) -> bool {
        let Some(pins) = &mut self.pins else { return false };
        let restored = pins.restore().map_err(KernelError::from).and_then(|_| {
            let tables = self.kernel.restore_pins()?;
            let settled = self.settled.as_ref().map_or(Ok(()), SettledTable::restore_pin);
            settled.map(|()| tables)
        });
        let is_new = matches!(restored, Ok(true));
        let problem = restored.as_ref().err().map(ToString::to_string);
        match restored {
            Ok(true) => tracing::warn!("the pins of tables were removed or hidden; pinned again"),
            Err(error) if problem != self.pins_problem => {
                tracing::error!("enforcement ends with this process: {error}");
            }
            Ok(false) | Err(_) => {}
        }
        self.pins_problem = problem;
        is_new
    }

    /// The interfaces at which packets may pass unchecked.
    pub(super) fn unguarded(&self) -> Vec<Unguarded> {
        self.guard.unguarded()
    }
}
