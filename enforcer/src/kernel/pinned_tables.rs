//! The tables that outlive the agent, and the migration of flows from tables of another size.
//!
//! Programs on two hooks can't be replaced at the same time. For a while old and new programs run
//! together, and each must find the flows that the other has written. If the flow tables differ in
//! size, two more sets of programs run in between, which read the old tables and the new ones. The first
//! set writes to the old tables, because the old programs read only these. The second set replaces
//! the first once no old program is left, and writes to the new tables. Then the agent copies the
//! rest of the old tables, and attaches the last set, which reads only the new ones.

use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapInfo};
use enforcer_ebpf::contract::table::{self, Limits};

use super::pins::{self, Pins, PinsError, TablePin};
use super::shared_tables::POLICY;
use super::{KernelError, parts, table_shape};

/// The tables with flows. [`table::OTHER`] has those of the other size, in this order.
const MOVED: [&str; 4] = table::FLOW_TABLES;

/// The tables that do not outlive the agent and that all sets of programs share, besides [`POLICY`].
const SHARED: [&str; 4] = [table::EVENTS, table::BUDGET, table::OVER_SHARE, table::STARTS];

/// The tables that outlive the agent.
pub(super) struct PinnedTables {
    pub(super) folder: PathBuf,
    /// Whether an earlier agent made them.
    pub(super) is_resumed: bool,
    /// The folders with tables of other layouts, whose content is taken over.
    others: Vec<PathBuf>,
    /// The folder where shared tables are pinned while several sets of programs are loaded.
    staging: Option<PathBuf>,
    /// The sets of programs that come before the last one, in reverse order.
    stages: Vec<Ebpf>,
    /// The tables by the path of their pin, to pin them again.
    handles: Vec<(PathBuf, MapData)>,
    /// Whether the flows of other layouts have been copied for the last time.
    pub(super) is_copied: bool,
    /// The parts of each set of programs: of the last one first.
    parts: Vec<parts::Pinned>,
}

impl PinnedTables {
    /// Finds or makes the folder for tables of this layout. Tables of other layouts that have the
    /// same shape are reused.
    pub(super) fn prepare(pins: &Pins, limits: &Limits) -> Result<Self, KernelError> {
        let folder = pins.tables(limits);
        if folder.exists() && !table_shape::fit(&folder, limits)? {
            rename_stale(&folder)?;
        }
        let is_resumed = folder.exists();
        pins::make(&folder)?;
        let mut others = pins.other_tables(&folder)?;
        let [owners, ..] = table_shape::pinned(limits);
        // Without the owners of its ids, the content of another layout has no meaning.
        others.retain(|other| owners.has_entries_in(other));
        for other in &others {
            for shape in table_shape::pinned(limits) {
                let pin = folder.join(shape.name);
                if !pin.exists() && shape.fits_in(other) {
                    share(shape.name, &other.join(shape.name), pin)?;
                }
            }
        }
        let staging = if others.is_empty() { None } else { Some(pins.staging()?) };
        Ok(Self {
            folder,
            is_resumed,
            others,
            staging,
            stages: Vec::new(),
            handles: Vec::new(),
            is_copied: false,
            parts: Vec::new(),
        })
    }

