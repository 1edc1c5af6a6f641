//! Where the tables are that outlive the agent, and the programs that lead from tables of another
//! layout to those of this one.
//!
//! Programs on two hooks can't be replaced at once, so for a while some of the old and some of the
//! new are there, and a flow that one has written another must find. Where the flow tables
//! themselves are others, two more sets of programs come in between, each of which looks into the
//! old tables and the new: the first writes to the old ones, which is all that the old programs
//! read; the second, once all of these are gone, to the new ones. Then what is in the old tables
//! only is copied, and the last set never looks at them.

use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::MapData;
use enforcer_ebpf::contract::table::{self, Limits};

use super::load::Pin;
use super::pins::{self, Pins};
use super::{KernelError, shape};

/// The tables that flows are moved between, as [`table::OTHER`] has their counterparts.
const MOVED: [&str; 4] = [table::FLOWS4, table::FLOWS6, table::OPENING4, table::OPENING6];

/// The tables that all sets of programs share besides those that outlive the agent.
const SHARED: [&str; 12] = [
    table::TRIE4,
    table::TRIE6_NODES,
    table::TRIE6_LEAVES,
    table::PORTS,
    table::PORT_SETS,
    table::VERDICTS,
    table::INTERFACES,
    table::ENDPOINTS,
    table::SENDERS,
    table::EXTRA_ADDRESSES,
    table::EVENTS,
    table::BUDGET,
];

/// The tables that outlive the agent.
pub(super) struct Kept {
    pub(super) folder: PathBuf,
    /// Whether an earlier agent has made them.
    pub(super) is_resumed: bool,
    /// Tables of other layouts, whose contents are taken over.
    others: Vec<PathBuf>,
    /// Where shared tables are pinned while there are several sets of programs.
    staging: Option<PathBuf>,
    /// The sets that are still to be used, the next one last.
    stages: Vec<Ebpf>,
}

impl Kept {
    /// Finds or makes the place for tables of this layout. Tables of others that look the same are
    /// used as they are.
    pub(super) fn prepare(pins: &Pins, limits: &Limits) -> Result<Self, KernelError> {
        let folder = pins.tables(limits);
        if folder.exists() && !shape::fit(&folder, limits)? {
            put_aside(&folder)?;
        }
        let is_resumed = folder.exists();
        pins::make(&folder)?;
        let mut others = pins.other_tables(&folder)?;
        let [owners, ..] = shape::kept(limits);
        // Without its ids, nothing that another layout holds means anything.
        others.retain(|other| owners.is_held_in(other));
        for other in &others {
            for shape in shape::kept(limits) {
                let pin = folder.join(shape.name);
                if !pin.exists() && shape.fits_in(other) {
                    share(shape.name, &other.join(shape.name), pin)?;
                }
            }
        }
        let staging = if others.is_empty() { None } else { Some(pins.staging()?) };
        Ok(Self { folder, is_resumed, others, staging, stages: Vec::new() })
    }

    /// Where the tables of the last set are.
    pub(super) fn pins(&self, limits: &Limits) -> Vec<Pin> {
        let kept = shape::kept(limits);
        let kept = kept.iter().map(|shape| (shape.name, self.folder.join(shape.name)));
        let shared = self.staging.iter().flat_map(|folder| SHARED.map(|it| (it, folder.join(it))));
        kept.chain(shared).collect()
    }

    /// Loads the sets that come before the last, if flow tables are others.
    pub(super) fn load_stages(
        &mut self,
        limits: &Limits,
        load: impl Fn(&[Pin]) -> Result<Ebpf, KernelError>,
    ) -> Result<(), KernelError> {
        let Some(staging) = self.staging.take() else { return Ok(()) };
        // More than one means that agents of two other layouts were killed on the way: which of them
        // the programs use is not known, and what is in the others is copied all the same.
        if let Some(other) = self.others.first().cloned() {
            let moved = shape::kept(limits).into_iter().filter(|it| MOVED.contains(&it.name));
            let same = moved.clone().all(|it| it.is_the_same_in(&other, &self.folder));
            if !same && moved.clone().all(|it| it.is_held_in(&other)) {
                let pins = self.pins(limits);
                let base = || {
                    let all = pins.iter().cloned();
                    let kept = all.filter(|(name, _)| !MOVED.contains(name));
                    kept.chain(SHARED.map(|name| (name, staging.join(name))))
                };
                let between = |from: &Path, to: &Path| {
                    let own = MOVED.map(|name| (name, from.join(name)));
                    let twins = table::OTHER.into_iter().zip(MOVED);
                    let twins = twins.map(|(twin, name)| (twin, to.join(name)));
                    base().chain(own).chain(twins).collect::<Vec<Pin>>()
                };
                let last = load(&between(&self.folder, &other))?;
                let first = load(&between(&other, &self.folder))?;
                self.stages = vec![last, first];
            }
        }
        Ok(pins::remove_tree(&staging)?)
    }

    /// The set that hooks get now, if it is not the last.
    pub(super) fn stage(&mut self) -> Option<&mut Ebpf> {
        self.stages.last_mut()
    }

    /// Ends the present set, if it is not the last.
    pub(super) fn end_stage(&mut self) -> bool {
        self.stages.pop().is_some()
    }

    /// Tables of other layouts.
    pub(super) fn others(&self) -> &[PathBuf] {
        &self.others
    }

    pub(super) fn forget_others(&mut self) {
        self.others.clear();
    }
}

/// Makes place for tables whose folder has tables of other shapes: another build's, whose contents
/// are taken over like any other's.
fn put_aside(folder: &Path) -> Result<(), KernelError> {
    let aside = folder.with_file_name(pins::name(folder).to_owned() + "-other");
    if aside.exists() {
        pins::remove_tree(&aside)?;
    }
    let failed = |source| KernelError::Rename { path: folder.to_owned(), source };
    std::fs::rename(folder, &aside).map_err(failed)
}

/// Pins a table a second time.
fn share(name: &'static str, from: &Path, to: PathBuf) -> Result<(), KernelError> {
    let map = MapData::from_pin(from).map_err(|source| KernelError::Table { name, source })?;
    map.pin(&to).map_err(|source| KernelError::Pin { path: to, source })
}
