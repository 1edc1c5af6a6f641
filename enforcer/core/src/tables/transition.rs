//! One stage of a plan: from what the kernel holds to a [`Goal`], make before break.
//!
//! The order of writes, and why each write leaves every (interface, direction, address, protocol,
//! port) with its verdict of before or of after (semantics C1):
//!
//! 1. *Removed interfaces* and closed directions (semantics R9) reach their final state in one
//!    write, independent of addresses.
//! 2. *Port sets and classes*: see [`super::ports`].
//! 3. *Cells* of new rows, and of new class ids in live rows: nothing leads to them yet.
//! 4. *Addresses* are flipped to their new ids: see [`super::classes`].
//! 5. *Endpoints* are flipped to new records. From here on every verdict is that of after.
//! 6. Everything to which nothing leads any more is freed, and ids with equal cells are merged.
//!
//! A packet reads its endpoint before its address. After a new row of the endpoint it only sees new
//! ids. After an old row it may still see ids that are introduced much later, so an id with another
//! meaning in an old row waits for a grace period after endpoints have left the row. The second read
//! depends on the first ([`Order`]), so no processor swaps them.
//!
//! [`Order`]: enforcer_ebpf::contract::endpoint::Order

use std::collections::{BTreeMap, BTreeSet};

use enforcer_ebpf::contract::entry::{Cell, Entry};

use super::change::Change;
use super::classes::{Assignment, LiveRows, Pairs, Target, assign};
use super::columns::{Columns, port_sets};
use super::desired::{Interface, Owner};
use super::endpoints::{Both, Judged};
use super::goal::{Goal, Wish, admitted};
use super::matching::{Matching, match_rows};
use super::merge::merge_ids;
use super::regions::{Family, Maps, Regions, Wanted, flatten};
use super::rows::RowKey;
use super::shortage::{Full, Table};
use super::state::State;
use super::writer::Writer;
use crate::policy::RowId;

/// The interfaces that do not fit into a table.
pub(super) type Unplaced = Vec<(u32, Table)>;

/// Takes `state` to the goal. After an error the state is undefined.
pub(super) fn advance(
    state: &mut State,
    goal: &Goal<'_>,
    writer: &mut Writer,
) -> Result<Unplaced, Full> {
    let wishes = begin(state, &goal.desired.interfaces, |owner| goal.wishes(owner), writer)?;
    let rows: BTreeSet<RowId> = wishes
        .values()
        .flatten()
        .filter_map(|wish| if let Wish::Row(row) = wish { Some(*row) } else { None })
        .collect();
    let rows: Vec<RowId> = rows.into_iter().collect();
    state.ports.add(&port_sets(&goal.desired.compiled, &rows), writer)?;
    let columns = Columns::new(&goal.desired.compiled, rows, &state.ports);

    let wanted = wanted(goal, &columns);
    let now = state.maps();
    let mut pairs = pair_up(&now, &wanted);
    let matching = match_rows(&state.endpoints, &state.rows, &wishes, &pairs, &columns);
    let assignment = assign(&pairs, &live_rows(state, &matching, &columns), &columns);
    let fresh = take_ids(state, &pairs, assignment.fresh.len(), writer)?;
    make_room(state, &fresh, writer)?;
    let ids: Vec<u32> = assignment
        .targets
        .iter()
        .map(|target| match *target {
            Target::Live(id) => id,
            Target::Fresh(at) => fresh[at],
        })
        .collect();

    write_fresh(state, &matching, &assignment, &fresh, &columns, writer);
    let keys = write_new_rows(state, &matching, &pairs, &ids, &columns, writer)?;
    let maps = flip_addresses(state, &now, &wanted, &mut pairs, &ids, writer)?;
    let unplaced = flip_endpoints(state, &goal.desired.interfaces, &wishes, &keys, writer)?;
    clean_up(state, maps, &pairs, &ids, &columns, writer);
    Ok(unplaced)
}

/// Step 1. Returns how the admitted interfaces are to be judged.
pub(super) fn begin(
    state: &mut State,
    interfaces: &BTreeMap<u32, Interface>,
    wish: impl Fn(&Owner) -> [Wish; 2],
    writer: &mut Writer,
) -> Result<BTreeMap<u32, [Wish; 2]>, Full> {
    for ifindex in state.endpoints.interfaces() {
        if !interfaces.contains_key(&ifindex) {
            state.endpoints.remove(ifindex, writer);
        }
    }
    let wishes: BTreeMap<u32, [Wish; 2]> = admitted(interfaces, &state.endpoints)
        .into_iter()
        .map(|(ifindex, interface)| (ifindex, wish(&interface.owner)))
        .collect();
    for (&ifindex, wishes) in &wishes {
        let Some(held) = state.endpoints.get(ifindex) else { continue };
        let mut judged = held.judged;
        for (judged, wish) in judged.iter_mut().zip(wishes) {
            if *wish == Wish::Closed {
                *judged = Judged::Closed;
            }
        }
        if judged != held.judged {
            state.endpoints.judge(ifindex, judged, &state.rows, writer)?;
        }
    }
    drop_unused_rows(state, writer);
    Ok(wishes)
}

