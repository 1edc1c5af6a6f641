//! Sums over endpoints that never fall, although endpoints end, ids are given to others, and a pod
//! becomes known after it has sent something.
//!
//! The kernel counts by endpoint id, and begins at zero when an id is given away. An account is a
//! namespace's; its sum is what the ids that it holds have counted, plus what is settled: what
//! former ids had counted when they went, less what ids had counted when they came.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_ebpf::contract::counters::{Count, Counters};

use crate::observe::FORMER_NAMESPACES;
use enforcer_core::tables::{Inherited, Owner};

/// What is settled of an account, to be kept: `None`, if the account is no more.
pub(super) type Settlement = (String, Option<Counters>);

/// The accounts of this node's endpoints.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    /// Which account each id's counters belong to.
    holders: BTreeMap<u32, String>,
    /// Wraps around below zero, for an id may come with more than has ever gone.
    settled: BTreeMap<String, Counters>,
}

impl Accounts {
    /// Goes on from what earlier agents have left.
    pub(super) fn resuming(inherited: &[Inherited], settled: BTreeMap<String, Counters>) -> Self {
        let held = inherited.iter().filter_map(|it| Some((it.id, account(it.owner.as_ref()?))));
        Self { holders: held.collect(), settled }
    }

    /// An id is about to get another owner, after having counted so much. What is to be kept then.
    pub(super) fn hand_over(
        &mut self,
        id: u32,
        owner: Option<&Owner>,
        counted: impl FnOnce() -> Counters,
    ) -> Vec<Settlement> {
        let (from, to) = (self.holders.remove(&id), owner.map(account));
        self.holders.extend(to.clone().map(|to| (id, to)));
        if from == to {
            return Vec::new();
        }
        let counted = counted();
        if counted == Counters::default() {
            return Vec::new();
        }
        let credit = from.map(|from| self.settle(from, &counted, u64::wrapping_add));
        let debit = to.map(|to| self.settle(to, &counted, u64::wrapping_sub));
        credit.into_iter().chain(debit).collect()
    }

    fn settle(
        &mut self,
        account: String,
        amount: &Counters,
        with: fn(u64, u64) -> u64,
    ) -> Settlement {
        let settled = self.settled.entry(account.clone()).or_default();
        *settled = combine(settled, amount, with);
        (account, Some(*settled))
    }

    /// Closes the accounts that hold nothing and whose namespace is no more, so that there are
    /// never more of them than namespaces. What is to be kept then.
    pub(super) fn close(&mut self, exists: impl Fn(&str) -> bool) -> Vec<Settlement> {
        let holding: BTreeSet<&String> = self.holders.values().collect();
        let stays = |name: &String| {
            name.is_empty() || name == FORMER_NAMESPACES || holding.contains(name) || exists(name)
        };
        let ended: Vec<String> = self.settled.keys().filter(|it| !stays(it)).cloned().collect();
        let mut kept: Vec<Settlement> = Vec::new();
        for name in ended {
            let settled = self.settled.remove(&name).unwrap_or_default();
            kept.push((name, None));
            kept.push(self.settle(FORMER_NAMESPACES.to_owned(), &settled, u64::wrapping_add));
        }
        kept
    }

    /// The ids whose counters belong to an account.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        self.holders.keys().copied()
    }

    /// The sum of each account, `counted` being the ids' counters.
    pub(super) fn sums(&self, counted: &BTreeMap<u32, Counters>) -> BTreeMap<String, Counters> {
        let mut sums = self.settled.clone();
        for (id, account) in &self.holders {
            let sum = sums.entry(account.clone()).or_default();
            *sum = combine(sum, &counted.get(id).copied().unwrap_or_default(), u64::wrapping_add);
        }
        // Below zero: what was settled belongs to counters that were lost.
        let at_least_zero = |it: u64, _| if it.cast_signed() < 0 { 0 } else { it };
        for sum in sums.values_mut() {
            *sum = combine(sum, &Counters::default(), at_least_zero);
        }
        sums
    }
}

