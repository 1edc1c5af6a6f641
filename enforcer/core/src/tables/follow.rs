//! Plans that follow an [`Engine`]: their cost is that of the difference.
//!
//! The engine's classes and rows never change their meaning, they only come and go. So each class
//! has an id of the kernel, and each row a place. A row that stays needs cells for new classes only,
//! and an address that moves is flipped to its new class's id. What remains is C1 for endpoints that
//! leave a row in the same change: until they are flipped, the address must have its verdict of before
//! in the *retired* row, which knows nothing of the new class. The addresses that would not are
//! flipped to a *detour*: an id with the cells of before in the retired rows, and those of the new
//! class in all others. After the endpoints' flip a detour has the same cells as its class in every
//! row, and its addresses are flipped again.
//!
//! The order of the writes is that of [`super::transition`]; so is the proof.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_ebpf::contract::entry::{Cell, Entry};

use super::change::Change;
use super::desired::{Desired, Interface};
use super::endpoints::Judged;
use super::excess::report_excess;
use super::goal::{Wish, wishes};
use super::link::{FEW_CELLS, Link, STALE};
use super::plan::{Plan, report_unplaced};
use super::rows::RowKey;
use super::shortage::Full;
use super::state::State;
use super::transition::{Unplaced, begin, drop_unused_rows, flip_endpoints, make_room};
use super::work::{Flip, Work, entry, joined};
use super::writer::Writer;
use crate::model::PodId;
use crate::numbered::NumberMap;
use crate::policy::{Delta, Engine, Grants, Judge, Number, PortSet, Verdict, VerdictId};

impl State {
    /// Returns the steps to the engine's result, to which `delta` has led, and to these interfaces.
    /// Afterwards `self` is the state to which they lead. As [`Self::plan`], but the cost is that of
    /// the difference, as long as this state has followed every change of the engine.
    pub fn follow(
        &mut self,
        engine: &mut Engine,
        delta: &Delta,
        interfaces: &BTreeMap<u32, Interface>,
    ) -> Plan {
        let follows = |link: &&Link| link.version + 1 == delta.version;
        let work = match self.link.as_ref().filter(follows) {
            Some(link) => Work::of(link, delta),
            None => Work::all(self, engine),
        };
        let link = self.link.take().filter(|link| follows(&link)).unwrap_or_default();
        let mut next = self.clone();
        let mut writer = Writer::new(self.epoch);
        let mut follower = Follower { link, engine, cells: NumberMap::default() };
        if let Ok(unplaced) = follower.advance(&mut next, &work, interfaces, &mut writer) {
            next.epoch = writer.epoch;
            next.link = Some(Link { version: delta.version, ..follower.link });
            *self = next;
            let mut plan = Plan { steps: writer.steps, ..Plan::default() };
            report_unplaced(self, interfaces, &unplaced, &mut plan);
            report_excess(engine, &mut plan);
            return plan;
        }
        // A table is too small.
        let desired = Desired { compiled: engine.compiled(), interfaces: interfaces.clone() };
        let mut plan = self.plan(&desired);
        report_excess(engine, &mut plan);
        plan
    }
}

struct Follower<'e> {
    link: Link,
    engine: &'e mut Engine,
    /// The cells of verdicts.
    cells: NumberMap<VerdictId, u32>,
}

/// The cells of an id in the retired rows.
type Signature = Vec<u32>;

/// The ids that addresses are flipped to.
struct Ids {
    of: NumberMap<(Number, Signature), u32>,
    /// Ids that are new: their class, and their cells in the retired rows.
    fresh: Vec<(u32, Number, Signature)>,
    /// Ids of classes that already have another one, with their class.
    detours: BTreeMap<u32, Number>,
}

