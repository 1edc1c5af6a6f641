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

use std::collections::{BTreeMap, BTreeSet, HashMap};

use enforcer_ebpf::contract::entry::{Cell, Entry};

use super::change::Change;
use super::desired::{Desired, Interface};
use super::goal::{Wish, wishes};
use super::plan::{Plan, report_unplaced};
use super::regions::Regions;
use super::rows::RowKey;
use super::shortage::Full;
use super::state::State;
use super::transition::{Unplaced, begin, drop_unused_rows, flip_endpoints, make_room};
use super::writer::Writer;
use crate::model::PodId;
use crate::policy::{Delta, Engine, Kind, Move, Number, PortSet, Target, Verdict, VerdictId};

/// What the kernel has of an engine's result.
#[derive(Debug, Clone, Default)]
pub(super) struct Link {
    version: u64,
    /// By class: its id.
    ids: HashMap<Number, u32>,
    /// The places of rows.
    rows: BTreeMap<Number, RowKey>,
    /// Classes that went since port sets were last looked through.
    stale: usize,
}

/// Classes that may go before unused port sets are looked for.
const STALE: usize = 256;

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
        let mut follower = Follower { link, engine, cells: HashMap::new() };
        if let Ok(unplaced) = follower.advance(&mut next, &work, interfaces, &mut writer) {
            next.epoch = writer.epoch;
            next.link = Some(Link { version: delta.version, ..follower.link });
            *self = next;
            let mut plan = Plan { steps: writer.steps, ..Plan::default() };
            report_unplaced(self, interfaces, &unplaced, &mut plan);
            return plan;
        }
        // A table is too small.
        self.plan(&Desired { compiled: engine.compiled(), interfaces: interfaces.clone() })
    }
}

/// Addresses that get another entry.
struct Flip {
    first: u128,
    last: u128,
    /// The id that they have.
    old: u32,
    new: Target,
}

/// What is to be done.
struct Work {
    flips: [Vec<Flip>; 2],
    /// Classes without an id.
    fresh: Vec<Number>,
    /// Classes that went.
    gone: Vec<Number>,
    /// Ids that are no class's.
    strange: Vec<u32>,
}

impl Work {
    /// The difference between two results.
    fn of(link: &Link, delta: &Delta) -> Self {
        let flip = |it: &Move| {
            let old = link.ids.get(&it.old.class).copied().unwrap_or(0);
            Flip { first: it.first, last: it.last, old, new: it.new }
        };
        Self {
            flips: delta.moves.each_ref().map(|moves| moves.iter().map(flip).collect()),
            fresh: delta.fresh_classes.clone(),
            gone: delta.gone_classes.clone(),
            strange: Vec::new(),
        }
    }

    /// Everything: the kernel has something else, or nothing yet.
    fn all(state: &State, engine: &Engine) -> Self {
        let now = state.maps();
        let mut strange: BTreeSet<u32> = BTreeSet::new();
        let flips = [0, 1].map(|family: usize| {
            let mut wanted = Regions::uniform(NOWHERE);
            for (first, target) in engine.points(family) {
                wanted.push(first, target);
            }
            let mut flips = Vec::new();
            now[family].zip(&wanted, |first, last, entry, new| {
                let old = Entry(entry).index();
                strange.insert(old);
                flips.push(Flip { first, last, old, new });
            });
            flips
        });
        let fresh = engine.classes().collect();
        Self { flips, fresh, gone: Vec::new(), strange: strange.into_iter().collect() }
    }
}

/// What an engine without anything has for each address.
const NOWHERE: Target = Target { class: 0, kind: Kind(0) };

struct Follower<'e> {
    link: Link,
    engine: &'e mut Engine,
    /// The cells of verdicts.
    cells: HashMap<VerdictId, u32>,
}

/// A verdict for each of some classes.
type Verdicts = Vec<(Number, VerdictId)>;

