//! Ranges of addresses that change, and the words of a trie that they touch.

use std::ops::Range;

use super::regions::Regions;

/// A range of addresses that gets another entry. Lists of changes are sorted and disjoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) first: u128,
    pub(super) last: u128,
    pub(super) entry: u32,
}

/// The ranges in which two functions differ, with the value of `new`.
pub(super) fn changes(old: &Regions<u32>, new: &Regions<u32>) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    old.zip(new, |first, last, before, entry| {
        if before == entry {
            return;
        }
        match changes.last_mut() {
            Some(change) if change.entry == entry && change.last + 1 == first => change.last = last,
            _ => changes.push(Change { first, last, entry }),
        }
    });
    changes
}

/// The changes' parts within `first..=last`.
pub(super) fn clip(changes: &[Change], first: u128, last: u128) -> Vec<Change> {
    let from = changes.partition_point(|change| change.last < first);
    changes[from..]
        .iter()
        .take_while(|change| change.first <= last)
        .map(|change| Change {
            first: change.first.max(first),
            last: change.last.min(last),
            entry: change.entry,
        })
        .collect()
}

/// The entry of `first..=last`, if one change covers all of it.
pub(super) fn covering(changes: &[Change], first: u128, last: u128) -> Option<u32> {
    match changes {
        [change] if change.first <= first && change.last >= last => Some(change.entry),
        _ => None,
    }
}

/// The aligned slots of `2^shift` addresses between `start` and `end` that the changes touch: each
/// slot's first address and the changes that overlap it. `shift` is below 128.
pub(super) fn touched(
    changes: &[Change],
    (start, end): (u128, u128),
    shift: u32,
) -> Vec<(u128, Range<usize>)> {
    let within = (1u128 << shift) - 1;
    let mut slots = Vec::new();
    let Some(change) = changes.first() else { return slots };
    let mut position = change.first.max(start);
    let mut from = 0;
    loop {
        let (first, last) = (position & !within, position | within);
        let mut to = from;
        while changes.get(to).is_some_and(|change| change.first <= last) {
            to += 1;
        }
        slots.push((first, from..to));
        if last >= end {
            return slots;
        }
        // Only the last of these changes can reach into the next slot.
        from = if changes[to - 1].last > last { to - 1 } else { to };
        match changes.get(from) {
            Some(change) => position = change.first.max(last + 1),
            None => return slots,
        }
    }
}
