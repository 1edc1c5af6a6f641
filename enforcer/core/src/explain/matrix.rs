//! The connections of all pods with each other, by kinds of pods that no policy distinguishes.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::diff::Opened;
use super::diff::classes::{Class, Classes, Ends, Numbers};
use crate::interner::Interner;
use crate::model::{Cluster, PodId};

/// The connections of all pods. A pod's connections to itself are always allowed (semantics A1) and
/// are not in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matrix {
    /// The kind of each pod to which policies can apply: its row and its column in `cells`.
    pub pods: BTreeMap<PodId, usize>,
    /// The kind of the addresses outside.
    pub outside: usize,
    /// By the sender's kind and the receiver's kind: an index of `verdicts`.
    pub cells: Vec<Vec<usize>>,
    /// The traffic that a cell allows, each set once.
    pub verdicts: Vec<Opened>,
}

impl Matrix {
    /// The traffic that one kind may send to another.
    #[must_use]
    pub fn allowed(&self, from: usize, to: usize) -> Option<&Opened> {
        self.verdicts.get(*self.cells.get(from)?.get(to)?)
    }
}

/// The connections of all pods with each other and with addresses outside, for which `outside` stands:
/// one of each family, which belong to no pod. Where ends have several addresses, what one pair of them
/// allows counts as allowed. A1 and A2 are not considered.
#[must_use]
pub fn matrix(cluster: &Cluster, outside: &[IpAddr]) -> Matrix {
    let mut numbers = Numbers::new();
    let classes = Classes::new(cluster, &mut numbers);
    let mut kinds: Interner<Class> = Interner::default();
    let mut pods = BTreeMap::new();
    for pod in cluster.pods.values() {
        if let Some(class) = classes.class(pod).filter(|it| !it.columns().is_empty()) {
            pods.insert(pod.id.clone(), kinds.intern(class));
        }
    }
    // An address outside may look like a pod that is isolated in no direction.
    let kinds = {
        let mut list = kinds.into_values();
        list.push(classes.outside(outside));
        list
    };
    let mut verdicts: Interner<Opened> = Interner::default();
    let mut known: HashMap<Vec<Ends>, usize> = HashMap::new();
    let mut cell = |from: &Class, to: &Class| {
        let ends = classes.ends(from, to);
        if let Some(verdict) = known.get(&ends) {
            return *verdict;
        }
        let verdict = verdicts.intern(numbers.any(&ends));
        known.insert(ends, verdict);
        verdict
    };
    let cells = kinds.iter().map(|from| kinds.iter().map(|to| cell(from, to)).collect()).collect();
    Matrix { pods, outside: kinds.len() - 1, cells, verdicts: verdicts.into_values() }
}
