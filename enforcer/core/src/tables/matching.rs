//! Which row of the kernel may stay for which desired row.
//!
//! Row *p* of the kernel may stay for desired row *r* when no endpoint can see a third verdict
//! through it while addresses are flipped. Two conditions do:
//!
//! - every endpoint on *p* goes on to *r*: then flipping an address takes each of them from the
//!   verdict before to the verdict after; or
//! - *p* says the same before as *r* after, for every address: then those who leave *p* for
//!   another row see what they saw before until they leave.
//!
//! Both are exact whatever changed. In the first case there is a choice between flipping the
//! addresses whose verdict changes and writing a new row; it is made by what it costs, so that a
//! pod that comes or goes flips one address, and a policy that changes its mind about half of the
//! address space writes one row and flips its endpoints.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_ebpf::contract::verdict::Direction;

use super::classes::Pairs;
use super::columns::Columns;
use super::endpoints::{Endpoints, Judged};
use super::goal::Wish;
use super::rows::{Row, RowKey, Rows};
use crate::policy::RowId;

/// Where each desired row is found.
#[derive(Debug, Default)]
pub(super) struct Matching {
    /// The rows that stay.
    pub(super) kept: BTreeMap<RowId, RowKey>,
    /// The other rows that endpoints have.
    pub(super) retired: Vec<RowKey>,
}

/// Chooses the rows that stay.
pub(super) fn match_rows(
    endpoints: &Endpoints,
    rows: &Rows,
    wishes: &BTreeMap<u32, [Wish; 2]>,
    pairs: &Pairs,
    columns: &Columns,
) -> Matching {
    let positions: BTreeMap<RowId, usize> =
        columns.rows.iter().enumerate().map(|(at, &row)| (row, at)).collect();
    // By desired row: the candidate that costs least.
    let mut best: BTreeMap<RowId, (u64, RowKey)> = BTreeMap::new();
    let goes = destinations(endpoints, wishes);
    for (&key, destinations) in &goes {
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
    let retired = goes.into_keys().filter(|key| !staying.contains(key)).collect();
    Matching { kept, retired }
}

/// Where the endpoints on each row go.
fn destinations(
    endpoints: &Endpoints,
    wishes: &BTreeMap<u32, [Wish; 2]>,
) -> BTreeMap<RowKey, BTreeSet<Wish>> {
    let mut goes: BTreeMap<RowKey, BTreeSet<Wish>> = BTreeMap::new();
    for (ifindex, wishes) in wishes {
        let Some(held) = endpoints.get(*ifindex) else { continue };
        for direction in Direction::ALL {
            if let Judged::Row(key) = held.judged[direction as usize] {
                goes.entry(key).or_default().insert(wishes[direction as usize]);
            }
        }
    }
    goes
}

/// About how many words have to be flipped for the row's sake.
fn cost(row: &Row, position: usize, pairs: &Pairs, columns: &Columns) -> u64 {
    let changes =
        |pair: &&super::classes::Pair| row.cell(pair.old) != columns.cell(pair.column, position);
    pairs.list.iter().filter(changes).map(|pair| pair.weight).sum()
}

/// About how many words a new row and the flip to it take.
fn replacement_cost(pairs: &Pairs) -> u64 {
    pairs.list.len() as u64 + 2
}
