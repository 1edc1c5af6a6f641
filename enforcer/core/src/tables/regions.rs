//! Functions of the address that are constant between points: flattened longest-prefix maps.
//!
//! Both families use left-aligned 128-bit numbers: an IPv4 address is in the upper 32 bits. The
//! difference of two such functions is a list of disjoint ranges, independent of the prefixes that
//! they came from. The tries need nothing else.

use enforcer_ebpf::contract::entry::Entry;
use ipnet::IpNet;

use crate::policy::{Column, Compiled};

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The number of words of the trie's root that the range covers: roughly the cost of a change.
    pub(super) fn weight(self, first: u128, last: u128) -> u64 {
        let shift = match self {
            Self::V4 => 112,
            Self::V6 => 120,
        };
        u64::try_from((last >> shift) - (first >> shift)).unwrap_or(u64::MAX >> 1) + 1
    }
}

/// One function for each family, by [`Family`].
pub(super) type Maps<V> = [Regions<V>; 2];

/// A function of the address. Each point's value holds up to the next point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Regions<V> {
    /// Never empty; the first point is 0; neighbours differ.
    points: Vec<(u128, V)>,
}

impl<V: Copy + PartialEq> Regions<V> {
    /// The same value everywhere.
    pub(super) fn uniform(value: V) -> Self {
        Self { points: vec![(0, value)] }
    }

    /// Sets the value from `first` on. Calls must be in ascending order.
    pub(super) fn push(&mut self, first: u128, value: V) {
        if let Some(last) = self.points.last_mut()
            && last.0 == first
        {
            last.1 = value;
            let length = self.points.len();
            if length >= 2 && self.points[length - 2].1 == value {
                self.points.pop();
            }
        } else if self.points.last().is_none_or(|last| last.1 != value) {
            self.points.push((first, value));
        }
    }

    /// The function with values `f(value)`.
    pub(super) fn map<W: Copy + PartialEq>(&self, mut f: impl FnMut(V) -> W) -> Regions<W> {
        let mut mapped = Regions { points: Vec::with_capacity(self.points.len()) };
        for &(first, value) in &self.points {
            mapped.push(first, f(value));
        }
        mapped
    }

    /// The ranges and their values, in order.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (u128, u128, V)> {
        let ends = self.points.iter().skip(1).map(|point| point.0 - 1).chain([u128::MAX]);
        self.points.iter().zip(ends).map(|(&(first, value), last)| (first, last, value))
    }

    /// Calls `visit(first, last, a, b)` for each range in which both are constant, in order.
    pub(super) fn zip<W: Copy + PartialEq>(
        &self,
        other: &Regions<W>,
        mut visit: impl FnMut(u128, u128, V, W),
    ) {
        let (a, b) = (&self.points, &other.points);
        let (mut i, mut j, mut first) = (0, 0, 0);
        loop {
            let (next_a, next_b) = (a.get(i + 1), b.get(j + 1));
            let end_a = next_a.map_or(u128::MAX, |point| point.0 - 1);
            let end_b = next_b.map_or(u128::MAX, |point| point.0 - 1);
            let last = end_a.min(end_b);
            visit(first, last, a[i].1, b[j].1);
            if last == u128::MAX {
                return;
            }
            first = last + 1;
            i += usize::from(end_a == last);
            j += usize::from(end_b == last);
        }
    }
}

/// The desired entry of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Its column.
    pub(super) column: Column,
    /// Some of [`Entry::FLAGS`].
    pub(super) flags: u32,
}

/// A prefix with its entry. Without a column it inherits the one around it.
#[derive(Debug, Clone, Copy)]
struct Item {
    first: u128,
    last: u128,
    column: Option<Column>,
    flags: u32,
}

/// The flattened address map of one family.
pub(super) fn flatten(compiled: &Compiled, family: Family) -> Regions<Wanted> {
    let outer = Wanted { column: 0, flags: 0 };
    let mut regions = Regions::uniform(outer);
    let mut around: Vec<(u128, Wanted)> = vec![(u128::MAX, outer)];
    for item in items(compiled, family) {
        leave(&mut around, &mut regions, item.first);
        let column = item.column.unwrap_or(around.last().map_or(0, |(_, wanted)| wanted.column));
        let wanted = Wanted { column, flags: item.flags };
        regions.push(item.first, wanted);
        around.push((item.last, wanted));
    }
    // Every prefix that ends before the last address ends now.
    leave(&mut around, &mut regions, u128::MAX);
    regions
}

