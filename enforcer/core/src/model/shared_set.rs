//! Small sets that share their memory.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A small set that seldom changes. Clones share the memory; an empty one takes none.
pub struct SharedSet<T>(Option<Arc<[T]>>);

impl<T> SharedSet<T> {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// The values, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The values, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.as_slice().iter()
    }

    /// The least value.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.as_slice().first()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// The number of clones, this one included; 0 for the empty set.
    pub(super) fn uses(&self) -> usize {
        self.0.as_ref().map_or(0, Arc::strong_count)
    }
}

impl<T> SharedSet<T> {
    /// Whether the value is in the set.
    #[must_use]
    pub fn contains<Q: Ord + ?Sized>(&self, value: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.as_slice().binary_search_by(|it| it.borrow().cmp(value)).is_ok()
    }
}

impl<T: Ord + Clone> SharedSet<T> {
    /// Adds a value. It copies all values.
    pub fn insert(&mut self, value: T) {
        *self = self.iter().cloned().chain([value]).collect();
    }

    /// Removes a value. It copies all values.
    pub fn remove(&mut self, value: &T) {
        *self = self.iter().filter(|it| *it != value).cloned().collect();
    }

    /// The values as a set of its own.
    #[must_use]
    pub fn to_set(&self) -> BTreeSet<T> {
        self.iter().cloned().collect()
    }
}

impl<T> Clone for SharedSet<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for SharedSet<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: PartialEq> PartialEq for SharedSet<T> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<T: Eq> Eq for SharedSet<T> {}

impl<T: PartialOrd> PartialOrd for SharedSet<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.as_slice().partial_cmp(other.as_slice())
    }
}

impl<T: Ord> Ord for SharedSet<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl<T: Hash> Hash for SharedSet<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl<T: Ord> SharedSet<T> {
    /// The set of these values, which are distinct and in order.
    pub(crate) fn from_sorted(values: Arc<[T]>) -> Self {
        debug_assert!(values.is_sorted_by(|one, two| one < two), "not in order");
        Self((!values.is_empty()).then_some(values))
    }
}

impl<T: Ord> FromIterator<T> for SharedSet<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut values: Vec<T> = values.into_iter().collect();
        values.sort_unstable();
        values.dedup();
        Self((!values.is_empty()).then(|| values.into()))
    }
}

impl<T: Ord, const N: usize> From<[T; N]> for SharedSet<T> {
    fn from(values: [T; N]) -> Self {
        values.into_iter().collect()
    }
}

impl<T: Ord> From<BTreeSet<T>> for SharedSet<T> {
    fn from(values: BTreeSet<T>) -> Self {
        values.into_iter().collect()
    }
}

impl<'a, T> IntoIterator for &'a SharedSet<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: fmt::Debug> fmt::Debug for SharedSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// A list.
impl<T: Serialize> Serialize for SharedSet<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}
