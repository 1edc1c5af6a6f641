//! Attaching programs to the node's interfaces, and keeping them there (semantics C6, C7).

use std::collections::BTreeSet;
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

/// With more interfaces than this without programs, filters come first: they take a hundredth of the time
/// of links.
const MANY: usize = 8;

impl Reconciler {
    /// Attaches the programs to every interface that leads to a pod, known or not: once the pod is
    /// known, its next packet is checked. Uplinks come first: they check the packets that a pod's
    /// programs leave open.
    pub(super) fn attach(&mut self) {
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
        missing.retain(|(ifindex, _, place)| !self.may_wait(*ifindex, *place, now));
        missing.sort_by_key(|(ifindex, _, place)| (*place == Place::Pod, *ifindex));
        let unguarded = missing.iter().map(|it| it.0).filter(|it| pods.contains(it)).collect();
        let known = Pods { state: &self.state, cluster: &self.cluster, snapshot: &self.snapshot };
        self.older.before(known, &mut self.kernel, &self.hooks, pods, &unguarded);
        let mut attached = BTreeSet::new();
        for (ifindex, name, place) in missing {
            self.hooks.hurry(many && place == Place::Pod);
            let result = self.hooks.attach(&mut self.kernel, ifindex, &name, place);
            if self.note(ifindex, &name, result, now) {
                attached.insert(ifindex);
                tracing::debug!(interface = %name, ?place, "programs attached");
            }
        }
        let known = Pods { state: &self.state, cluster: &self.cluster, snapshot: &self.snapshot };
        self.older.after(known, &mut self.kernel, &self.hooks, &attached);
    }

    /// Whether a new interface may wait for its pod: where the programs would let everything pass until
    /// the pod is known, or where the runtime's record makes it known before its containers start.
    fn may_wait(&mut self, ifindex: u32, place: Place, now: Instant) -> bool {
        if place != Place::Pod || !self.hooks.adds_qdiscs() {
            return false;
        }
        let has_records = self.has_records() && self.older.sees_new_ones(now);
        let may_wait = self.state.endpoints().any(|(owner, record)| {
            let closed = matches!(owner, Owner::Unknown { closed: true });
            let open = matches!(owner, Owner::Unknown { closed: false });
            record.ifindex == ifindex && (open || closed && has_records)
        });
        may_wait && now < self.guard.first_seen(ifindex, now) + CLSACT_WAIT
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
        self.attach();
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
