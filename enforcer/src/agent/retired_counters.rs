//! Packet counters by namespace that never fall, although endpoints end, ids are reused, and pods
//! become known after their first packets.
//!
//! The kernel counts by endpoint id, and starts at zero when an id is reused. The sum of a namespace is
//! the counters of its present ids plus a settled part: the counters of ids that left the namespace,
//! minus the earlier counters of ids that joined it.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_ebpf::contract::counters::{Count, Counters, NOBODY};

use crate::observe::FORMER_NAMESPACES;
use enforcer_core::tables::{Inherited, Owner};

/// The settled part of a namespace, to be stored: `None`, if its record is to be removed.
pub(super) type Settlement = (String, Option<Counters>);

/// The counters of this node's namespaces. The empty name counts for unknown pods.
#[derive(Debug, Default)]
pub(super) struct RetiredCounters {
    /// The namespace that counts each id.
    namespaces: BTreeMap<u32, String>,
    /// Wraps around below zero: an id may join with more than all former ids had when they left.
    settled: BTreeMap<String, Counters>,
}

impl RetiredCounters {
    /// Continues with the records of earlier agents.
    pub(super) fn resuming(inherited: &[Inherited], settled: BTreeMap<String, Counters>) -> Self {
        let owned = inherited.iter().filter_map(|it| Some((it.id, namespace(it.owner.as_ref()?))));
        let nobody = (NOBODY, String::new());
        Self { namespaces: owned.chain([nobody]).collect(), settled }
    }

    /// Notes that an id is about to get another owner. Returns the records to store.
    pub(super) fn hand_over(
        &mut self,
        id: u32,
        owner: Option<&Owner>,
        counted: impl FnOnce() -> Counters,
    ) -> Vec<Settlement> {
        let (from, to) = (self.namespaces.remove(&id), owner.map(namespace));
        self.namespaces.extend(to.clone().map(|to| (id, to)));
        if from == to {
            return Vec::new();
        }
        let counted = counted();
        if counted == Counters::default() {
            return Vec::new();
        }
        let left = from.map(|from| self.settle(from, &counted, u64::wrapping_add));
        let joined = to.map(|to| self.settle(to, &counted, u64::wrapping_sub));
        left.into_iter().chain(joined).collect()
    }

    fn settle(
        &mut self,
        namespace: String,
        amount: &Counters,
        with: fn(u64, u64) -> u64,
    ) -> Settlement {
        let settled = self.settled.entry(namespace.clone()).or_default();
        *settled = combine(settled, amount, with);
        (namespace, Some(*settled))
    }

    /// Moves the counters of deleted namespaces without ids to [`FORMER_NAMESPACES`], so that there
    /// are never more records than namespaces. Returns the records to store.
    pub(super) fn retire_namespaces(&mut self, exists: impl Fn(&str) -> bool) -> Vec<Settlement> {
        let counting: BTreeSet<&String> = self.namespaces.values().collect();
        let stays = |name: &String| {
            name.is_empty() || name == FORMER_NAMESPACES || counting.contains(name) || exists(name)
        };
        let ended: Vec<String> = self.settled.keys().filter(|it| !stays(it)).cloned().collect();
        let mut settlements: Vec<Settlement> = Vec::new();
        for name in ended {
            let settled = self.settled.remove(&name).unwrap_or_default();
            settlements.push((name, None));
            let former = FORMER_NAMESPACES.to_owned();
            settlements.push(self.settle(former, &settled, u64::wrapping_add));
        }
        settlements
    }

    /// The ids that belong to a namespace.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        self.namespaces.keys().copied()
    }

    /// The sum of each namespace; `counted` has the counters of the ids.
    pub(super) fn sums(&self, counted: &BTreeMap<u32, Counters>) -> BTreeMap<String, Counters> {
        let mut sums = self.settled.clone();
        for (id, namespace) in &self.namespaces {
            let sum = sums.entry(namespace.clone()).or_default();
            *sum = combine(sum, &counted.get(id).copied().unwrap_or_default(), u64::wrapping_add);
        }
        // Below zero: the counters that the settled part belongs to were lost.
        let at_least_zero = |it: u64, _| if it.cast_signed() < 0 { 0 } else { it };
        for sum in sums.values_mut() {
            *sum = combine(sum, &Counters::default(), at_least_zero);
        }
        sums
    }
}

/// The namespace of the pod that is or was behind an endpoint; empty if it was never known.
fn namespace(owner: &Owner) -> String {
    owner.pod().map(|pod| pod.namespace.to_string()).unwrap_or_default()
}

