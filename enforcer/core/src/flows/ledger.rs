//! The bounded store of what was seen.

use std::collections::{BTreeMap, HashMap};

use enforcer_ebpf::contract::verdict::Direction;

use super::attribute::{Attributed, View};
use super::decision::{Decision, decide};
use super::record::{FlowEnd, Key, Record, Verdict};
use super::sighting::Sighting;
use super::uses::{RuleUse, UseKey, Uses};
use crate::model::{Pod, Policy};

/// The most records. Beyond that, the workload with the most records loses its oldest one, so that a
/// pod that scans the network hides no other's flows.
pub const RECORDS: usize = 4_096;

/// The addresses outside that a workload may have for each port; further ones are
/// [`FlowEnd::Outside`].
const ADDRESSES: usize = 64;

/// The new records of a pod in one look at the tables, and of all pods: each costs an explanation.
const FRESH: u32 = 64;
const ALL_FRESH: u32 = 2_048;

/// The records that make room at once, if their workload has at least twice that number.
const ROOM: usize = 128;

/// An attempt that a policy denied.
#[derive(Debug, Clone)]
pub struct Denial {
    /// The sender.
    pub from: FlowEnd,
    /// The receiver.
    pub to: FlowEnd,
    /// The protocol's name.
    pub protocol: String,
    /// The receiver's port.
    pub port: Option<u16>,
    /// The end that denied it.
    pub decision: Decision,
}

/// What was seen since the agent started.
#[derive(Debug, Default)]
pub struct Ledger {
    records: BTreeMap<Key, Record>,
    /// The number of records with an address that would be part of a record with
    /// [`FlowEnd::Outside`].
    addresses: HashMap<Key, usize>,
    /// The new records of each endpoint in this look.
    fresh: HashMap<u32, u32>,
    /// Their sum.
    all_fresh: u32,
    uses: Uses,
    revision: u64,
    /// The state of policies, namespaces and labels; another one needs new explanations.
    generation: u64,
    missed: u64,
    since: u64,
    at: u64,
    /// The number of the present look.
    look: u64,
}