/// Ends the prefixes that end before `next`.
fn leave(around: &mut Vec<(u128, Wanted)>, regions: &mut Regions<Wanted>, next: u128) {
    while let Some(&(last, _)) = around.last()
        && last < next
    {
        around.pop();
        if let Some(&(_, wanted)) = around.last() {
            regions.push(last + 1, wanted);
        }
    }
}

/// The prefixes of one family, each after those that contain it.
fn items(compiled: &Compiled, family: Family) -> Vec<Item> {
    let columns = compiled.addresses.iter().map(|(net, &column)| (net, Some(column), 0));
    let flagged = [
        (&compiled.node_addresses, Entry::NODE),
        (&compiled.service_addresses, Entry::SERVICE),
        (&compiled.external_addresses, Entry::EXTERNAL),
    ];
    let flagged =
        flagged.into_iter().flat_map(|(nets, flag)| nets.iter().map(move |it| (it, None, flag)));
    let mut items: Vec<Item> = columns
        .chain(flagged)
        .filter_map(|(net, column, flags)| {
            let (first, last) = range(net, family)?;
            Some(Item { first, last, column, flags })
        })
        .collect();
    // Three runs that are sorted already unless a prefix has host bits, so the sort is cheap. It is
    // stable: of two columns for the same prefix, the first holds.
    items.sort_by_key(|item| (item.first, std::cmp::Reverse(item.last)));
    items.dedup_by(|later, kept| {
        let same = (later.first, later.last) == (kept.first, kept.last);
        if same {
            kept.column = kept.column.or(later.column);
            kept.flags |= later.flags;
        }
        same
    });
    items
}

/// First and last address of a prefix of this family.
fn range(net: &IpNet, family: Family) -> Option<(u128, u128)> {
    let (address, length) = match (net, family) {
        (IpNet::V4(net), Family::V4) => {
            (u128::from(u32::from(net.network())) << 96, net.prefix_len())
        }
        (IpNet::V6(net), Family::V6) => (u128::from(net.network()), net.prefix_len()),
        _ => return None,
    };
    Some((address, address | u128::MAX.checked_shr(length.into()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn map(entries: &[(&str, Column)]) -> Compiled {
        let addresses = entries.iter().map(|(net, column)| (net.parse().unwrap(), *column));
        Compiled { addresses: addresses.collect(), ..Compiled::default() }
    }

    fn columns(regions: &Regions<Wanted>) -> Vec<(u32, Column)> {
        regions.points.iter().map(|(first, wanted)| ((first >> 96) as u32, wanted.column)).collect()
    }

    #[test]
    fn nested_prefixes_that_share_their_ends() {
        let addresses = map(&[
            ("0.0.0.0/1", 1),
            ("127.0.0.0/8", 2),
            ("127.255.255.255/32", 3),
            ("0.0.0.0/8", 4),
        ]);
        let regions = flatten(&addresses, Family::V4);
        assert_eq!(
            columns(&regions),
            [(0, 4), (1 << 24, 1), (127 << 24, 2), (0x7fff_ffff, 3), (1 << 31, 0)]
        );
    }

    #[test]
    fn the_whole_space_and_its_last_address() {
        let addresses = map(&[("0.0.0.0/0", 1), ("255.255.255.255/32", 2)]);
        let regions = flatten(&addresses, Family::V4);
        assert_eq!(columns(&regions), [(0, 1), (u32::MAX, 2)]);
        assert_eq!(flatten(&addresses, Family::V6).points.len(), 1);
    }

    #[test]
    fn a_flagged_address_without_a_column_inherits_it() {
        let compiled = Compiled {
            node_addresses: BTreeSet::from(["10.0.0.1/32".parse().unwrap()]),
            service_addresses: ["10.0.0.1/32", "10.0.0.2/32", "10.0.0.9/32"]
                .map(|it| it.parse().unwrap())
                .into(),
            ..map(&[("10.0.0.0/8", 1), ("10.0.0.2/32", 2)])
        };
        let found: Vec<_> = flatten(&compiled, Family::V4)
            .ranges()
            .map(|(_, _, wanted)| (wanted.column, wanted.flags))
            .collect();
        let (both, service) = (Entry::NODE | Entry::SERVICE, Entry::SERVICE);
        let expected =
            [(0, 0), (1, 0), (1, both), (2, service), (1, 0), (1, service), (1, 0), (0, 0)];
        assert_eq!(found, expected);
    }

    #[test]
    fn host_bits_are_ignored() {
        let addresses = map(&[("10.0.0.9/8", 1), ("10.0.0.0/16", 2)]);
        let regions = flatten(&addresses, Family::V4);
        assert_eq!(
            columns(&regions),
            [(0, 0), (10 << 24, 2), ((10 << 24) | (1 << 16), 1), (11 << 24, 0)]
        );
    }
}
