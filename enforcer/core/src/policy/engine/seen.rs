//! Numbers that have been seen.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;

/// A set of numbers that tenants choose, as hashes of what they write. So their places follow from
/// secrets, but cost one multiplication: there are as many as names in a node's rules.
pub(super) struct Seen {
    numbers: HashTable<u64>,
    secrets: [u64; 2],
}

impl Seen {
    /// The empty set, with room for this number of members.
    pub(super) fn with_room(members: usize) -> Self {
        let random = RandomState::new();
        let secrets = [0_u8, 1].map(|at| random.hash_one(at) | 1);
        Self { numbers: HashTable::with_capacity(members), secrets }
    }

    /// Adds a number. Returns whether it is new.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        let secrets = self.secrets;
        let hash = place(number, secrets);
        let is_new = self.numbers.find(hash, |it| *it == number).is_none();
        if is_new {
            self.numbers.insert_unique(hash, number, |it| place(*it, secrets));
        }
        is_new
    }
}

/// All bits of the number in all bits of the place.
fn place(number: u64, [one, two]: [u64; 2]) -> u64 {
    let product = u128::from(number ^ one) * u128::from(two);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the product")]
    let folded = product as u64 ^ (product >> 64) as u64;
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once() {
        let mut seen = Seen::with_room(0);
        let numbers = (0..1_000).map(|it| it << 40);
        assert!(numbers.clone().all(|it| seen.insert(it)));
        assert!(!numbers.chain([0]).any(|it| seen.insert(it)));
    }
}