fn combine(one: &Counters, other: &Counters, with: fn(u64, u64) -> u64) -> Counters {
    let mut result = *one;
    let pairs = result.counts.as_flattened_mut().iter_mut().zip(other.counts.as_flattened());
    for (Count { packets, bytes }, other) in pairs {
        *packets = with(*packets, other.packets);
        *bytes = with(*bytes, other.bytes);
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use enforcer_core::model::PodId;

    fn counters(packets: u64) -> Counters {
        let mut counters = Counters::default();
        counters.counts[1][7] = Count { packets, bytes: packets * 60 };
        counters
    }

    fn packets(sums: &BTreeMap<String, Counters>, namespace: &str) -> u64 {
        sums.get(namespace).map_or(0, |it| it.counts[1][7].packets)
    }

    fn pod(namespace: &str) -> Owner {
        Owner::Pod(PodId::new(namespace, "p"))
    }

    const UNKNOWN: Owner = Owner::Unknown { closed: false };

    #[test]
    fn the_sum_keeps_the_counters_of_ended_endpoints() {
        let mut retired = RetiredCounters::default();
        retired.hand_over(1, Some(&pod("a")), Counters::default);
        retired.hand_over(2, Some(&pod("a")), Counters::default);
        let counted = BTreeMap::from([(1, counters(5)), (2, counters(7))]);
        assert_eq!(packets(&retired.sums(&counted), "a"), 12);
        let stored = retired.hand_over(1, None, || counters(6));
        assert_eq!(stored, [("a".to_owned(), Some(counters(6)))]);
        assert_eq!(packets(&retired.sums(&counted), "a"), 13);
        assert_eq!(retired.ids().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_pod_that_becomes_known_takes_nothing_from_the_unknown() {
        let mut retired = RetiredCounters::default();
        retired.hand_over(1, Some(&UNKNOWN), Counters::default);
        retired.hand_over(1, Some(&pod("a")), || counters(4));
        let sums = retired.sums(&BTreeMap::from([(1, counters(10))]));
        assert_eq!((packets(&sums, ""), packets(&sums, "a")), (4, 6));
        let gone = Owner::Gone(PodId::new("a", "p"));
        assert_eq!(retired.hand_over(1, Some(&gone), || counters(11)), []);
    }

    #[test]
    fn a_later_agent_continues_the_sums_of_an_earlier_one() {
        let inherited =
            |id, owner| Inherited { id, ifindex: 3, owner, uid: String::new(), identity: 0 };
        let inherited = [inherited(1, Some(pod("a"))), inherited(2, None)];
        let settled = BTreeMap::from([("a".to_owned(), counters(100))]);
        let retired = RetiredCounters::resuming(&inherited, settled);
        let sums = retired.sums(&BTreeMap::from([(1, counters(3)), (2, counters(50))]));
        assert_eq!(packets(&sums, "a"), 103);
    }

    #[test]
    fn deleted_namespaces_are_summed_up() {
        let mut retired = RetiredCounters::default();
        for (id, name) in [(1, "a"), (2, "b"), (3, "c")] {
            retired.hand_over(id, Some(&pod(name)), Counters::default);
        }
        retired.hand_over(1, None, || counters(1));
        retired.hand_over(2, None, || counters(2));
        let stored = retired.retire_namespaces(|name| name == "b");
        let former = (FORMER_NAMESPACES.to_owned(), Some(counters(1)));
        assert_eq!(stored, [("a".to_owned(), None), former]);
        let sums = retired.sums(&BTreeMap::from([(3, counters(4))]));
        let names: Vec<_> = sums.keys().map(String::as_str).collect();
        assert_eq!(names, [FORMER_NAMESPACES, "b", "c"]);
        assert_eq!(retired.retire_namespaces(|name| name == "b"), []);
    }

    #[test]
    fn a_sum_below_zero_is_zero() {
        let lost = combine(&Counters::default(), &counters(3), u64::wrapping_sub);
        let settled = BTreeMap::from([("a".to_owned(), lost)]);
        let sums = RetiredCounters::resuming(&[], settled).sums(&BTreeMap::new());
        assert_eq!(packets(&sums, "a"), 0);
    }

    proptest! {
        /// No sum falls, and all sums together are all packets, in any order of events.
        #[test]
        fn sums_never_fall(events in prop::collection::vec((0_u32..4, 0_usize..6, 0_u64..9), 0..60)) {
            let owners = [None, Some(UNKNOWN), Some(pod("a")), Some(pod("b")), Some(pod("c"))];
            let mut retired = RetiredCounters::default();
            let mut kernel: BTreeMap<u32, Counters> = BTreeMap::new();
            let (mut before, mut all) = (BTreeMap::<String, Counters>::new(), 0);
            for (id, event, more) in events {
                let counts = retired.namespaces.contains_key(&id);
                match owners.get(event) {
                    // Packets.
                    None if counts => {
                        all += more;
                        let count = kernel.entry(id).or_default();
                        *count = combine(count, &counters(more), u64::wrapping_add);
                    }
                    Some(owner) if counts || owner.is_some() => {
                        if !counts {
                            // A reused id starts at zero.
                            kernel.remove(&id);
                        }
                        let counted = kernel.get(&id).copied().unwrap_or_default();
                        retired.hand_over(id, owner.as_ref(), || counted);
                    }
                    _ => {}
                }
                let sums = retired.sums(&kernel);
                for namespace in before.keys() {
                    prop_assert!(packets(&sums, namespace) >= packets(&before, namespace));
                }
                let sum: u64 = sums.keys().map(|it| packets(&sums, it)).sum();
                prop_assert_eq!(sum, all);
                before = sums;
            }
        }
    }
}