    /// Keeps the tables of this layout open, now that all are pinned, and pins the parts of the last set of
    /// programs.
    pub(super) fn hold(&mut self, limits: &Limits, last: &Ebpf) -> Result<(), KernelError> {
        let open = |name: &'static str| {
            let path = self.folder.join(name);
            let map = MapData::from_pin(&path).map_err(KernelError::table(name))?;
            Ok::<_, KernelError>((path, map))
        };
        self.handles = table_shape::pinned(limits)
            .map(|it| open(it.name))
            .into_iter()
            .collect::<Result<_, _>>()?;
        self.parts.push(parts::keep(last, self.root()?)?);
        Ok(())
    }

    /// Pins the tables again whose pins are gone; returns whether there were any.
    pub(super) fn restore(&self) -> Result<bool, KernelError> {
        let all = self.handles.iter().chain(&self.parts);
        let mut missing = all.filter(|(path, _)| !path.exists()).peekable();
        if missing.peek().is_none() {
            return Ok(false);
        }
        pins::make(&self.folder)?;
        for (path, map) in missing {
            map.pin(path).map_err(|source| KernelError::Pin { path: path.clone(), source })?;
        }
        Ok(true)
    }

    /// The pins of the last set's tables.
    pub(super) fn pins(&self, limits: &Limits) -> Vec<TablePin> {
        let pinned = table_shape::pinned(limits).map(|it| (it.name, self.folder.join(it.name)));
        let names = || POLICY.into_iter().chain(SHARED);
        let shared = self.staging.iter().flat_map(|folder| names().map(|it| (it, folder.join(it))));
        pinned.into_iter().chain(shared).collect()
    }

    /// The secret of the flows' hash that the earlier agent's tables have.
    pub(super) fn secret(&self) -> Result<Option<u64>, KernelError> {
        let pin = self.folder.join(table::FLOW_SECRET);
        if !pin.exists() {
            return Ok(None);
        }
        let failed = KernelError::table(table::FLOW_SECRET);
        let map = Map::from_map_data(MapData::from_pin(pin).map_err(failed)?).map_err(failed)?;
        let secret = Array::<_, u64>::try_from(map).map_err(failed)?.get(&0, 0).map_err(failed)?;
        Ok(Some(secret).filter(|it| *it != 0))
    }

    /// Loads the sets of programs that come before the last one, if the flow tables differ.
    pub(super) fn load_stages(
        &mut self,
        limits: &Limits,
        load: impl Fn(&[TablePin], Groups) -> Result<Ebpf, KernelError>,
    ) -> Result<(), KernelError> {
        let Some(staging) = self.staging.clone() else { return Ok(()) };
        // There are several only if agents of two other layouts were killed during a migration. The
        // attached programs may use any of them; the content of all is copied.
        if let Some(other) = self.others.first().cloned() {
            let flows = table_shape::pinned(limits).into_iter();
            let flows = flows.filter(|it| MOVED.contains(&it.name));
            let same = flows.clone().all(|it| it.is_same_table(&other, &self.folder));
            if !same && flows.clone().all(|it| it.has_entries_in(&other)) {
                let mut base = self.pins(limits);
                base.retain(|(name, _)| !MOVED.contains(name));
                // The pins for programs that write to `to` and also read `from`.
                let between = |to: &Path, from: &Path| {
                    let own = MOVED.map(|name| (name, to.join(name)));
                    let others = table::OTHER.into_iter().zip(MOVED);
                    let others = others.map(|(other, name)| (other, from.join(name)));
                    base.iter().cloned().chain(own).chain(others).collect::<Vec<_>>()
                };
                let (ours, theirs) = (groups(&self.folder)?, groups(&other)?);
                let pins = between(&self.folder, &other);
                let second = load(&pins, Groups { own: ours, other: Some(theirs) })?;
                let pins = between(&other, &self.folder);
                let first = load(&pins, Groups { own: theirs, other: Some(ours) })?;
                for set in [&second, &first] {
                    let kept = parts::keep(set, self.root()?)?;
                    self.parts.push(kept);
                }
                self.stages = vec![second, first];
            }
        }
        self.staging = None;
        Ok(pins::remove_tree(&staging)?)
    }

    /// The set of programs to attach now, if it is not the last.
    pub(super) fn stage(&mut self) -> Option<&mut Ebpf> {
        self.stages.last_mut()
    }

    /// Drops the present set of programs, if it is not the last; returns whether it did.
    pub(super) fn end_stage(&mut self) -> bool {
        self.stages.pop().is_some()
    }

    /// Forgets the parts of all sets but the last one, and those of earlier agents: no hook has a program of
    /// these any more.
    pub(super) fn drop_other_parts(&mut self) -> Result<(), KernelError> {
        self.parts.truncate(1);
        Ok(parts::drop_others(self.root()?, &self.parts)?)
    }

    /// The folder of pins.
    fn root(&self) -> Result<&Path, PinsError> {
        self.folder.parent().ok_or_else(|| PinsError::NotBpf { path: self.folder.clone() })
    }

    /// The folders with tables of other layouts.
    pub(super) fn others(&self) -> &[PathBuf] {
        &self.others
    }

    pub(super) fn forget_others(&mut self) {
        self.others.clear();
    }
}

/// The numbers of groups of the flow tables: the programs' own, and those of another size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Groups {
    pub(super) own: u32,
    pub(super) other: Option<u32>,
}

fn groups(folder: &Path) -> Result<u32, KernelError> {
    let info = MapInfo::from_pin(folder.join(table::FLOW_TAGS4));
    info.map(|it| it.max_entries()).map_err(KernelError::table(table::FLOW_TAGS4))
}

/// Renames a folder that has this layout's name but tables of other shapes, from another build.
/// Their content is taken over like that of any other layout.
fn rename_stale(folder: &Path) -> Result<(), KernelError> {
    let stale = folder.with_file_name(pins::name(folder).to_owned() + "-other");
    if stale.exists() {
        pins::remove_tree(&stale)?;
    }
    let failed = |source| KernelError::Rename { path: folder.to_owned(), source };
    std::fs::rename(folder, &stale).map_err(failed)
}

/// Pins a table at a second path.
fn share(name: &'static str, from: &Path, to: PathBuf) -> Result<(), KernelError> {
    let map = MapData::from_pin(from).map_err(KernelError::table(name))?;
    map.pin(&to).map_err(|source| KernelError::Pin { path: to, source })
}
