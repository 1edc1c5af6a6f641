//! The tables that outlive the agent, and what they must look like to be used again: nobody else
//! compares that.

use std::path::Path;

use aya::maps::{MapInfo, MapType};
use enforcer_ebpf::contract::client::Clients;
use enforcer_ebpf::contract::counters::Counters;
use enforcer_ebpf::contract::counters::FlowCounts;
use enforcer_ebpf::contract::flow::{Flow4, Flow6, FlowState};
use enforcer_ebpf::contract::fragment::{Fragment4, Fragment6, FragmentState};
use enforcer_ebpf::contract::owner::OwnerRecord;
use enforcer_ebpf::contract::table::{self, FRAGMENTS, Limits};

use super::KernelError;

/// A table's shape.
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

    /// Whether a table looks like this.
    pub(super) fn fits(&self, info: &MapInfo) -> bool {
        info.map_type().is_ok_and(|kind| kind == self.kind)
            && self.holds_the_same(info)
            && info.max_entries() == self.entries
    }

    /// Whether a table's entries are of this shape, however many there are.
    pub(super) fn holds_the_same(&self, info: &MapInfo) -> bool {
        (info.key_size() as usize, info.value_size() as usize) == (self.key, self.value)
    }

    /// Whether two folders have one and the same table.
    pub(super) fn is_the_same_in(&self, folder: &Path, other: &Path) -> bool {
        let id = |folder: &Path| MapInfo::from_pin(folder.join(self.name)).map(|it| it.id()).ok();
        id(folder).is_some() && id(folder) == id(other)
    }

    /// Whether the table in `folder` can be used as it is.
    pub(super) fn fits_in(&self, folder: &Path) -> bool {
        MapInfo::from_pin(folder.join(self.name)).is_ok_and(|info| self.fits(&info))
    }

    /// Whether the table in `folder` holds the same.
    pub(super) fn is_held_in(&self, folder: &Path) -> bool {
        MapInfo::from_pin(folder.join(self.name)).is_ok_and(|info| self.holds_the_same(&info))
    }
}

/// The tables that outlive the agent.
pub(super) fn kept(limits: &Limits) -> [Shape; 10] {
    let Limits { flows, opening_flows, endpoints, .. } = *limits;
    [
        Shape::new::<u32, OwnerRecord>(table::OWNERS, MapType::Hash, endpoints),
        Shape::new::<Flow4, FlowState>(table::FLOWS4, MapType::Hash, flows),
        Shape::new::<Flow6, FlowState>(table::FLOWS6, MapType::Hash, flows),
        Shape::new::<Flow4, FlowState>(table::OPENING4, MapType::LruHash, opening_flows),
        Shape::new::<Flow6, FlowState>(table::OPENING6, MapType::LruHash, opening_flows),
        Shape::new::<u32, FlowCounts>(table::FLOW_COUNTS, MapType::PerCpuArray, 2),
        Shape::new::<Fragment4, FragmentState>(table::FRAGMENTS4, MapType::LruHash, FRAGMENTS),
        Shape::new::<Fragment6, FragmentState>(table::FRAGMENTS6, MapType::LruHash, FRAGMENTS),
        Shape::new::<u32, Counters>(table::COUNTERS, MapType::PerCpuArray, endpoints),
        Shape::new::<u32, Clients>(table::CLIENTS, MapType::PerCpuArray, 1),
    ]
}

/// Whether all that is pinned in `folder` can be used again.
///
/// # Errors
/// The kernel refuses to say.
pub(super) fn fit(folder: &Path, limits: &Limits) -> Result<bool, KernelError> {
    for shape in kept(limits) {
        let pin = folder.join(shape.name);
        if !pin.exists() {
            continue;
        }
        let info = MapInfo::from_pin(&pin)
            .map_err(|source| KernelError::Table { name: shape.name, source })?;
        if !shape.fits(&info) {
            return Ok(false);
        }
    }
    Ok(true)
}