impl Ledger {
    /// An empty store.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self { since: now, at: now, ..Self::default() }
    }

    /// Begins a look at the tables.
    pub fn begin<'a>(
        &mut self,
        generation: u64,
        isolating: impl Iterator<Item = &'a Policy>,
        now: u64,
    ) {
        self.generation = generation;
        self.at = now;
        self.look += 1;
        self.uses.retain(isolating, now);
        self.fresh.clear();
        self.all_fresh = 0;
        self.records.values_mut().for_each(|it| it.opening = [0; 2]);
    }

    /// Takes a pod's flows. `name`: the protocol's.
    pub fn take<'a>(&mut self, view: &View<'a>, pod: &'a Pod, seen: &Sighting, name: &str) {
        let Some(flow) = view.attribute(pod, seen) else { return };
        let (from, to) = (flow.from.clone(), flow.to.clone());
        let protocol = name.to_owned();
        let key = Key { from, to, protocol, port: flow.port, verdict: Verdict::Allowed };
        let key = self.fold(key);
        if self.passed(&key).next().is_none() && !self.may_add(seen) {
            return;
        }
        let explained = self.explained(view, pod, &key);
        let ends = explained.unwrap_or_else(|| explanation(view, &flow));
        let key = Key { verdict: Verdict::of(true, &ends), ..key };
        // Not answered, and some end denies it: the drop event counts it, if it is this node's.
        if seen.answered || ends.iter().all(Decision::allows) {
            self.count(key, flow.service, ends, seen);
        }
    }

    /// The records that flows which passed may have: without and with policies in audit against them.
    fn passed(&self, key: &Key) -> impl Iterator<Item = &Record> {
        let verdicts = [Verdict::Allowed, Verdict::WouldDeny].into_iter();
        verdicts.filter_map(|verdict| self.records.get(&Key { verdict, ..key.clone() }))
    }

    /// The explanation of a record of these flows, if it still holds.
    fn explained(&self, view: &View<'_>, pod: &Pod, key: &Key) -> Option<Vec<Decision>> {
        // What policies in audit say of one address does not hold for others.
        let is_of_many =
            matches!((&key.from, &key.to), (FlowEnd::Outside, _) | (_, FlowEnd::Outside));
        if is_of_many && view.has_audit(pod) {
            return None;
        }
        let mut current = self.passed(key).filter(|it| it.generation == self.generation);
        current.next().map(|it| it.ends.clone())
    }

    /// Whether these flows may have a record of their own.
    fn may_add(&mut self, seen: &Sighting) -> bool {
        if seen.new == 0 {
            // Of before its record made room, or before a change of names.
            return false;
        }
        let fresh = self.fresh.entry(seen.endpoint).or_default();
        let has_room = *fresh < FRESH && self.all_fresh < ALL_FRESH;
        if has_room {
            *fresh += 1;
            self.all_fresh += 1;
        } else {
            self.missed = self.missed.saturating_add(seen.new);
        }
        has_room
    }

    fn count(&mut self, key: Key, service: Option<String>, ends: Vec<Decision>, seen: &Sighting) {
        let last = self.at.saturating_sub(seen.seconds_ago);
        self.use_rules(&ends, seen.initiator, seen.new, last);
        let generation = self.generation;
        let revision = self.revise(seen.new > 0 || key.verdict == Verdict::WouldDeny);
        let (look, would_deny) = (self.look, key.verdict == Verdict::WouldDeny);
        let record = self.record(key, last);
        // Connections that were open when a policy came into audit would be denied, too.
        let new = match would_deny && record.look == look {
            true => seen.new.max(seen.open),
            false => seen.new,
        };
        match seen.initiator {
            Direction::Egress => record.at_sender += new,
            Direction::Ingress => record.at_receiver += new,
        }
        if new > 0 {
            record.revision = revision;
        }
        record.services.extend(service);
        if let Some(opening) = record.opening.get_mut(seen.initiator as usize) {
            *opening += seen.open;
        }
        record.first_seen = record.first_seen.min(last);
        record.last_seen = record.last_seen.max(last);
        (record.ends, record.generation) = (ends, generation);
    }

    fn revise(&mut self, changes: bool) -> u64 {
        self.revision += u64::from(changes);
        self.revision
    }

    /// The record of a key, a new one if there is none.
    fn record(&mut self, key: Key, now: u64) -> &mut Record {
        if !self.records.contains_key(&key) {
            self.make_room();
            if let Some(outside) = outside(&key) {
                *self.addresses.entry(outside).or_default() += 1;
            }
        }
        let look = self.look;
        let new = || Record { first_seen: now, last_seen: now, look, ..Record::default() };
        self.records.entry(key).or_insert_with(new)
    }

    fn use_rules(&mut self, ends: &[Decision], at: Direction, new: u64, last: u64) {
        // Only the end whose interface this is: the other one is counted at its own.
        for end in ends.iter().filter(|it| it.direction == at) {
            for result in &end.by {
                let (policy, rule) = (result.rule.policy.clone(), Some(result.rule.index));
                self.uses.allowed(&UseKey { policy, direction: at, rule }, new, last);
            }
        }
    }

    /// Ends a look at the tables. `missed`: new connections that it could not tell apart.
    pub fn end(&mut self, missed: u64) {
        self.missed = self.missed.saturating_add(missed);
        for record in self.records.values_mut() {
            let [ingress, egress] = record.opening;
            record.open = ingress.max(egress);
        }
    }

    /// Takes an attempt that was denied.
    pub fn denied(&mut self, denial: Denial, now: u64) {
        let Denial { from, to, protocol, port, decision } = denial;
        let direction = decision.direction;
        for policy in &decision.isolated_by {
            self.uses.denied(policy, direction);
        }
        let verdict = Verdict::of(false, std::slice::from_ref(&decision));
        let key = self.fold(Key { from, to, protocol, port, verdict });
        let revision = self.revise(true);
        let record = self.record(key, now);
        match direction {
            Direction::Egress => record.at_sender += 1,
            Direction::Ingress => record.at_receiver += 1,
        }
        (record.revision, record.last_seen) = (revision, now);
        record.ends = vec![decision];
    }

    /// The key, with [`FlowEnd::Outside`] instead of an address if there are many already.
    fn fold(&self, key: Key) -> Key {
        if self.records.contains_key(&key) || self.passed(&key).next().is_some() {
            return key;
        }
        match outside(&key) {
            Some(outside) if self.addresses.get(&outside).is_some_and(|it| *it >= ADDRESSES) => {
                outside
            }
            _ => key,
        }
    }

    fn make_room(&mut self) {
        if self.records.len() < RECORDS {
            return;
        }
        let mut accounts: BTreeMap<&FlowEnd, usize> = BTreeMap::new();
        for key in self.records.keys() {
            *accounts.entry(account(key)).or_default() += 1;
        }
        let largest = accounts.into_iter().max_by_key(|(_, count)| *count);
        let Some((largest, count)) = largest.map(|(end, count)| (end.clone(), count)) else {
            return;
        };
        let of_largest = self.records.iter().filter(|(key, _)| *account(key) == largest);
        let mut oldest: Vec<(u64, Key)> =
            of_largest.map(|(key, record)| (record.last_seen, key.clone())).collect();
        oldest.sort_unstable();
        // Several at once: this looks at all records. Never the newest half.
        oldest.truncate((count / 2).clamp(1, ROOM));
        for (_, key) in oldest {
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &Key) {
        let Some(gone) = self.records.remove(key) else { return };
        self.missed = self.missed.saturating_add(gone.connections());
        if let Some(outside) = outside(key)
            && let Some(count) = self.addresses.get_mut(&outside)
        {
            *count = count.saturating_sub(1);
        }
    }

    /// The records that changed after this revision, the newest change first.
    #[must_use]
    pub fn list(&self, after: u64) -> Vec<(&Key, &Record)> {
        let mut list: Vec<_> = self.records.iter().filter(|it| it.1.revision > after).collect();
        list.sort_by_key(|(_, record)| std::cmp::Reverse(record.revision));
        list
    }

    /// The records with new connections since the last call, and the number of these.
    pub fn take_news(&mut self) -> Vec<(Key, Record, u64)> {
        let mut news = Vec::new();
        for (key, record) in &mut self.records {
            let connections = record.connections();
            let new = connections.saturating_sub(record.reported);
            if new > 0 {
                record.reported = connections;
                news.push((key.clone(), record.clone(), new));
            }
        }
        news
    }

    /// The decisions at this node that policies in audit would reverse, with the number of their
    /// connections since the last call.
    pub fn take_audit(&mut self) -> Vec<(Key, Decision, u64)> {
        let mut news = Vec::new();
        for (key, record) in &mut self.records {
            let counts = [record.at_receiver, record.at_sender];
            let before = std::mem::replace(&mut record.audited, counts);
            for end in record.ends.iter().filter(|it| it.audit.is_some()) {
                let at = end.direction as usize;
                let (now, before) = (counts.get(at), before.get(at));
                let new = now.zip(before).map_or(0, |(now, before)| now.saturating_sub(*before));
                if new > 0 {
                    news.push((key.clone(), end.clone(), new));
                }
            }
        }
        news
    }

    /// The use of the rules that isolate this node's pods.
    pub fn uses(&self) -> impl Iterator<Item = (&UseKey, &RuleUse)> {
        self.uses.list()
    }

    /// The newest revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Connections that could not be told apart, or whose record made room for others.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The times of the beginning and of the last look, in seconds since 1970.
    #[must_use]
    pub fn times(&self) -> (u64, u64) {
        (self.since, self.at)
    }
}

/// The workload that a record counts for: hostile pods and clients fill only their own's share.
fn account(key: &Key) -> &FlowEnd {
    match (&key.from, &key.to) {
        (FlowEnd::Workload(_), _) => &key.from,
        (_, to) => to,
    }
}

/// The key of the record that an address is part of if there are too many; `None`: it has no address.
fn outside(key: &Key) -> Option<Key> {
    match (&key.from, &key.to) {
        (FlowEnd::Address(_), _) => Some(Key { from: FlowEnd::Outside, ..key.clone() }),
        (_, FlowEnd::Address(_)) => Some(Key { to: FlowEnd::Outside, ..key.clone() }),
        _ => None,
    }
}

fn explanation<'a>(view: &View<'a>, flow: &Attributed<'a>) -> Vec<Decision> {
    let Some([from, to]) = flow.pair else { return Vec::new() };
    decide(view.cluster, view.owners, from, to, flow.traffic)
}
