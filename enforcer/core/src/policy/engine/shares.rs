//! Fair shares (semantics R9): which subjects a node can't afford.
//!
//! Before anything is built, the needs of all rows are known: how many classes, port sets and so on
//! they bring. Where all namespaces together need more than there is, each gets what it needs up to a
//! common level, so that the namespace that asks for most is cut first, and one that asks for no more
//! than an equal share is never cut. A cut namespace keeps its smallest rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use enforcer_ebpf::contract::table::{Limits, PORT_CLASSES, SLOTS};

use super::blocks::find_events;
use super::seen::Seen;
use super::sketch::{Sketch, Sketched};
use super::slab::Number;
use crate::policy::verdicts::Verdicts;

/// What rows need of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// Peers, blocks and exceptions in the rules: the agent's memory.
    Names,
    /// Classes of addresses: verdict cells, one in each row.
    Classes,
    /// Blocks that overlap, at each of their ends: the agent's time.
    Overlaps,
    /// Port sets.
    PortSets,
    /// Ranges of ports: port classes.
    PortRanges,
}

impl Resource {
    const MEASURED: [Self; 4] = [Self::Classes, Self::Overlaps, Self::PortSets, Self::PortRanges];
}

/// What there is of each resource.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    limits: Limits,
}

/// Names in the rules of one node's rows.
const NAMES: u64 = 1 << 16;
/// Sums of overlapping blocks.
const OVERLAPS: u64 = 1 << 18;
/// Classes, whatever the tables hold: what keeps a plan within its time.
const CLASSES: u64 = 1 << 14;

impl Budget {
    pub(super) const fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// What there is for this number of rows. An eighth of the tables stays free, so that new rows
    /// fit beside old ones.
    fn of(&self, resource: Resource, rows: usize) -> u64 {
        let most = |size: u64| size - size / 8;
        match resource {
            Resource::Names => NAMES,
            Resource::Overlaps => OVERLAPS,
            Resource::PortSets => most(self.limits.port_sets.into()),
            Resource::PortRanges => most(PORT_CLASSES as u64),
            Resource::Classes => {
                let cells = u64::from(self.limits.verdict_blocks) * SLOTS as u64;
                (most(cells) / rows.max(1) as u64).min(CLASSES)
            }
        }
    }
}

/// Memory that many calls of [`Need::new`] share.
#[derive(Default)]
pub(super) struct Scratch {
    /// The terms' identities and numbers of ranges.
    atoms: Vec<(u64, u64)>,
    /// Whether an address is in the blocks of each term.
    is_active: Vec<bool>,
    events: Vec<(u128, Number)>,
}

/// What one row needs: lists of what it may share with other rows, and a sum. Numbers of atoms and of
/// verdicts may mean others later, so these are not in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Need {
    /// The same for equal rows only: a sum of numbers that nobody can foresee. If it were the same for two
    /// rows of a namespace, one of them would be counted instead of both.
    pub(super) row: u64,
    /// The classes that it brings.
    classes: Vec<u64>,
    overlaps: u64,
    /// Port sets, with the number of their ranges.
    sets: Vec<(u64, u64)>,
}

impl Need {
    pub(super) fn new(sketch: &Sketch<'_>, verdicts: &Verdicts, scratch: &mut Scratch) -> Self {
        let terms = sketch.terms.len();
        let mut need = Self {
            row: verdicts.identity(sketch.base),
            classes: Vec::with_capacity(terms),
            overlaps: 0,
            sets: Vec::with_capacity(terms),
        };
        let Scratch { atoms, is_active, events } = scratch;
        atoms.clear();
        for Sketched { identity, set, term } in &sketch.terms {
            let always = verdicts.identity(term.always);
            let ranges = verdicts.ranges(term.always) as u64;
            atoms.push((*identity, ranges));
            let number = verdicts.fingerprint(&(identity, always, &term.named));
            need.row = need.row.wrapping_add(number);
            if set.blocks().is_empty() {
                need.classes.push(*identity);
            }
            need.sets.extend((ranges > 0).then_some((always, ranges)));
            need.sets.extend(term.named.iter().map(|name| (verdicts.fingerprint(name), 1)));
        }
        for family in [0, 1] {
            let sets = (0..).zip(&sketch.terms);
            let sets = sets.map(|(number, it)| (number, it.set.blocks().iter().copied()));
            find_events(sets, family, events);
            is_active.clear();
            is_active.resize(terms, false);
            need.sweep(events, atoms, is_active);
        }
        need.classes.sort_unstable();
        need.classes.dedup();
        need.sets.sort_unstable();
        need.sets.dedup();
        need
    }

