//! Class ids that say the same in every row, made one: the second pass of a plan.
//!
//! When endpoints have left the rows that were retired, ids that had to differ for those rows'
//! sake need not any more. Flipping an address from one to the other changes no verdict at all.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_ebpf::contract::entry::Entry;

use super::State;
use super::alloc::Writer;
use super::classes::Pairs;
use super::columns::Columns;
use super::regions::{Family, Regions};
use super::shortage::Full;
use super::transition::write_maps;

/// Ids with at most this weight are always made one with others that say the same.
const CHEAP_MERGE: u64 = 256;

/// Makes ids one where it pays. `ids`: by the number of the pair.
pub(super) fn merge_ids(
    state: &mut State,
    pairs: &Pairs,
    ids: &[u32],
    columns: &Columns,
    writer: &mut Writer,
) {
    let merged = duplicates(state, pairs, ids, columns);
    if merged.is_empty() {
        return;
    }
    // Merging only saves room: without room for it, all stays as it is.
    let (steps, epoch) = (writer.steps.len(), writer.epoch);
    let mut trial = state.clone();
    match merge(&mut trial, &merged, writer) {
        Ok(()) => *state = trial,
        Err(_) => {
            writer.steps.truncate(steps);
            writer.epoch = epoch;
        }
    }
}

/// Ids that stand for the same column as another, and that other; where flipping them is cheap or
/// they have become many.
fn duplicates(state: &State, pairs: &Pairs, ids: &[u32], columns: &Columns) -> BTreeMap<u32, u32> {
    let column_of: BTreeMap<u32, u32> =
        ids.iter().zip(&pairs.list).map(|(&id, pair)| (id, pair.column)).collect();
    let distinct: BTreeSet<u32> = column_of.values().copied().collect();
    if distinct.len() == column_of.len() {
        return BTreeMap::new();
    }
    let mut weights: BTreeMap<u32, u64> = BTreeMap::new();
    for (family, map) in Family::ALL.into_iter().zip(&state.maps) {
        for (first, last, entry) in map.ranges() {
            *weights.entry(Entry(entry).index()).or_default() += family.weight(first, last);
        }
    }
    let weight = |id: u32| weights.get(&id).copied().unwrap_or(0);
    let many = column_of.len() > 2 * columns.len() + 64;
    // By column: the id that stays, the heaviest.
    let mut stays: BTreeMap<u32, u32> = BTreeMap::new();
    for (&id, &column) in &column_of {
        let best = stays.entry(column).or_insert(id);
        if weight(id) > weight(*best) {
            *best = id;
        }
    }
    let mut merged = BTreeMap::new();
    for (&id, column) in &column_of {
        if let Some(&stays) = stays.get(column)
            && stays != id
            && (many || weight(id) <= CHEAP_MERGE)
        {
            merged.insert(id, stays);
        }
    }
    merged
}

/// Makes ids that say the same in every row one.
fn merge(state: &mut State, merged: &BTreeMap<u32, u32>, writer: &mut Writer) -> Result<(), Full> {
    let maps = [0, 1].map(|family: usize| {
        let mut map = Regions::uniform(Entry::UNKNOWN.0);
        for (first, _, entry) in state.maps[family].ranges() {
            let id = Entry(entry).index();
            let id = merged.get(&id).copied().unwrap_or(id);
            map.push(first, Entry::class(id, Entry(entry).flags()).0);
        }
        map
    });
    write_maps(state, maps, writer)?;
    for &id in merged.keys() {
        state.ids.give(id, writer);
    }
    Ok(())
}