/// The desired entry of each address, in merged columns.
fn wanted(goal: &Goal<'_>, columns: &Columns) -> Maps<Wanted> {
    Family::ALL.map(|family| {
        flatten(&goal.desired.compiled, family)
            .map(|Wanted { column, flags }| Wanted { column: columns.of(column) as usize, flags })
    })
}

/// The pairs of current ids and desired columns of addresses.
fn pair_up(now: &Maps<u32>, wanted: &Maps<Wanted>) -> Pairs {
    let mut pairs = Pairs::default();
    for (family, (now, wanted)) in Family::ALL.into_iter().zip(now.iter().zip(wanted)) {
        now.zip(wanted, |first, last, entry, wanted| {
            let number = pairs.number(Entry(entry).index(), column(wanted));
            pairs.list[number].weight += family.weight(first, last);
        });
    }
    pairs
}

/// The rows that endpoints have until step 5.
fn live_rows<'a>(state: &'a State, matching: &Matching, columns: &Columns) -> LiveRows<'a> {
    let row = |key: RowKey| state.rows.get(key);
    let kept = columns.rows.iter().enumerate();
    LiveRows {
        kept: kept.filter_map(|(at, id)| Some((row(*matching.kept.get(id)?)?, at))).collect(),
        retired: matching.retired.iter().filter_map(|&key| row(key)).collect(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "merged columns are u32")]
fn column(wanted: Wanted) -> u32 {
    wanted.column as u32
}

/// Allocates the ids that the assignment needs.
fn take_ids(
    state: &mut State,
    pairs: &Pairs,
    count: usize,
    writer: &mut Writer,
) -> Result<Vec<u32>, Full> {
    // Small numbers keep rows short: a wait for an old id is better than longer rows.
    let live = u32::try_from(pairs.live().len() + count).unwrap_or(u32::MAX);
    let fair = live.saturating_mul(2).saturating_add(64);
    let soft = state.rows.capacity().map_or(fair, |capacity| capacity.min(fair));
    (0..count).map(|_| state.ids.take_below(soft, writer)).collect()
}

/// Moves the rows that are too short for the new ids. No verdict changes.
pub(super) fn make_room(state: &mut State, fresh: &[u32], writer: &mut Writer) -> Result<(), Full> {
    let Some(largest) = fresh.iter().max() else { return Ok(()) };
    let mut places = Vec::new();
    let mut movers: BTreeSet<u32> = BTreeSet::new();
    let users = state.endpoints.users();
    for key in state.rows.keys() {
        if let Some(place) = state.rows.grow(key, largest + 1, writer)? {
            places.push(place);
            movers.extend(users.get(&key).into_iter().flatten());
        }
    }
    for ifindex in movers {
        let Some(judged) = state.endpoints.get(ifindex).map(|held| held.judged) else { continue };
        state.endpoints.judge(ifindex, judged, &state.rows, writer)?;
    }
    for place in places {
        state.rows.free(place, writer);
    }
    Ok(())
}

/// Step 3 for live rows: the cells of ids that no address has yet.
fn write_fresh(
    state: &mut State,
    matching: &Matching,
    assignment: &Assignment,
    fresh: &[u32],
    columns: &Columns,
    writer: &mut Writer,
) {
    for (at, id) in columns.rows.iter().enumerate() {
        let Some(&key) = matching.kept.get(id) else { continue };
        for (&class, pair) in fresh.iter().zip(&assignment.fresh) {
            state.rows.write(key, class, columns.cell(pair.column, at), writer);
        }
    }
    for &key in &matching.retired {
        for (&class, pair) in fresh.iter().zip(&assignment.fresh) {
            let cell = state.rows.get(key).map_or(0, |row| row.cell(pair.old));
            state.rows.write(key, class, cell, writer);
        }
    }
}

/// Step 3 for new rows. Returns the key of every desired row.
fn write_new_rows(
    state: &mut State,
    matching: &Matching,
    pairs: &Pairs,
    ids: &[u32],
    columns: &Columns,
    writer: &mut Writer,
) -> Result<BTreeMap<RowId, RowKey>, Full> {
    let length = ids.iter().max().map_or(0, |last| *last as usize + 1);
    let mut keys = matching.kept.clone();
    for (at, &row) in columns.rows.iter().enumerate() {
        if keys.contains_key(&row) {
            continue;
        }
        let mut cells = vec![Cell::DENY.0; length];
        for (pair, &id) in pairs.list.iter().zip(ids) {
            cells[id as usize] = columns.cell(pair.column, at);
        }
        keys.insert(row, state.rows.add(&cells, writer)?);
    }
    Ok(keys)
}

