//! The shapes of the tables that outlive the agent. A pinned table is reused only if it has the
//! expected shape; nothing else compares the two.

use std::path::Path;

use aya::maps::{MapInfo, MapType};
use enforcer_ebpf::contract::client::Clients;
use enforcer_ebpf::contract::counters::{Counters, FlowCounts};
use enforcer_ebpf::contract::flow_table::{Group4, Group6, groups_for};
use enforcer_ebpf::contract::fragment::{Fragment4, Fragment6, FragmentState};
use enforcer_ebpf::contract::owner::OwnerRecord;
use enforcer_ebpf::contract::table::{self, FRAGMENTS, Limits};

use super::KernelError;

/// A table's name, kind and sizes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    kind: MapType,
    key: usize,
    value: usize,
    entries: u32,
}

impl Shape {
    const fn new<K, V>(name: &'static str, kind: MapType, entries: u32) -> Self {
        Self { name, kind, key: size_of::<K>(), value: size_of::<V>(), entries }
    }

    /// Whether a table has this shape.
    pub(super) fn fits(&self, info: &MapInfo) -> bool {
        info.map_type().is_ok_and(|kind| kind == self.kind)
            && self.has_same_entries(info)
            && info.max_entries() == self.entries
    }

    /// Whether a table's entries have this shape, whatever their number.
    pub(super) fn has_same_entries(&self, info: &MapInfo) -> bool {
        (info.key_size() as usize, info.value_size() as usize) == (self.key, self.value)
    }

    /// Whether the pins in two folders are the same table.
    pub(super) fn is_same_table(&self, folder: &Path, other: &Path) -> bool {
        let id = |folder: &Path| MapInfo::from_pin(folder.join(self.name)).map(|it| it.id()).ok();
        id(folder).is_some() && id(folder) == id(other)
    }

    /// Whether the table in `folder` has this shape.
    pub(super) fn fits_in(&self, folder: &Path) -> bool {
        MapInfo::from_pin(folder.join(self.name)).is_ok_and(|info| self.fits(&info))
    }

    /// Whether the table in `folder` has entries of this shape.
    pub(super) fn has_entries_in(&self, folder: &Path) -> bool {
        MapInfo::from_pin(folder.join(self.name)).is_ok_and(|info| self.has_same_entries(&info))
    }
}

/// The tables that outlive the agent.
pub(super) fn pinned(limits: &Limits) -> [Shape; 11] {
    let Limits { flows, endpoints, .. } = *limits;
    let groups = groups_for(flows);
    [
        Shape::new::<u32, OwnerRecord>(table::OWNERS, MapType::Hash, endpoints),
        Shape::new::<u32, u64>(table::FLOW_TAGS4, MapType::Array, groups),
        Shape::new::<u32, u64>(table::FLOW_TAGS6, MapType::Array, groups),
        Shape::new::<u32, Group4>(table::FLOW_ENTRIES4, MapType::Array, groups),
        Shape::new::<u32, Group6>(table::FLOW_ENTRIES6, MapType::Array, groups),
        Shape::new::<u32, u64>(table::FLOW_SECRET, MapType::Array, 1),
        Shape::new::<u32, FlowCounts>(table::FLOW_COUNTS, MapType::PerCpuArray, 2),
        Shape::new::<Fragment4, FragmentState>(table::FRAGMENTS4, MapType::LruHash, FRAGMENTS),
        Shape::new::<Fragment6, FragmentState>(table::FRAGMENTS6, MapType::LruHash, FRAGMENTS),
        Shape::new::<u32, Counters>(table::COUNTERS, MapType::PerCpuArray, endpoints),
        Shape::new::<u32, Clients>(table::CLIENTS, MapType::PerCpuArray, 1),
    ]
}

/// Whether every table that is pinned in `folder` can be reused.
///
/// # Errors
/// The kernel does not describe a table.
pub(super) fn fit(folder: &Path, limits: &Limits) -> Result<bool, KernelError> {
    for shape in pinned(limits) {
        let pin = folder.join(shape.name);
        if !pin.exists() {
            continue;
        }
        let info = MapInfo::from_pin(&pin).map_err(KernelError::table(shape.name))?;
        if !shape.fits(&info) {
            return Ok(false);
        }
    }
    Ok(true)
}
