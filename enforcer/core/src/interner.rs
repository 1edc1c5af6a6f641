//! Numbers for distinct values.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::ops::Index;

/// Distinct values, numbered from 0 in the order of their first occurrence.
#[derive(Debug)]
pub(crate) struct Interner<T> {
    values: Vec<T>,
    numbers: HashMap<T, usize>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { values: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Interner<T> {
    /// The number of a value, which is added if it is new.
    pub(crate) fn intern(&mut self, value: T) -> usize {
        match self.numbers.entry(value) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                self.values.push(new.key().clone());
                *new.insert(self.values.len() - 1)
            }
        }
    }

    /// The values, by number.
    pub(crate) fn values(&self) -> &[T] {
        &self.values
    }

    /// The values, by number.
    pub(crate) fn into_values(self) -> Vec<T> {
        self.values
    }
}

impl<T> Index<usize> for Interner<T> {
    type Output = T;

    fn index(&self, number: usize) -> &T {
        &self.values[number]
    }
}
