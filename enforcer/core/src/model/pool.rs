//! One copy of each text and each set that many objects have in common.

use std::collections::HashSet;
use std::hash::Hash;

use super::labels::Labels;
use super::name::Name;
use super::pod::{ContainerPort, Pod};
use super::shared_set::SharedSet;

/// Shares the memory of equal values: namespaces, nodes, labels and ports of pods.
///
/// Two pools are equal whatever they hold: they are no part of a cluster's state.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    names: Shelf<Name>,
    labels: Shelf<Labels>,
    ports: Shelf<SharedSet<ContainerPort>>,
}

impl PartialEq for Pool {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Pool {}

impl Pool {
    /// Lets the pod use the values that are already known.
    pub(super) fn share(&mut self, pod: &mut Pod) {
        self.names.share(&mut pod.id.namespace);
        if let Some(node) = &mut pod.node {
            self.names.share(node);
        }
        if !pod.ports.is_empty() {
            self.ports.share(&mut pod.ports);
        }
        self.share_labels(&mut pod.labels);
    }

    /// Lets labels use those that are already known, or their keys and values.
    pub(super) fn share_labels(&mut self, labels: &mut Labels) {
        if labels.is_empty() {
            return;
        }
        if !self.labels.has(labels) {
            let mut shared = |name: &Name| {
                let mut name = name.clone();
                self.names.share(&mut name);
                name
            };
            *labels = labels.iter().map(|(key, value)| (shared(key), shared(value))).collect();
        }
        self.labels.share(labels);
    }

    /// Lets a name use the memory of an equal one.
    pub(super) fn share_name(&mut self, name: &mut Name) {
        self.names.share(name);
    }
}

/// A value whose clones share their memory.
trait Shared: Clone + Eq + Hash {
    /// The number of clones.
    fn uses(&self) -> usize;
}

impl Shared for Name {
    fn uses(&self) -> usize {
        self.uses()
    }
}

impl Shared for Labels {
    fn uses(&self) -> usize {
        self.uses()
    }
}

impl Shared for SharedSet<ContainerPort> {
    fn uses(&self) -> usize {
        self.uses()
    }
}

/// Distinct values. Unused ones are removed when their number may have doubled.
#[derive(Debug, Clone)]
struct Shelf<T> {
    values: HashSet<T>,
    /// The number of values from which on to look for unused ones.
    limit: usize,
}

/// Fewer values are not worth a look.
const FEW: usize = 256;

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { values: HashSet::new(), limit: FEW }
    }
}

impl<T: Shared> Shelf<T> {
    fn has(&self, value: &T) -> bool {
        self.values.contains(value)
    }

    fn share(&mut self, value: &mut T) {
        match self.values.get(value) {
            Some(known) => value.clone_from(known),
            None => {
                if self.values.len() >= self.limit {
                    self.values.retain(|it| it.uses() > 1);
                    self.values.shrink_to_fit();
                    self.limit = (2 * self.values.len()).max(FEW);
                }
                self.values.insert(value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PodId;

    fn pod(at: usize, app: &str) -> Pod {
        let id = PodId::new("shop", format!("pod-{at}"));
        Pod { labels: Labels::from([("app", app)]), ..Pod::new(id) }
    }

    #[test]
    fn equal_labels_and_names_are_one() {
        let mut pool = Pool::default();
        let mut pods = [pod(1, "web"), pod(2, "web"), pod(3, "db")];
        pods.iter_mut().for_each(|it| pool.share(it));
        let [one, two, three] = pods;
        // Two pods and the pool.
        assert_eq!(one.labels.uses(), 3);
        assert_eq!(three.labels.uses(), 2);
        assert_eq!(two.labels, one.labels);
        assert_eq!(one.id.namespace.uses(), 4);
    }

    #[test]
    fn values_that_nobody_uses_are_removed() {
        let mut pool = Pool::default();
        let mut kept = pod(0, "kept");
        pool.share(&mut kept);
        for at in 0..100_000 {
            pool.share(&mut pod(at, &format!("app-{at}")));
        }
        assert!(pool.labels.values.len() <= FEW, "{}", pool.labels.values.len());
        assert!(pool.names.values.len() <= 2 * FEW, "{}", pool.names.values.len());
        assert!(pool.labels.values.contains(&kept.labels));
    }
}
