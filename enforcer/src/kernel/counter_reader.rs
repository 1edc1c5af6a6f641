//! The programs' counters, for any thread.

use std::os::fd::AsFd as _;

use aya::Ebpf;
use aya::maps::{Map, MapData, PerCpuArray};
use enforcer_ebpf::contract::counters::Counters;
use enforcer_ebpf::contract::event::Budget;
use enforcer_ebpf::contract::table;

use super::KernelError;

/// Reads the programs' counters, beside the thread that writes the tables.
pub struct CounterReader {
    counters: PerCpuArray<MapData, Counters>,
    budget: PerCpuArray<MapData, Budget>,
}

impl CounterReader {
    /// Opens the tables a second time.
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self, KernelError> {
        let counters = second(ebpf, table::COUNTERS)?;
        let budget = second(ebpf, table::BUDGET)?;
        Ok(Self {
            counters: counters.try_into().map_err(KernelError::table(table::COUNTERS))?,
            budget: budget.try_into().map_err(KernelError::table(table::BUDGET))?,
        })
    }

    /// The counters of an endpoint, summed over the CPUs.
    ///
    /// # Errors
    /// There is no such endpoint id.
    pub fn counters(&self, id: u32) -> Result<Counters, KernelError> {
        let values = self.counters.get(&id, 0).map_err(KernelError::table(table::COUNTERS))?;
        Ok(values.iter().fold(Counters::default(), Counters::plus))
    }

    /// The number of drop events of an endpoint id, its earlier owners' included, that were not sent since
    /// the programs were loaded.
    ///
    /// # Errors
    /// There is no such endpoint id.
    pub fn lost_events(&self, id: u32) -> Result<u64, KernelError> {
        let values = self.budget.get(&id, 0).map_err(KernelError::table(table::BUDGET))?;
        Ok(values.iter().map(|budget| u64::from(budget.lost)).sum())
    }
}

/// A table through another descriptor.
fn second(ebpf: &Ebpf, name: &'static str) -> Result<Map, KernelError> {
    let Some(Map::PerCpuArray(map)) = ebpf.map(name) else {
        return Err(KernelError::NoTable(name));
    };
    let descriptor = map.fd().as_fd().try_clone_to_owned();
    let descriptor = descriptor.map_err(KernelError::table_call(name, "dup"))?;
    MapData::from_fd(descriptor).map(Map::PerCpuArray).map_err(KernelError::table(name))
}