/// Step 4. Returns what the tries hold afterwards.
fn flip_addresses(
    state: &mut State,
    now: &Maps<u32>,
    wanted: &Maps<Wanted>,
    pairs: &mut Pairs,
    ids: &[u32],
    writer: &mut Writer,
) -> Result<Maps<u32>, Full> {
    let maps = [0, 1].map(|family: usize| {
        let mut map = Regions::uniform(Entry::UNKNOWN.0);
        now[family].zip(&wanted[family], |first, _, entry, wanted| {
            let id = ids[pairs.number(Entry(entry).index(), column(wanted))];
            map.push(first, Entry::class(id, wanted.flags).0);
        });
        map
    });
    state.write_maps(now, &maps, writer)?;
    Ok(maps)
}

/// Step 5.
pub(super) fn flip_endpoints(
    state: &mut State,
    interfaces: &BTreeMap<u32, Interface>,
    wishes: &BTreeMap<u32, [Wish; 2]>,
    keys: &BTreeMap<RowId, RowKey>,
    writer: &mut Writer,
) -> Result<Unplaced, Full> {
    let mut unplaced = Unplaced::new();
    for (&ifindex, interface) in interfaces {
        let Some(wishes) = wishes.get(&ifindex) else {
            unplaced.push((ifindex, Table::Endpoints));
            continue;
        };
        let judged: Both = wishes.map(|wish| match wish {
            Wish::Open => Judged::Open,
            Wish::Closed => Judged::Closed,
            Wish::Row(row) => keys.get(&row).map_or(Judged::Closed, |&key| Judged::Row(key)),
        });
        if !state.endpoints.put(ifindex, interface, judged, &state.rows, writer)? {
            unplaced.push((ifindex, Table::Interfaces));
        }
    }
    state.endpoints.publish_addresses(writer);
    if !unplaced.is_empty() {
        state.endpoints.close_others(writer);
    }
    Ok(unplaced)
}

/// Step 6.
fn clean_up(
    state: &mut State,
    maps: Maps<u32>,
    pairs: &Pairs,
    ids: &[u32],
    columns: &Columns,
    writer: &mut Writer,
) {
    drop_unused_rows(state, writer);
    state.endpoints.end_inheritance(writer);
    // Grace periods now, when nothing waits for them, so that the next change is fast.
    state.endpoints.wait_for_readers(writer);
    state.rows.wait_for_readers(writer);
    state.ports.keep(&columns.sets(), writer);
    let used: BTreeSet<u32> = ids.iter().copied().collect();
    for id in pairs.live().into_iter().filter(|id| !used.contains(id)) {
        state.ids.free(id, writer);
    }
    merge_ids(state, &maps, pairs, ids, columns, writer);
}

/// Removes the rows that no endpoint has.
pub(super) fn drop_unused_rows(state: &mut State, writer: &Writer) {
    let users = state.endpoints.users();
    for key in state.rows.keys() {
        if !users.contains_key(&key) {
            state.rows.remove(key, writer);
        }
    }
}

/// The stage that always fits: all addresses have one entry, and every isolated direction is
/// closed. `goal` must close all rows.
pub(super) fn empty(
    state: &mut State,
    goal: &Goal<'_>,
    writer: &mut Writer,
) -> Result<Unplaced, Full> {
    let wishes = begin(state, &goal.desired.interfaces, |owner| goal.wishes(owner), writer)?;
    let interfaces = &goal.desired.interfaces;
    let unplaced = flip_endpoints(state, interfaces, &wishes, &BTreeMap::new(), writer)?;
    drop_unused_rows(state, writer);
    state.endpoints.end_inheritance(writer);
    state.endpoints.wait_for_readers(writer);
    let mut ids: BTreeSet<u32> = BTreeSet::new();
    for map in &state.maps() {
        ids.extend(map.ranges().map(|(_, _, entry)| Entry(entry).index()));
    }
    let stays = ids.pop_first().unwrap_or(0);
    let everywhere = Change { first: 0, last: u128::MAX, entry: Entry::class(stays, 0).0 };
    state.trie4.apply(&[everywhere], writer)?;
    state.trie6.apply(&[everywhere], writer)?;
    for id in ids {
        state.ids.free(id, writer);
    }
    state.ports.keep(&BTreeSet::new(), writer);
    Ok(unplaced)
}