/// The namespace of the pod that is or was behind an endpoint; empty, if none was ever known.
fn account(owner: &Owner) -> String {
    owner.pod().map(|pod| pod.namespace.clone()).unwrap_or_default()
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

    fn packets(sums: &BTreeMap<String, Counters>, account: &str) -> u64 {
        sums.get(account).map_or(0, |it| it.counts[1][7].packets)
    }

    fn pod(namespace: &str) -> Owner {
        Owner::Pod(PodId::new(namespace, "p"))
    }

    const UNKNOWN: Owner = Owner::Unknown { closed: false };

    #[test]
    fn what_ended_endpoints_counted_stays_in_the_sum() {
        let mut accounts = Accounts::default();
        accounts.hand_over(1, Some(&pod("a")), Counters::default);
        accounts.hand_over(2, Some(&pod("a")), Counters::default);
        let counted = BTreeMap::from([(1, counters(5)), (2, counters(7))]);
        assert_eq!(packets(&accounts.sums(&counted), "a"), 12);
        let kept = accounts.hand_over(1, None, || counters(6));
        assert_eq!(kept, [("a".to_owned(), Some(counters(6)))]);
        assert_eq!(packets(&accounts.sums(&counted), "a"), 13);
        assert_eq!(accounts.ids().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn who_becomes_known_takes_nothing_from_the_unknown() {
        let mut accounts = Accounts::default();
        accounts.hand_over(1, Some(&UNKNOWN), Counters::default);
        accounts.hand_over(1, Some(&pod("a")), || counters(4));
        let sums = accounts.sums(&BTreeMap::from([(1, counters(10))]));
        assert_eq!((packets(&sums, ""), packets(&sums, "a")), (4, 6));
        let gone = Owner::Gone(PodId::new("a", "p"));
        assert_eq!(accounts.hand_over(1, Some(&gone), || counters(11)), []);
    }

    #[test]
    fn a_later_agent_goes_on_where_an_earlier_one_left_off() {
        let inherited = |id, owner| Inherited { id, ifindex: 3, owner, uid: String::new() };
        let inherited = [inherited(1, Some(pod("a"))), inherited(2, None)];
        let settled = BTreeMap::from([("a".to_owned(), counters(100))]);
        let accounts = Accounts::resuming(&inherited, settled);
        let sums = accounts.sums(&BTreeMap::from([(1, counters(3)), (2, counters(50))]));
        assert_eq!(packets(&sums, "a"), 103);
    }

    #[test]
    fn accounts_of_former_namespaces_are_closed_into_one() {
        let mut accounts = Accounts::default();
        for (id, name) in [(1, "a"), (2, "b"), (3, "c")] {
            accounts.hand_over(id, Some(&pod(name)), Counters::default);
        }
        accounts.hand_over(1, None, || counters(1));
        accounts.hand_over(2, None, || counters(2));
        let kept = accounts.close(|name| name == "b");
        let former = (FORMER_NAMESPACES.to_owned(), Some(counters(1)));
        assert_eq!(kept, [("a".to_owned(), None), former]);
        let sums = accounts.sums(&BTreeMap::from([(3, counters(4))]));
        let names: Vec<_> = sums.keys().map(String::as_str).collect();
        assert_eq!(names, [FORMER_NAMESPACES, "b", "c"]);
        assert_eq!(accounts.close(|name| name == "b"), []);
    }

    #[test]
    fn what_can_not_be_is_zero() {
        let lost = combine(&Counters::default(), &counters(3), u64::wrapping_sub);
        let settled = BTreeMap::from([("a".to_owned(), lost)]);
        let sums = Accounts::resuming(&[], settled).sums(&BTreeMap::new());
        assert_eq!(packets(&sums, "a"), 0);
    }

    proptest! {
        /// Whatever happens to ids, no sum falls, and all sums together are all packets.
        #[test]
        fn sums_never_fall(events in prop::collection::vec((0_u32..4, 0_usize..6, 0_u64..9), 0..60)) {
            let owners = [None, Some(UNKNOWN), Some(pod("a")), Some(pod("b")), Some(pod("c"))];
            let mut accounts = Accounts::default();
            let mut kernel: BTreeMap<u32, Counters> = BTreeMap::new();
            let (mut before, mut all) = (BTreeMap::<String, Counters>::new(), 0);
            for (id, what, more) in events {
                let held = accounts.holders.contains_key(&id);
                match owners.get(what) {
                    // Packets.
                    None if held => {
                        all += more;
                        let count = kernel.entry(id).or_default();
                        *count = combine(count, &counters(more), u64::wrapping_add);
                    }
                    Some(owner) if held || owner.is_some() => {
                        if !held {
                            // It is somebody else's now, and begins at zero.
                            kernel.remove(&id);
                        }
                        let counted = kernel.get(&id).copied().unwrap_or_default();
                        accounts.hand_over(id, owner.as_ref(), || counted);
                    }
                    _ => {}
                }
                let sums = accounts.sums(&kernel);
                for account in before.keys() {
                    prop_assert!(packets(&sums, account) >= packets(&before, account));
                }
                let sum: u64 = sums.keys().map(|it| packets(&sums, it)).sum();
                prop_assert_eq!(sum, all);
                before = sums;
            }
        }
    }
}