/// The cells of an id in the retired rows.
type Signature = Vec<u32>;

/// The ids that addresses are flipped to.
struct Ids {
    of: HashMap<(Number, Signature), u32>,
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
        let of = |pod: &PodId| match engine.rows_of(pod) {
            None => [Wish::Open; 2],
            Some(rows) => rows.map(|row| row.map_or(Wish::Open, |row| Wish::Row(row as usize))),
        };
        let wished = begin(state, interfaces, |owner| wishes(owner, of), writer)?;
        let wanted: BTreeSet<Number> = wished.values().flatten().filter_map(row_of).collect();
        let live: BTreeSet<RowKey> = state.rows.keys().into_iter().collect();
        self.link.rows.retain(|row, key| wanted.contains(row) && live.contains(key));
        let kept: BTreeSet<RowKey> = self.link.rows.values().copied().collect();
        let retired: Vec<RowKey> = live.into_iter().filter(|key| !kept.contains(key)).collect();
        let new: Vec<Number> =
            wanted.into_iter().filter(|row| !self.link.rows.contains_key(row)).collect();

        let verdicts = self.verdicts(&work.fresh, &new);
        self.add_port_sets(state, &verdicts, writer)?;
        let ids = self.assign(state, work, &retired, writer)?;
        let numbers: Vec<u32> = ids.fresh.iter().map(|(id, ..)| *id).collect();
        make_room(state, &numbers, writer)?;
        self.write_fresh(state, &ids, &retired, writer);
        let keys = self.write_new_rows(state, &verdicts[1..], &new, &ids, writer)?;
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
        self.clean_up(state, work, &changes, &ids, !retired.is_empty(), writer)?;
        Ok(unplaced)
    }

    /// The id of a class that has one.
    fn id(&self, class: Number) -> u32 {
        self.link.ids.get(&class).copied().unwrap_or(0)
    }

    /// The verdicts that get cells: first of the new classes in rows that stay, then of all classes
    /// in each new row.
    fn verdicts(&mut self, fresh: &[Number], new: &[Number]) -> Vec<Vec<(Number, Verdicts)>> {
        let kept: Vec<Number> = self.link.rows.keys().copied().collect();
        let classes: Vec<Number> = self.engine.classes().collect();
        let engine = &mut *self.engine;
        let mut of = |rows: &[Number], classes: &[Number]| {
            let mut of_row = |row: Number| -> Verdicts {
                classes.iter().map(|class| (*class, engine.verdict(row, *class))).collect()
            };
            rows.iter().map(|row| (*row, of_row(*row))).collect::<Vec<_>>()
        };
        vec![of(&kept, fresh), of(new, &classes)]
    }

    /// Makes the port sets of these verdicts live, and finds the cells of all.
    fn add_port_sets(
        &mut self,
        state: &mut State,
        verdicts: &[Vec<(Number, Verdicts)>],
        writer: &mut Writer,
    ) -> Result<(), Full> {
        let all = verdicts.iter().flatten().flat_map(|(_, verdicts)| verdicts);
        let ids: BTreeSet<VerdictId> = all.map(|(_, verdict)| *verdict).collect();
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

    /// The cell of a class in a row. The port sets of both are live.
    fn cell(&mut self, row: Number, class: Number) -> u32 {
        let verdict = self.engine.verdict(row, class);
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
        let mut ids = Ids { of: HashMap::new(), fresh: Vec::new(), detours: BTreeMap::new() };
        let mut wanted: Vec<(Number, Signature)> = Vec::new();
        for it in work.flips.iter().flatten() {
            let key = (it.new.class, signature(state, retired, it.old));
            if wanted.last() != Some(&key) {
                wanted.push(key);
            }
        }
        // Classes without an address of their own have no cells of before.
        wanted.extend(work.fresh.iter().map(|class| (*class, Signature::new())));
        let mut known: HashMap<Number, Signature> = HashMap::new();
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
        &mut self,
        state: &mut State,
        ids: &Ids,
        retired: &[RowKey],
        writer: &mut Writer,
    ) {
        let kept: Vec<(Number, RowKey)> = self.link.rows.iter().map(|it| (*it.0, *it.1)).collect();
        for (id, class, cells) in &ids.fresh {
            // The class of a detour has its cells already: its own id comes first.
            let own = ids.detours.get(id).map(|class| self.id(*class));
            for &(row, key) in &kept {
                let cell = match own {
                    Some(own) => state.rows.get(key).map_or(0, |row| row.cell(own)),
                    None => self.cell(row, *class),
                };
                state.rows.write(key, *id, cell, writer);
            }
            for (key, cell) in retired.iter().zip(cells) {
                state.rows.write(*key, *id, *cell, writer);
            }
        }
    }

    fn write_new_rows(
        &mut self,
        state: &mut State,
        verdicts: &[Vec<(Number, Verdicts)>],
        new: &[Number],
        ids: &Ids,
        writer: &mut Writer,
    ) -> Result<BTreeMap<Number, RowKey>, Full> {
        let all = self.link.ids.values().chain(ids.detours.keys());
        let length = all.max().map_or(1, |last| *last as usize + 1);
        let mut keys = BTreeMap::new();
        debug_assert_eq!(verdicts.iter().flatten().count(), new.len());
        for (row, verdicts) in verdicts.iter().flatten() {
            let mut cells = vec![Cell::DENY.0; length];
            for (class, verdict) in verdicts {
                let cell = self.cells.get(verdict).copied().unwrap_or(Cell::DENY.0);
                cells[self.id(*class) as usize] = cell;
            }
            for (id, class) in &ids.detours {
                cells[*id as usize] = cells[self.id(*class) as usize];
            }
            keys.insert(*row, state.rows.add(&cells, writer)?);
        }
        Ok(keys)
    }

    fn clean_up(
        &mut self,
        state: &mut State,
        work: &Work,
        changes: &[Vec<Change>; 2],
        ids: &Ids,
        retired: bool,
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
        if retired || self.link.stale > STALE {
            self.link.stale = 0;
            let used = self.port_sets(state);
            state.ports.keep(&used, writer);
        }
        Ok(())
    }

    /// The port sets in cells of ids that addresses have.
    fn port_sets(&self, state: &State) -> BTreeSet<u32> {
        let mut sets = BTreeSet::new();
        let rows = self.link.rows.values().filter_map(|key| state.rows.get(*key));
        let ids: Vec<u32> = self.link.ids.values().copied().collect();
        for row in rows {
            let cells = ids.iter().map(|id| row.cell(*id));
            let cells: HashMap<u32, ()> =
                cells.filter(|cell| *cell >= Cell::FIRST_SET).map(|cell| (cell, ())).collect();
            sets.extend(cells.into_keys());
        }
        sets
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

/// The entry of an address.
fn entry(id: u32, kind: Kind) -> u32 {
    let flags = [
        (Kind::NODE, Entry::NODE),
        (Kind::SERVICE, Entry::SERVICE),
        (Kind::EXTERNAL, Entry::EXTERNAL),
    ];
    let flags = flags.into_iter().filter(|(it, _)| kind.has(*it)).fold(0, |all, it| all | it.1);
    Entry::class(id, flags).0
}

/// The changes, with neighbours that are alike as one.
fn joined(changes: &[Vec<Change>; 2]) -> [Vec<Change>; 2] {
    changes.each_ref().map(|changes| {
        let mut joined: Vec<Change> = Vec::with_capacity(changes.len());
        for change in changes {
            match joined.last_mut() {
                Some(last)
                    if last.entry == change.entry
                        && last.last.checked_add(1) == Some(change.first) =>
                {
                    last.last = change.last;
                }
                _ => joined.push(*change),
            }
        }
        joined
    })
}
