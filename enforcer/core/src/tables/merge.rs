//! The merge of class ids with the same cells in every row: the second pass of a plan.
//!
//! Some ids only differ because of rows that were retired. After endpoints have left these rows,
//! a flip of an address from one such id to the other changes no verdict.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_ebpf::contract::entry::Entry;

use super::classes::Pairs;
use super::columns::Columns;
use super::regions::{Family, Maps};
use super::shortage::Full;
use super::state::State;
use super::writer::Writer;

/// Ids of at most this weight are always merged with others that have the same cells.
const CHEAP_MERGE: u64 = 256;

/// Merges ids where it is cheap or necessary. `ids`: by the number of the pair.
pub(super) fn merge_ids(
    state: &mut State,
    maps: &Maps<u32>,
    pairs: &Pairs,
    ids: &[u32],
    columns: &Columns,
    writer: &mut Writer,
) {
    let merged = duplicates(maps, pairs, ids, columns);
    if merged.is_empty() {
        return;
    }
    // A merge only saves room. If there is no room for it, nothing changes.
    let (steps, epoch) = (writer.steps.len(), writer.epoch);
    let mut trial = state.clone();
    match merge(&mut trial, maps, &merged, writer) {
        Ok(()) => *state = trial,
        Err(_) => {
            writer.steps.truncate(steps);
            writer.epoch = epoch;
        }
    }
}

/// Ids with the same column as another id, and that other id, if they are cheap to flip or if there
/// are too many ids.
fn duplicates(
    maps: &Maps<u32>,
    pairs: &Pairs,
    ids: &[u32],
    columns: &Columns,
) -> BTreeMap<u32, u32> {
    let column_of: BTreeMap<u32, u32> =
        ids.iter().zip(&pairs.list).map(|(&id, pair)| (id, pair.column)).collect();
    let distinct: BTreeSet<u32> = column_of.values().copied().collect();
    if distinct.len() == column_of.len() {
        return BTreeMap::new();
    }
    let mut weights: BTreeMap<u32, u64> = BTreeMap::new();
    for (family, map) in Family::ALL.into_iter().zip(maps) {
        for (first, last, entry) in map.ranges() {
            *weights.entry(Entry(entry).index()).or_default() += family.weight(first, last);
        }
    }
    let weight = |id: u32| weights.get(&id).copied().unwrap_or(0);
    let many = column_of.len() > 2 * columns.len() + 64;
    // By column: the id that stays, which is the heaviest.
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

/// Replaces the ids that are keys of `merged`.
fn merge(
    state: &mut State,
    now: &Maps<u32>,
    merged: &BTreeMap<u32, u32>,
    writer: &mut Writer,
) -> Result<(), Full> {
    let maps = now.each_ref().map(|map| {
        map.map(|entry| {
            let id = Entry(entry).index();
            let id = merged.get(&id).copied().unwrap_or(id);
            Entry::class(id, Entry(entry).flags()).0
        })
    });
    state.write_maps(now, &maps, writer)?;
    for &id in merged.keys() {
        state.ids.free(id, writer);
    }
    Ok(())
}
