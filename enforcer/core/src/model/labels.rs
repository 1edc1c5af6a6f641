//! Labels, which pods of a workload share.

use std::fmt;
use std::ops::Index;

use serde::{Serialize, Serializer};

use super::name::Name;
use super::shared_set::SharedSet;

/// Labels of a pod or a namespace: keys with a value each, in order. Clones share the memory.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Labels(SharedSet<(Name, Name)>);

impl Labels {
    /// No labels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Name> {
        let all = self.0.as_slice();
        let at = all.binary_search_by(|(known, _)| known.as_str().cmp(key)).ok()?;
        all.get(at).map(|(_, value)| value)
    }

    /// Whether there is a label with this key.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Sets the value of a key. It copies all labels.
    pub fn insert(&mut self, key: impl Into<Name>, value: impl Into<Name>) {
        let (key, value) = (key.into(), value.into());
        let others = self.0.iter().filter(|(known, _)| *known != key).cloned();
        *self = others.chain([(key.clone(), value)]).collect();
    }

    /// Removes a key. It copies all labels.
    pub fn remove(&mut self, key: &str) {
        *self = self.0.iter().filter(|(known, _)| *known != key).cloned().collect();
    }

    /// Keeps the labels for which `keep` returns true. It copies them.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        *self = self.0.iter().filter(|(key, value)| keep(key, value)).cloned().collect();
    }

    /// The labels, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Name)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Name> {
        self.0.iter().map(|(key, _)| key)
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &Name> {
        self.0.iter().map(|(_, value)| value)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The number of clones, this one included; 0 if there are no labels.
    pub(super) fn uses(&self) -> usize {
        self.0.uses()
    }
}

/// Of several values for one key the last one counts.
impl<K: Into<Name>, V: Into<Name>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter().map(|(key, value)| (key.into(), value.into()));
        let mut all: Vec<(Name, Name)> = pairs.collect();
        // Stable: of equal keys the last one stays last.
        all.sort_by(|(one, _), (two, _)| one.cmp(two));
        all.reverse();
        all.dedup_by(|(one, _), (two, _)| one == two);
        Self(all.into_iter().collect())
    }
}

impl<K: Into<Name>, V: Into<Name>, const N: usize> From<[(K, V); N]> for Labels {
    fn from(pairs: [(K, V); N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Panics if there is no such key, as with maps.
impl Index<&str> for Labels {
    type Output = Name;

    #[expect(clippy::expect_used, reason = "as with maps")]
    fn index(&self, key: &str) -> &Name {
        self.get(key).expect("a label with this key")
    }
}

/// A mapping.
impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_key_counts() {
        let mut labels = Labels::from([("b", "1"), ("a", "2"), ("b", "3")]);
        assert_eq!(labels, Labels::from([("a", "2"), ("b", "3")]));
        labels.insert("b", "4");
        labels.insert("c", "5");
        let all: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(all, ["a=2", "b=4", "c=5"]);
        assert_eq!(labels.get("b").map(Name::as_str), Some("4"));
        labels.remove("b");
        assert!(!labels.contains_key("b") && labels.contains_key("c"));
    }
}
