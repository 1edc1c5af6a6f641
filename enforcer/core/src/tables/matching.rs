//! The choice of rows to keep: which row of the kernel serves which desired row.
//!
//! Row *p* of the kernel may serve desired row *r* if no endpoint can see a third verdict through it
//! while addresses are flipped. Either of two conditions is sufficient:
//!
//! - all endpoints on *p* go to *r*: a flip of an address takes each of them from the verdict of
//!   before to the verdict of after; or
//! - *p* has the same verdicts before as *r* after, for every address: endpoints that leave *p* for
//!   another row see the verdicts of before until they leave.
//!
//! Both are exact for any change. The first leaves a choice: flip the addresses with changed
//! verdicts, or write a new row. The cheaper one is chosen, so that a pod that is added or removed
//! flips one address, and a policy that changes for half of the address space writes one row and
//! flips its endpoints.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_ebpf::contract::verdict::Direction;

use super::classes::Pairs;
use super::columns::Columns;
use super::endpoints::{Endpoints, Judged};
use super::goal::Wish;
use super::rows::{Row, RowKey, Rows};
use crate::policy::RowId;

/// The row of the kernel for each desired row.
#[derive(Debug, Default)]
pub(super) struct Matching {
    /// The rows that are kept.
    pub(super) kept: BTreeMap<RowId, RowKey>,
    /// The other rows that endpoints have.
    pub(super) retired: Vec<RowKey>,
}

/// Chooses the rows to keep.
pub(super) fn match_rows(
    endpoints: &Endpoints,
    rows: &Rows,
    wishes: &BTreeMap<u32, [Wish; 2]>,
    pairs: &Pairs,
    columns: &Columns,
) -> Matching {
    let positions: BTreeMap<RowId, usize> =
        columns.rows.iter().enumerate().map(|(at, &row)| (row, at)).collect();
    // By desired row: the cheapest candidate.
    let mut best: BTreeMap<RowId, (u64, RowKey)> = BTreeMap::new();
    let all = destinations(endpoints, wishes);
    for (&key, destinations) in &all {
        let Some(row) = rows.get(key) else { continue };
        let only = destinations.len() == 1;
        for destination in destinations {
            let Wish::Row(id) = destination else { continue };
            let Some(&at) = positions.get(id) else { continue };
            let cost = cost(row, at, pairs, columns);
            if cost == 0 || (only && cost <= replacement_cost(pairs)) {
                let candidate = (cost, key);
                let entry = best.entry(*id).or_insert(candidate);
                *entry = candidate.min(*entry);
            }
        }
    }
    let kept: BTreeMap<RowId, RowKey> = best.into_iter().map(|(id, (_, key))| (id, key)).collect();
    let staying: BTreeSet<RowKey> = kept.values().copied().collect();
    let retired = all.into_keys().filter(|key| !staying.contains(key)).collect();
    Matching { kept, retired }
}

/// The destinations of the endpoints on each row.
fn destinations(
    endpoints: &Endpoints,
    wishes: &BTreeMap<u32, [Wish; 2]>,
) -> BTreeMap<RowKey, BTreeSet<Wish>> {
    let mut destinations: BTreeMap<RowKey, BTreeSet<Wish>> = BTreeMap::new();
    for (ifindex, wishes) in wishes {
        let Some(held) = endpoints.get(*ifindex) else { continue };
        for direction in Direction::ALL {
            if let Judged::Row(key) = held.judged[direction as usize] {
                destinations.entry(key).or_default().insert(wishes[direction as usize]);
            }
        }
    }
    destinations
}

/// Roughly the number of words to flip if the row is kept.
fn cost(row: &Row, position: usize, pairs: &Pairs, columns: &Columns) -> u64 {
    let changes =
        |pair: &&super::classes::Pair| row.cell(pair.old) != columns.cell(pair.column, position);
    pairs.list.iter().filter(changes).map(|pair| pair.weight).sum()
}

/// Roughly the number of words to write for a new row and the flip to it.
fn replacement_cost(pairs: &Pairs) -> u64 {
    pairs.list.len() as u64 + 2
}
