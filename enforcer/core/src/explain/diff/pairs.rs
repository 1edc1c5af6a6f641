//! The pairs of units whose connections change.

use std::collections::{BTreeMap, HashMap};

use enforcer_ebpf::contract::verdict::Direction;
use ipnet::IpNet;

use super::classes::{Class, Ends};
use super::set::Opened;
use super::{Both, Difference, Kind, Party, Unit};

/// What was opened, and what was closed.
type Delta = (Opened, Opened);

/// Pairs of workloads, and what changes between how many of their pods.
type Sums = BTreeMap<(Party, Party), (usize, BTreeMap<Delta, usize>)>;

/// Connections of one kind of pods with the addresses of a prefix.
struct Outer {
    prefix: IpNet,
    except: Vec<IpNet>,
    delta: Delta,
}

impl Both {
    /// The changes between workloads.
    pub(super) fn between_units(&self) -> Vec<Difference> {
        let mut units: Vec<Vec<&Unit>> = self.kinds.iter().map(|_| Vec::new()).collect();
        for unit in &self.units {
            if let Some(list) = units.get_mut(unit.kind) {
                list.push(unit);
            }
        }
        let mut known: HashMap<[Ends; 2], Delta> = HashMap::new();
        let mut sums = Sums::new();
        for (from, senders) in self.kinds.iter().zip(&units) {
            for (to, receivers) in self.kinds.iter().zip(&units) {
                let Some(delta) = self.delta(from, to, &mut known) else { continue };
                for from in senders {
                    for to in receivers {
                        self.add(&mut sums, from, to, &delta);
                    }
                }
            }
        }
        differences(sums)
    }

    fn add(&self, sums: &mut Sums, from: &Unit, to: &Unit, delta: &Delta) {
        // A pod's connections to itself do not change (semantics A1).
        let same = from.workload == to.workload;
        let others = |pods: usize, same: bool| if same { pods.saturating_sub(1) } else { pods };
        let pairs = from.pods * others(to.pods, same && from.kind == to.kind);
        if pairs == 0 {
            return;
        }
        let total = |unit: &Unit| self.totals.get(&unit.workload).copied().unwrap_or(unit.pods);
        let party = |unit: &Unit| Party::Workload(unit.workload.clone());
        let entry = sums.entry((party(from), party(to))).or_default();
        entry.0 = total(from) * others(total(to), same);
        *entry.1.entry(delta.clone()).or_default() += pairs;
    }

    /// The change of the connections between pods of two kinds, over all families that both have.
    fn delta(
        &self,
        from: &Kind,
        to: &Kind,
        known: &mut HashMap<[Ends; 2], Delta>,
    ) -> Option<Delta> {
        let old = self.old.ends(&from.old, &to.old);
        let new = self.new.ends(&from.new, &to.new);
        if old == new {
            return None;
        }
        let delta = match (old.as_slice(), new.as_slice()) {
            ([one], [two]) => known
                .entry([*one, *two])
                .or_insert_with(|| delta(&self.numbers.allowed(*one), &self.numbers.allowed(*two)))
                .clone(),
            _ => delta(&self.numbers.any(&old), &self.numbers.any(&new)),
        };
        is_change(&delta).then_some(delta)
    }

    /// The changes between workloads and addresses outside.
    pub(super) fn with_outside(&self) -> Vec<Difference> {
        let mut sums = Sums::new();
        for direction in Direction::ALL {
            let changes: Vec<Vec<Outer>> =
                self.kinds.iter().map(|it| self.outside_of(it, direction)).collect();
            for unit in &self.units {
                for Outer { prefix, except, delta } in changes.get(unit.kind).into_iter().flatten()
                {
                    let own = Party::Workload(unit.workload.clone());
                    let other = Party::Outside { prefix: *prefix, except: except.clone() };
                    let key = match direction {
                        Direction::Ingress => (other, own),
                        Direction::Egress => (own, other),
                    };
                    let entry = sums.entry(key).or_default();
                    entry.0 = self.totals.get(&unit.workload).copied().unwrap_or(unit.pods);
                    *entry.1.entry(delta.clone()).or_default() += unit.pods;
                }
            }
        }
        differences(sums)
    }

    /// The prefixes whose connections with pods of this kind change, without those that change like
    /// the prefix around them.
    fn outside_of(&self, kind: &Kind, direction: Direction) -> Vec<Outer> {
        // In order: each prefix follows all those that contain it. With the place of the change.
        let mut around: Vec<(IpNet, Delta, Option<usize>)> = Vec::new();
        let mut found: Vec<Outer> = Vec::new();
        for prefix in &self.outside {
            let is_v6 = matches!(prefix, IpNet::V6(_));
            let has = |class: &Class| class.columns().iter().any(|(it, _)| *it == is_v6);
            if !has(&kind.old) || !has(&kind.new) {
                continue;
            }
            let delta = self.outer_delta(kind, direction, *prefix);
            while around.last().is_some_and(|(it, ..)| !it.contains(prefix)) {
                around.pop();
            }
            let (outer, at) = match around.last() {
                Some((_, outer, at)) => (Some(outer), *at),
                None => (None, None),
            };
            if outer == Some(&delta) {
                around.push((*prefix, delta, at));
                continue;
            }
            if let Some(outer) = at.and_then(|at| found.get_mut(at)) {
                outer.except.push(*prefix);
            }
            let own = is_change(&delta).then_some(found.len());
            if own.is_some() {
                found.push(Outer { prefix: *prefix, except: Vec::new(), delta: delta.clone() });
            }
            around.push((*prefix, delta, own));
        }
        found
    }

    fn outer_delta(&self, kind: &Kind, direction: Direction, prefix: IpNet) -> Delta {
        let old = self.old.number(&kind.old, direction, self.old.column_of(prefix));
        let new = self.new.number(&kind.new, direction, self.new.column_of(prefix));
        if old == new {
            Delta::default()
        } else {
            delta(self.numbers.set(old), self.numbers.set(new))
        }
    }
}

fn differences(sums: Sums) -> Vec<Difference> {
    let mut found = Vec::new();
    for ((from, to), (of, deltas)) in sums {
        found.extend(deltas.into_iter().map(|((opened, closed), pairs)| {
            let (from, to) = (from.clone(), to.clone());
            Difference { from, to, opened, closed, pairs, of }
        }));
    }
    found
}

fn delta(old: &Opened, new: &Opened) -> Delta {
    (new.minus(old), old.minus(new))
}

fn is_change((opened, closed): &Delta) -> bool {
    !opened.is_empty() || !closed.is_empty()
}