    /// Counts the distinct lists of blocks that addresses are in, without making them.
    /// `atoms`: their identities and numbers of ranges.
    fn sweep(&mut self, events: &[(u128, Number)], atoms: &[(u64, u64)], is_active: &mut [bool]) {
        let (mut active, mut list, mut all_ranges) = (0u64, 0u64, 0u64);
        for here in events.chunk_by(|one, two| one.0 == two.0) {
            for (_, number) in here {
                let at = *number as usize;
                let (Some((identity, ranges)), Some(is_active)) =
                    (atoms.get(at), is_active.get_mut(at))
                else {
                    continue;
                };
                // The lists' hashes are sums, so that each end costs the same.
                *is_active = !*is_active;
                if *is_active {
                    active += 1;
                    list = list.wrapping_add(*identity);
                    all_ranges += ranges;
                } else {
                    active -= 1;
                    list = list.wrapping_sub(*identity);
                    all_ranges -= ranges;
                }
            }
            self.overlaps += active;
            if active > 0 {
                self.classes.push(list);
            }
            if active > 1 && all_ranges > 0 {
                self.sets.push((list, 1));
            }
        }
    }

    /// The number of values that may be shared with other rows.
    fn values(&self, resource: Resource) -> usize {
        match resource {
            Resource::Names | Resource::Overlaps => 0,
            Resource::Classes => self.classes.len(),
            Resource::PortSets | Resource::PortRanges => self.sets.len(),
        }
    }

    fn amount(&self, resource: Resource) -> u64 {
        match resource {
            Resource::Names => 0,
            Resource::Classes => self.classes.len() as u64,
            Resource::Overlaps => self.overlaps,
            Resource::PortSets => self.sets.len() as u64,
            Resource::PortRanges => self.sets.iter().map(|(_, ranges)| ranges).sum(),
        }
    }
}

/// What several rows need together, so far.
struct Sum {
    seen: Seen,
    amount: u64,
}

impl Sum {
    /// Nothing yet, with room for this number of values.
    fn with_room(values: usize) -> Self {
        Self { seen: Seen::with_room(values), amount: 0 }
    }

    fn add(&mut self, need: &Need, resource: Resource) {
        match resource {
            Resource::Names => {}
            Resource::Overlaps => self.amount += need.overlaps,
            Resource::Classes => {
                let new = need.classes.iter().filter(|it| self.seen.insert(**it));
                self.amount += new.count() as u64;
            }
            Resource::PortSets | Resource::PortRanges => {
                let is_sets = resource == Resource::PortSets;
                let new = need.sets.iter().filter(|(set, _)| self.seen.insert(*set));
                self.amount +=
                    new.map(|(_, ranges)| if is_sets { 1 } else { *ranges }).sum::<u64>();
            }
        }
    }
}

/// A row that asks to be represented.
pub(super) struct Ask<'a, K> {
    /// Its namespace.
    pub(super) namespace: &'a str,
    /// What identifies it among the rows of all namespaces. Of rows that need the same, the one with the
    /// largest key is cut first.
    pub(super) key: K,
    pub(super) need: Arc<Need>,
}

/// A share that is too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    /// The resource.
    pub resource: Resource,
    /// What the namespace needs of it.
    pub needed: u64,
    /// What it can have.
    pub share: u64,
    /// Whether larger tables would help.
    pub by_table: bool,
}

