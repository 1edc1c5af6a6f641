//! Distinct values with small numbers, for as long as they are used.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;

use hashbrown::HashTable;

/// A number in a [`Slab`].
pub type Number = u32;

#[derive(Debug)]
struct Entry<K> {
    key: Arc<K>,
    /// Values may be long: each is hashed once.
    hash: u64,
    uses: u32,
}

/// Distinct values, each with a number and a count of its uses.
///
/// A number without uses stays valid until [`Slab::collect`], and is reused only after the one
/// after that: a reader of the changes sees no number change its meaning at once.
#[derive(Debug)]
pub(crate) struct Slab<K> {
    entries: Vec<Option<Entry<K>>>,
    numbers: HashTable<Number>,
    hasher: RandomState,
    free: Vec<Number>,
    /// Numbers that lost their last use since the last collection.
    unused: Vec<Number>,
    /// Numbers removed by the last collection.
    resting: Vec<Number>,
    /// Numbers made since the last collection.
    fresh: Vec<Number>,
}

impl<K> Default for Slab<K> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            numbers: HashTable::new(),
            hasher: RandomState::new(),
            free: Vec::new(),
            unused: Vec::new(),
            resting: Vec::new(),
            fresh: Vec::new(),
        }
    }
}

impl<K: Eq + Hash> Slab<K> {
    /// The number of a value, with one more use.
    pub(crate) fn take(&mut self, key: K) -> Number {
        let hash = self.hasher.hash_one(&key);
        if let Some(number) = self.find(hash, &key) {
            self.retain(number);
            return number;
        }
        let entry = Some(Entry { key: Arc::new(key), hash, uses: 1 });
        let number = match self.free.pop() {
            Some(number) => {
                self.entries[number as usize] = entry;
                number
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let entries = &self.entries;
        self.numbers.insert_unique(hash, number, |it| hash_of(entries, *it));
        self.fresh.push(number);
        number
    }

    /// The number of a value, if it has one.
    pub(crate) fn number(&self, key: &K) -> Option<Number> {
        self.find(self.hasher.hash_one(key), key)
    }

    fn find(&self, hash: u64, key: &K) -> Option<Number> {
        self.numbers.find(hash, |it| self.get(*it).is_some_and(|known| **known == *key)).copied()
    }

    /// Adds a use.
    pub(crate) fn retain(&mut self, number: Number) {
        if let Some(entry) = self.entry_mut(number) {
            entry.uses += 1;
        }
    }

    /// Ends a use.
    pub(crate) fn release(&mut self, number: Number) {
        let Some(entry) = self.entry_mut(number) else { return };
        entry.uses = entry.uses.saturating_sub(1);
        if entry.uses == 0 {
            self.unused.push(number);
        }
    }

    fn entry_mut(&mut self, number: Number) -> Option<&mut Entry<K>> {
        self.entries.get_mut(number as usize)?.as_mut()
    }

    /// The value of a number in use.
    pub(crate) fn get(&self, number: Number) -> Option<&Arc<K>> {
        Some(&self.entries.get(number as usize)?.as_ref()?.key)
    }

    /// Removes the values without uses. Returns them, and the numbers that are new.
    pub(crate) fn collect(&mut self) -> Collected<K> {
        self.free.append(&mut self.resting);
        // Small numbers first: they index tables.
        self.free.sort_unstable_by(|one, two| two.cmp(one));
        let mut gone = Vec::new();
        for number in std::mem::take(&mut self.unused) {
            let Some(slot) = self.entries.get_mut(number as usize) else { continue };
            if let Some(entry) = slot.take_if(|entry| entry.uses == 0) {
                if let Ok(known) = self.numbers.find_entry(entry.hash, |it| *it == number) {
                    known.remove();
                }
                self.resting.push(number);
                gone.push((number, entry.key));
            }
        }
        let fresh = std::mem::take(&mut self.fresh);
        let fresh = fresh.into_iter().filter(|it| self.get(*it).is_some()).collect();
        Collected { fresh, gone }
    }

    /// The numbers in use with their values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Number, &Arc<K>)> {
        let entries = (0..).zip(&self.entries);
        entries.filter_map(|(number, entry)| Some((number, &entry.as_ref()?.key)))
    }

    /// The number of values.
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }
}

fn hash_of<K>(entries: &[Option<Entry<K>>], number: Number) -> u64 {
    entries.get(number as usize).and_then(Option::as_ref).map_or(0, |it| it.hash)
}

/// What a [`Slab::collect`] found.
#[derive(Debug)]
pub(crate) struct Collected<K> {
    /// Numbers that are new since the last collection.
    pub(crate) fresh: Vec<Number>,
    /// Values that were removed, with their former numbers. One may never have been seen as fresh.
    pub(crate) gone: Vec<(Number, Arc<K>)>,
}

/// A list indexed by number, which grows as needed.
#[derive(Debug)]
pub(crate) struct Column<V>(Vec<V>);

impl<V> Default for Column<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V: Default> Column<V> {
    pub(crate) fn get(&self, number: Number) -> Option<&V> {
        self.0.get(number as usize)
    }

    pub(crate) fn at(&mut self, number: Number) -> &mut V {
        let at = number as usize;
        if at >= self.0.len() {
            self.0.resize_with(at + 1, V::default);
        }
        &mut self.0[at]
    }

    pub(crate) fn take(&mut self, number: Number) -> V {
        std::mem::take(self.at(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_rests_for_one_collection() {
        let mut slab = Slab::default();
        let (a, b) = (slab.take("a"), slab.take("b"));
        assert_eq!(slab.collect().fresh, [a, b]);
        slab.release(a);
        assert_eq!(slab.take("a"), a, "it is still there");
        slab.release(a);
        assert_eq!(slab.collect().gone.len(), 1);
        let c = slab.take("c");
        assert_ne!(c, a);
        slab.collect();
        assert_eq!(slab.take("d"), a);
        assert_eq!((slab.get(a).map(|it| **it), slab.len()), (Some("d"), 3));
    }
}
