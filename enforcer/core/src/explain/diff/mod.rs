//! The connections that a change of a cluster opens and closes.
//!
//! Pods with equal verdicts in both clusters are one unit, so that the work depends on the number of
//! workloads, not of pods.

pub(super) mod classes;
mod pairs;
mod set;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::workload::{Workload, Workloads};
use crate::interner::Interner;
use crate::model::{Cluster, Pod, PodId};
use classes::{Class, Classes, Numbers};

pub use set::Opened;

/// One end of connections.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// The pods of a workload.
    Workload(Workload),
    /// The addresses of a prefix that no pod has.
    Outside {
        /// The prefix.
        prefix: IpNet,
        /// Prefixes in it whose connections change otherwise, or not.
        except: Vec<IpNet>,
    },
}

impl Party {
    /// Whether it is outside and has this address.
    #[must_use]
    pub fn is_outside(&self, address: IpAddr) -> bool {
        match self {
            Self::Workload(_) => false,
            Self::Outside { prefix, except } => {
                prefix.contains(&address) && !except.iter().any(|it| it.contains(&address))
            }
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(workload) => workload.fmt(f),
            Self::Outside { prefix, except } => {
                write!(f, "outside {prefix}")?;
                let mut word = " except";
                for it in except {
                    write!(f, "{word} {it}")?;
                    word = " and";
                }
                Ok(())
            }
        }
    }
}

/// Connections between two parties that change in the same way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The side that opens the connections.
    pub from: Party,
    /// The other side.
    pub to: Party,
    /// Traffic that only the new state allows.
    pub opened: Opened,
    /// Traffic that only the old state allows.
    pub closed: Opened,
    /// Pairs of pods, or pods, for which this holds.
    pub pairs: usize,
    /// All pairs of these parties.
    pub of: usize,
}

/// The difference between two clusters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    /// The connections that change, by their ends.
    pub differences: Vec<Difference>,
    /// Workloads that only the new cluster has. Their connections are not listed.
    pub added: Vec<Workload>,
    /// Workloads that only the old cluster has. Their connections are not listed.
    pub removed: Vec<Workload>,
}

impl Diff {
    /// Whether no connection changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty()
    }
}

/// The classes of a pod in both clusters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    old: Class,
    new: Class,
}

/// Pods of one workload that no policy of either cluster distinguishes.
#[derive(Debug)]
struct Unit {
    workload: Workload,
    /// Its index among the kinds.
    kind: usize,
    pods: usize,
}

/// Both clusters, compiled.
#[derive(Debug)]
struct Both {
    old: Classes,
    new: Classes,
    numbers: Numbers,
    kinds: Vec<Kind>,
    units: Vec<Unit>,
    /// The number of pods of each workload.
    totals: BTreeMap<Workload, usize>,
    /// The prefixes outside of the pods that either distinguishes.
    outside: BTreeSet<IpNet>,
}

/// The connections that the change from one cluster to the other opens and closes: between
/// workloads, and between workloads and addresses outside. A pod that only one of them has counts as
/// its workload's first pod there. A2 and pods' connections to themselves (A1) do not change.
#[must_use]
pub fn diff(old: &Cluster, new: &Cluster, workloads: &Workloads) -> Diff {
    let (old_pods, new_pods) = (pods(old, workloads), pods(new, workloads));
    let only = |one: &ByWorkload<'_>, other: &ByWorkload<'_>| {
        one.keys().filter(|it| !other.contains_key(*it)).cloned().collect()
    };
    let both = compile(old, new, &old_pods, &new_pods);
    let mut differences = both.between_units();
    differences.extend(both.with_outside());
    differences.sort_unstable();
    Diff { differences, added: only(&new_pods, &old_pods), removed: only(&old_pods, &new_pods) }
}

type ByWorkload<'a> = BTreeMap<Workload, BTreeMap<&'a PodId, &'a Pod>>;

fn pods<'a>(cluster: &'a Cluster, workloads: &Workloads) -> ByWorkload<'a> {
    let mut found = ByWorkload::new();
    for pod in cluster.pods.values().filter(|it| it.is_peer() && !it.addresses.is_empty()) {
        found.entry(workloads.of(pod)).or_default().insert(&pod.id, pod);
    }
    found
}

fn compile(
    old: &Cluster,
    new: &Cluster,
    old_pods: &ByWorkload<'_>,
    new_pods: &ByWorkload<'_>,
) -> Both {
    let mut numbers = Numbers::new();
    let old = Classes::new(old, &mut numbers);
    let new = Classes::new(new, &mut numbers);
    let mut kinds: Interner<Kind> = Interner::default();
    let mut counts: BTreeMap<(&Workload, usize), usize> = BTreeMap::new();
    let mut totals: BTreeMap<Workload, usize> = BTreeMap::new();
    for (workload, before) in old_pods {
        let Some(after) = new_pods.get(workload) else { continue };
        for id in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            let pair = (counterpart(before, id), counterpart(after, id));
            let (Some(one), Some(two)) = pair else { continue };
            if let (Some(old), Some(new)) = (old.class(one), new.class(two)) {
                let kind = kinds.intern(Kind { old, new });
                *counts.entry((workload, kind)).or_default() += 1;
                *totals.entry(workload.clone()).or_default() += 1;
            }
        }
    }
    let unit = |((workload, kind), pods): ((&Workload, usize), usize)| Unit {
        workload: workload.clone(),
        kind,
        pods,
    };
    let units = counts.into_iter().map(unit).collect();
    let hosts: BTreeSet<IpNet> = [old_pods, new_pods]
        .into_iter()
        .flat_map(|it| it.values())
        .flat_map(|it| it.values())
        .flat_map(|pod| pod.addresses.iter().copied().map(IpNet::from))
        .collect();
    let all: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let all = all.into_iter().filter_map(|it| IpNet::new(it, 0).ok());
    let prefixes = old.prefixes().chain(new.prefixes()).copied();
    let outside = prefixes.filter(|it| !hosts.contains(it)).chain(all).collect();
    Both { old, new, numbers, kinds: kinds.into_values(), units, totals, outside }
}

/// The pod of this name, else the workload's first.
fn counterpart<'a>(pods: &BTreeMap<&PodId, &'a Pod>, id: &PodId) -> Option<&'a Pod> {
    pods.get(id).or_else(|| pods.values().next()).copied()
}