impl Follower<'_> {
    fn advance(
        &mut self,
        state: &mut State,
        work: &Work,
        interfaces: &BTreeMap<u32, Interface>,
        writer: &mut Writer,
    ) -> Result<Unplaced, Full> {
        let engine = &*self.engine;
        let of = |pod: &PodId| {
            engine.judges(pod).unwrap_or_default().map(|judge| match judge {
                Judge::Open => Wish::Open,
                Judge::Closed => Wish::Closed,
                Judge::Row(row) => Wish::Row(row as usize),
            })
        };
        let wished = begin(state, interfaces, |owner| wishes(owner, of), writer)?;
        let wanted: BTreeSet<Number> = wished.values().flatten().filter_map(row_of).collect();
        let live: BTreeSet<RowKey> = state.rows.keys().into_iter().collect();
        let rows_before = self.link.rows.len();
        self.link.rows.retain(|row, key| wanted.contains(row) && live.contains(key));
        if work.flips.iter().any(|flips| !flips.is_empty()) {
            self.leave_shared_rows(state, &wished);
        }
        let kept: BTreeSet<RowKey> = self.link.rows.values().copied().collect();
        let retired: Vec<RowKey> = live.into_iter().filter(|key| !kept.contains(key)).collect();
        let new: Vec<Number> =
            wanted.into_iter().filter(|row| !self.link.rows.contains_key(row)).collect();
        // Rows of endpoints that went are not among the retired: they are gone already.
        let rows_went = self.link.rows.len() < rows_before;
        // A new row's base verdict may be that of no class.
        self.link.stale += new.len();

        let verdicts = self.verdicts(&work.fresh, &new);
        self.add_port_sets(state, &verdicts, writer)?;
        let ids = self.assign(state, work, &retired, writer)?;
        let numbers: Vec<u32> = ids.fresh.iter().map(|(id, ..)| *id).collect();
        make_room(state, &numbers, writer)?;
        self.write_fresh(state, &verdicts[0], &ids, &retired, writer);
        let keys = self.write_new_rows(state, &verdicts[1], &ids, writer)?;
        let changes = work.flips.each_ref().map(|flips| {
            let change = |it: &Flip| {
                let key = (it.new.class, signature(state, &retired, it.old));
                let id = ids.of.get(&key).copied().unwrap_or_else(|| self.id(it.new.class));
                Change { first: it.first, last: it.last, entry: entry(id, it.new.kind) }
            };
            flips.iter().map(change).collect::<Vec<Change>>()
        });
        state.flip(&joined(&changes), writer)?;
        self.link.rows.extend(keys);
        let of_row: BTreeMap<usize, RowKey> =
            self.link.rows.iter().map(|(row, key)| (*row as usize, *key)).collect();
        let unplaced = flip_endpoints(state, interfaces, &wished, &of_row, writer)?;
        self.clean_up(state, work, &changes, &ids, rows_went || !retired.is_empty(), writer)?;
        Ok(unplaced)
    }

    /// Retires the rows that stay for some endpoints, but not for all: the others must not see an
    /// address's new class in it.
    fn leave_shared_rows(&mut self, state: &State, wished: &BTreeMap<u32, [Wish; 2]>) {
        for (ifindex, wishes) in wished {
            let Some(held) = state.endpoints.get(*ifindex) else { continue };
            for (judged, wish) in held.judged.iter().zip(wishes) {
                let Judged::Row(key) = judged else { continue };
                let stays = row_of(wish).is_some_and(|row| self.link.rows.get(&row) == Some(key));
                if !stays {
                    self.link.rows.retain(|_, kept| kept != key);
                }
            }
        }
    }

    /// The id of a class that has one.
    fn id(&self, class: Number) -> u32 {
        self.link.ids.get(&class).copied().unwrap_or(0)
    }

    /// The verdicts that get cells: of the new classes in rows that stay, and of all classes in new
    /// rows.
    fn verdicts(&mut self, fresh: &[Number], new: &[Number]) -> [Vec<Grants>; 2] {
        let kept: Vec<Number> = self.link.rows.keys().copied().collect();
        let kept = match fresh {
            [] => Vec::new(),
            _ => self.engine.grants(&kept, fresh),
        };
        if new.is_empty() {
            return [kept, Vec::new()];
        }
        let classes: Vec<Number> = self.engine.classes().collect();
        [kept, self.engine.grants(new, &classes)]
    }

    /// Makes the port sets of these verdicts live, and finds the cells of all.
    fn add_port_sets(
        &mut self,
        state: &mut State,
        verdicts: &[Vec<Grants>; 2],
        writer: &mut Writer,
    ) -> Result<(), Full> {
        let mut ids: BTreeSet<VerdictId> = BTreeSet::new();
        for grants in verdicts.iter().flatten() {
            ids.insert(grants.base);
            ids.extend(grants.classes.iter().map(|(_, verdict)| *verdict));
        }
        let sets: BTreeSet<&PortSet> = ids
            .iter()
            .filter_map(|id| match self.engine.known_verdict(*id) {
                Verdict::Ports(set) => Some(set.as_ref()),
                _ => None,
            })
            .collect();
        state.ports.add(&sets, writer)?;
        for id in ids {
            let cell = match self.engine.known_verdict(id) {
                Verdict::Deny => Cell::DENY.0,
                Verdict::Allow => Cell::ALLOW.0,
                Verdict::Ports(set) => state.ports.id(set).unwrap_or(Cell::DENY.0),
            };
            self.cells.insert(id, cell);
        }
        Ok(())
    }

    /// The cell of a verdict whose port set is live.
    fn cell(&self, verdict: VerdictId) -> u32 {
        self.cells.get(&verdict).copied().unwrap_or(Cell::DENY.0)
    }

    /// Chooses an id for each class and each cells of before in retired rows.
    fn assign(
        &mut self,
        state: &mut State,
        work: &Work,
        retired: &[RowKey],
        writer: &mut Writer,
    ) -> Result<Ids, Full> {
        let mut ids = Ids { of: NumberMap::default(), fresh: Vec::new(), detours: BTreeMap::new() };
        let mut wanted: Vec<(Number, Signature)> = Vec::new();
        for it in work.flips.iter().flatten() {
            let key = (it.new.class, signature(state, retired, it.old));
            if wanted.last() != Some(&key) {
                wanted.push(key);
            }
        }
        // Classes without an address of their own have no cells of before.
        wanted.extend(work.fresh.iter().map(|class| (*class, Signature::new())));
        let mut known: NumberMap<Number, Signature> = NumberMap::default();
        let soft = self.soft(state, &wanted);
        for (class, cells) in wanted {
            if ids.of.contains_key(&(class, cells.clone())) {
                continue;
            }
            let has_id = self.link.ids.contains_key(&class);
            if has_id {
                let id = self.id(class);
                let own = known.entry(class).or_insert_with(|| signature(state, retired, id));
                if *own == cells || cells.is_empty() && retired.is_empty() {
                    ids.of.insert((class, cells), id);
                    continue;
                }
                if cells.is_empty() {
                    continue;
                }
            }
            let id = state.ids.take_below(soft, writer)?;
            if has_id {
                ids.detours.insert(id, class);
            } else {
                self.link.ids.insert(class, id);
                known.insert(class, cells.clone());
            }
            ids.of.insert((class, cells.clone()), id);
            ids.fresh.push((id, class, cells));
        }
        Ok(ids)
    }

    /// Small ids keep rows short: a wait for an old id is better than longer rows.
    fn soft(&self, state: &State, wanted: &[(Number, Signature)]) -> u32 {
        let live = u32::try_from(self.link.ids.len() + wanted.len()).unwrap_or(u32::MAX);
        let fair = live.saturating_mul(2).saturating_add(64);
        state.rows.capacity().map_or(fair, |capacity| capacity.min(fair))
    }

    /// The cells of new ids in rows that endpoints have.
    fn write_fresh(
        &self,
        state: &mut State,
        verdicts: &[Grants],
        ids: &Ids,
        retired: &[RowKey],
        writer: &mut Writer,
    ) {
        for grants in verdicts {
            let Some(&key) = self.link.rows.get(&grants.row) else { continue };
            let known: NumberMap<Number, VerdictId> = grants.classes.iter().copied().collect();
            for (id, class, _) in ids.fresh.iter().filter(|it| !ids.detours.contains_key(&it.0)) {
                let verdict = known.get(class).copied().unwrap_or(grants.base);
                state.rows.write(key, *id, self.cell(verdict), writer);
            }
        }
        for (id, class) in &ids.detours {
            let own = self.id(*class);
            for key in self.link.rows.values() {
                let cell = state.rows.get(*key).map_or(0, |row| row.cell(own));
                state.rows.write(*key, *id, cell, writer);
            }
        }
        for (id, _, cells) in &ids.fresh {
            for (key, cell) in retired.iter().zip(cells) {
                state.rows.write(*key, *id, *cell, writer);
            }
        }
    }

    fn write_new_rows(
        &self,
        state: &mut State,
        verdicts: &[Grants],
        ids: &Ids,
        writer: &mut Writer,
    ) -> Result<BTreeMap<Number, RowKey>, Full> {
        let all = self.link.ids.values().chain(ids.detours.keys());
        let length = all.max().map_or(1, |last| *last as usize + 1);
        let mut keys = BTreeMap::new();
        for grants in verdicts {
            let mut cells = vec![self.cell(grants.base); length];
            for (class, verdict) in &grants.classes {
                cells[self.id(*class) as usize] = self.cell(*verdict);
            }
            for (id, class) in &ids.detours {
                cells[*id as usize] = cells[self.id(*class) as usize];
            }
            keys.insert(grants.row, state.rows.add(&cells, writer)?);
        }
        Ok(keys)
    }

    fn clean_up(
        &mut self,
        state: &mut State,
        work: &Work,
        changes: &[Vec<Change>; 2],
        ids: &Ids,
        rows_went: bool,
        writer: &mut Writer,
    ) -> Result<(), Full> {
        drop_unused_rows(state, writer);
        state.endpoints.end_inheritance(writer);
        state.endpoints.wait_for_readers(writer);
        state.rows.wait_for_readers(writer);
        if !ids.detours.is_empty() {
            let changes = changes.each_ref().map(|changes| {
                let on_detour = changes.iter().filter_map(|it| {
                    let class = ids.detours.get(&Entry(it.entry).index())?;
                    let id = self.link.ids.get(class).copied().unwrap_or(0);
                    Some(Change { entry: Entry::class(id, Entry(it.entry).flags()).0, ..*it })
                });
                on_detour.collect::<Vec<Change>>()
            });
            state.flip(&joined(&changes), writer)?;
            ids.detours.keys().for_each(|id| state.ids.free(*id, writer));
        }
        work.strange.iter().for_each(|id| state.ids.free(*id, writer));
        for class in &work.gone {
            if let Some(id) = self.link.ids.remove(class) {
                state.ids.free(id, writer);
            }
        }
        self.link.stale += work.gone.len();
        if rows_went || self.is_worth_a_look() {
            self.link.stale = 0;
            let used = self.port_sets(state);
            state.ports.keep(&used, writer);
        }
        Ok(())
    }

    /// Whether to look for unused port sets although no row went.
    fn is_worth_a_look(&self) -> bool {
        let cells = self.link.rows.len().saturating_mul(self.link.ids.len());
        self.link.stale > if cells <= FEW_CELLS { 0 } else { STALE }
    }

    /// The port sets in cells of ids that addresses have.
    fn port_sets(&self, state: &State) -> BTreeSet<u32> {
        let rows = self.link.rows.values().filter_map(|key| state.rows.get(*key));
        let ids: Vec<u32> = self.link.ids.values().copied().collect();
        let mut is_used: Vec<bool> = Vec::new();
        for cell in rows.flat_map(|row| ids.iter().map(|id| row.cell(*id))) {
            let at = cell as usize;
            if at >= is_used.len() {
                is_used.resize(at + 1, false);
            }
            is_used[at] = true;
        }
        let used =
            (0..).zip(is_used).filter(|(cell, is_used)| *is_used && *cell >= Cell::FIRST_SET);
        used.map(|(cell, _)| cell).collect()
    }
}

/// The row of a wish.
#[expect(clippy::cast_possible_truncation, reason = "the numbers of the engine's rows are u32")]
fn row_of(wish: &Wish) -> Option<Number> {
    if let Wish::Row(row) = wish { Some(*row as Number) } else { None }
}

/// The cells of an id in these rows.
fn signature(state: &State, rows: &[RowKey], id: u32) -> Signature {
    rows.iter().map(|key| state.rows.get(*key).map_or(0, |row| row.cell(id))).collect()
}
