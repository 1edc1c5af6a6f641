//! Which blocks each address is in.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::slab::{Collected, Number, Slab};
use crate::model::{Block, SharedSet};
use crate::policy::terms::extent;

/// The blocks of one rule: an address is in any of them or in none.
pub(super) type BlockSet = SharedSet<Block>;

/// An address as a left-aligned number, with its family: 0 for IPv4, 1 for IPv6.
pub(crate) type Place = (usize, u128);

/// The place of an address.
pub(crate) fn place(address: IpAddr) -> Place {
    match address {
        IpAddr::V4(it) => (0, u128::from(u32::from(it)) << 96),
        IpAddr::V6(it) => (1, u128::from(it)),
    }
}

/// The last number of the address that begins at `first`.
pub(crate) fn last_of((family, first): Place) -> u128 {
    if family == 0 { first | ((1 << 96) - 1) } else { first }
}

/// The sets of blocks that hold from each point on.
pub(super) type Points = Vec<(u128, Number)>;

/// The regions that the live sets of blocks distinguish.
#[derive(Debug)]
pub(super) struct Regions {
    /// Distinct lists of block sets, sorted. 0 is the empty one.
    lists: Slab<Vec<Number>>,
    points: [Points; 2],
}

/// A range of addresses with another list of block sets than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) first: u128,
    pub(super) last: u128,
    pub(super) old: Number,
    pub(super) new: Number,
}

impl Default for Regions {
    fn default() -> Self {
        let mut lists = Slab::default();
        // A use for each family's region, and one that stays.
        let none = lists.take(Vec::new());
        lists.retain(none);
        lists.retain(none);
        Self { lists, points: [vec![(0, none)], vec![(0, none)]] }
    }
}

impl Regions {
    /// The list of block sets of an address.
    pub(super) fn list(&self, (family, at): Place) -> Number {
        let points = &self.points[family];
        let after = points.partition_point(|(first, _)| *first <= at);
        points.get(after.wrapping_sub(1)).map_or(0, |(_, list)| *list)
    }

    /// The block sets of a list.
    pub(super) fn members(&self, list: Number) -> &[Number] {
        self.lists.get(list).map_or(&[], |it| it.as_slice())
    }

    /// The ranges of one family, in order.
    pub(super) fn ranges(&self, family: usize) -> impl Iterator<Item = (u128, u128, Number)> {
        let points = &self.points[family];
        let ends = points.iter().skip(1).map(|(first, _)| first - 1).chain([u128::MAX]);
        points.iter().zip(ends).map(|((first, list), last)| (*first, last, *list))
    }

    /// Replaces the regions by those of these sets. Returns the ranges that changed.
    pub(super) fn set(&mut self, sets: &BTreeMap<Number, BlockSet>) -> [Vec<Changed>; 2] {
        [0, 1].map(|family| {
            let mut points = Points::new();
            let mut active: Vec<Number> = Vec::new();
            let sets = sets.iter().map(|(set, blocks)| (*set, blocks.iter()));
            let mut events = Vec::new();
            find_events(sets, family, &mut events);
            if events.first().is_none_or(|(at, _)| *at > 0) {
                points.push((0, self.lists.take(Vec::new())));
            }
            for here in events.chunk_by(|one, two| one.0 == two.0) {
                for (_, set) in here {
                    match active.binary_search(set) {
                        Ok(position) => drop(active.remove(position)),
                        Err(position) => active.insert(position, *set),
                    }
                }
                let list = self.lists.take(active.clone());
                if points.last().is_some_and(|(_, before)| *before == list) {
                    self.lists.release(list);
                } else {
                    points.extend(here.first().map(|(at, _)| (*at, list)));
                }
            }
            let old = std::mem::replace(&mut self.points[family], points);
            let changed = difference(&old, &self.points[family]);
            for (_, list) in old {
                self.lists.release(list);
            }
            changed
        })
    }

    /// The lists that are new, and those that no region has any more, which are forgotten.
    pub(super) fn collect(&mut self) -> Collected<Vec<Number>> {
        self.lists.collect()
    }
}

/// Finds the points of one family at which addresses enter or leave each set, in order.
pub(super) fn find_events<'b, B: IntoIterator<Item = &'b Block>>(
    sets: impl IntoIterator<Item = (Number, B)>,
    family: usize,
    events: &mut Vec<(u128, Number)>,
) {
    events.clear();
    let mut joined = Vec::new();
    for (set, blocks) in sets {
        ranges(blocks, family, &mut joined);
        let ends = joined.drain(..);
        let ends = ends.flat_map(|(first, last)| [Some(first), last.checked_add(1)]);
        events.extend(ends.flatten().map(|at| (at, set)));
    }
    events.sort_unstable_by_key(|(at, _)| *at);
}

/// The addresses in any of the blocks, as disjoint ranges in order.
fn ranges<'b>(
    blocks: impl IntoIterator<Item = &'b Block>,
    family: usize,
    joined: &mut Vec<(u128, u128)>,
) {
    for block in blocks {
        if place(block.cidr.addr()).0 != family {
            continue;
        }
        if block.except.is_empty() {
            joined.push(bounds(&block.cidr));
            continue;
        }
        let Some((cidr, excepts)) = extent(block) else { continue };
        let (mut first, end) = bounds(&cidr);
        let mut holes: Vec<(u128, u128)> = excepts.iter().map(bounds).collect();
        holes.sort_unstable();
        let mut open = true;
        for (low, high) in holes {
            if first < low {
                joined.push((first, low - 1));
            }
            match high.checked_add(1) {
                Some(next) => first = next,
                None => open = false,
            }
        }
        if open && first <= end {
            joined.push((first, end));
        }
    }
    joined.sort_unstable();
    // Overlapping ones become one.
    joined.dedup_by(|next, kept| {
        let overlaps = next.0 <= kept.1;
        if overlaps {
            kept.1 = kept.1.max(next.1);
        }
        overlaps
    });
}

/// The first and last number of a prefix.
pub(super) fn bounds(net: &IpNet) -> (u128, u128) {
    let (_, first) = place(net.network());
    (first, first | u128::MAX.checked_shr(net.prefix_len().into()).unwrap_or(0))
}

/// The ranges in which two functions differ.
fn difference(old: &Points, new: &Points) -> Vec<Changed> {
    let (mut i, mut j, mut first) = (0, 0, 0);
    let mut changed: Vec<Changed> = Vec::new();
    loop {
        let end = |points: &Points, at: usize| points.get(at + 1).map_or(u128::MAX, |it| it.0 - 1);
        let (end_old, end_new) = (end(old, i), end(new, j));
        let last = end_old.min(end_new);
        let (before, after) = (old[i].1, new[j].1);
        if before != after {
            match changed.last_mut() {
                Some(it) if it.last + 1 == first && (it.old, it.new) == (before, after) => {
                    it.last = last;
                }
                _ => changed.push(Changed { first, last, old: before, new: after }),
            }
        }
        if last == u128::MAX {
            return changed;
        }
        first = last + 1;
        i += usize::from(end_old == last);
        j += usize::from(end_new == last);
    }
}