/// The rows that their namespaces' shares are too small for.
pub(super) fn excess<K: Ord + Clone>(asks: &[Ask<'_, K>], budget: &Budget) -> BTreeMap<K, Excess> {
    let mut closed: BTreeMap<K, Excess> = BTreeMap::new();
    for resource in Resource::MEASURED {
        let capacity = budget.of(resource, asks.len());
        let open = asks.iter().filter(|ask| !closed.contains_key(&ask.key));
        // Enough even if they had nothing in common.
        if open.clone().map(|ask| ask.need.amount(resource)).sum::<u64>() <= capacity {
            continue;
        }
        let mut namespaces: BTreeMap<&str, Vec<&Ask<'_, K>>> = BTreeMap::new();
        open.for_each(|ask| namespaces.entry(ask.namespace).or_default().push(ask));
        let mut sums: Vec<(Vec<&Ask<'_, K>>, Vec<u64>)> = Vec::new();
        for mut asks in namespaces.into_values() {
            asks.sort_by_cached_key(|ask| (ask.need.amount(resource), ask.key.clone()));
            let mut sum = Sum::with_room(asks.iter().map(|ask| ask.need.values(resource)).sum());
            let sum_up = |ask: &&Ask<'_, K>| {
                sum.add(&ask.need, resource);
                sum.amount
            };
            let amounts = asks.iter().map(sum_up).collect();
            sums.push((asks, amounts));
        }
        let needs = sums.iter().map(|(_, sums)| sums.last().copied().unwrap_or(0)).collect();
        let share = level(needs, capacity);
        for (asks, sums) in sums {
            let needed = sums.last().copied().unwrap_or(0);
            let beyond = asks.iter().zip(&sums).filter(|(_, sum)| **sum > share);
            let by_table = match resource {
                Resource::Classes => capacity < CLASSES,
                it => it == Resource::PortSets,
            };
            let excess = Excess { resource, needed, share, by_table };
            closed.extend(beyond.map(|(ask, _)| (ask.key.clone(), excess)));
        }
    }
    closed
}

/// The same for the names in rules, before these become rows. `asks`: namespace, key, distinct rules
/// (equal ones count once), number of names.
pub(super) fn excess_names<K: Ord + Clone, R: Ord>(
    asks: &[(&str, K, R, u64)],
    budget: &Budget,
) -> BTreeMap<K, Excess> {
    let capacity = budget.of(Resource::Names, 1);
    let mut namespaces: BTreeMap<&str, BTreeMap<(u64, &R), Vec<&K>>> = BTreeMap::new();
    for (namespace, key, rules, names) in asks {
        let rules = namespaces.entry(namespace).or_default().entry((*names, rules));
        rules.or_default().push(key);
    }
    let total = |rules: &BTreeMap<(u64, &R), Vec<&K>>| rules.keys().map(|it| it.0).sum::<u64>();
    let share = level(namespaces.values().map(total).collect(), capacity);
    let mut closed = BTreeMap::new();
    for rules in namespaces.values() {
        let needed = total(rules);
        let mut sum = 0;
        for ((names, _), keys) in rules {
            sum += names;
            if sum > share {
                let excess = Excess { resource: Resource::Names, needed, share, by_table: false };
                closed.extend(keys.iter().map(|key| ((*key).clone(), excess)));
            }
        }
    }
    closed
}

/// The most that each may have, so that all together have no more than `capacity`. Those that need
/// less leave the rest to the others.
fn level(mut needs: Vec<u64>, capacity: u64) -> u64 {
    needs.sort_unstable();
    let (mut left, mut others) = (capacity, needs.len() as u64);
    for need in needs {
        let share = left / others;
        if need > share {
            return share;
        }
        left -= need;
        others -= 1;
    }
    u64::MAX
}

/// The keys that stay closed: those without a share now, and those that had none and would have none
/// if there were a sixteenth less.
pub(super) fn with_hysteresis<K: Ord + Clone>(
    before: &BTreeMap<K, Excess>,
    budget: &Budget,
    of: impl Fn(&Budget) -> BTreeMap<K, Excess>,
) -> BTreeMap<K, Excess> {
    let mut closed = of(budget);
    if !before.is_empty() {
        let Limits { port_sets, verdict_blocks, .. } = budget.limits;
        let less = |size: u32| size - size / 16;
        let limits = Limits {
            port_sets: less(port_sets),
            verdict_blocks: less(verdict_blocks),
            ..budget.limits
        };
        let tighter = of(&Budget::new(limits));
        closed.extend(tighter.into_iter().filter(|(key, _)| before.contains_key(key)));
    }
    closed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_need_is_cut_first() {
        assert_eq!(level(vec![10, 20, 30], 60), u64::MAX);
        assert_eq!(level(vec![10, 20, 31], 60), 30);
        assert_eq!(level(vec![10, 100, 90], 60), 25);
        assert_eq!(level(vec![100, 1, 1], 60), 58);
        assert_eq!(level(vec![], 60), u64::MAX);
    }
}
