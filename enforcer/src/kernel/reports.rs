//! What the programs report: counters, drop events, log messages.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use aya::Ebpf;
use aya::maps::{Map, MapData, PerCpuArray, RingBuf};
use aya_log::EbpfLogger;
use enforcer_ebpf::contract::counters::Counters;
use enforcer_ebpf::contract::event::{Budget, Event};
use enforcer_ebpf::contract::table;

use super::{FlowTables, Kernel, KernelError};

/// The ring buffer of drop events. It never wakes its reader, which has to poll it.
pub struct DropReader(RingBuf<MapData>);

impl DropReader {
    /// Removes and returns the oldest event.
    pub fn take(&mut self) -> Option<Event> {
        loop {
            let item = self.0.next()?;
            // A record of another size is another version's: it is skipped.
            if let Ok(event) = bytemuck::try_pod_read_unaligned(&item) {
                return Some(event);
            }
        }
    }
}

/// The programs' log, which goes to the agent's log.
pub struct ProgramLog(EbpfLogger<&'static dyn log::Log>);

impl ProgramLog {
    /// Forwards the messages since the last call.
    pub fn flush(&mut self) {
        self.0.flush();
    }
}

impl Kernel {
    /// The programs' log; only the first call returns it.
    ///
    /// # Errors
    /// It was taken before, or the object lacks it.
    pub fn take_log(&mut self) -> Result<ProgramLog, KernelError> {
        EbpfLogger::init(&mut self.ebpf)
            .map(ProgramLog)
            .map_err(|_| KernelError::NoTable("AYA_LOGS"))
    }

    /// The ring buffer of drop events; only the first call returns it.
    ///
    /// # Errors
    /// It was taken before, or the object lacks it.
    pub fn take_drops(&mut self) -> Result<DropReader, KernelError> {
        let map = self.ebpf.take_map(table::EVENTS).and_then(|map| RingBuf::try_from(map).ok());
        map.map(DropReader).ok_or(KernelError::NoTable(table::EVENTS))
    }

    /// The counters of an endpoint, summed over the CPUs.
    ///
    /// # Errors
    /// There is no such endpoint id.
    pub fn counters(&self, id: u32) -> Result<Counters, KernelError> {
        self.counter_reader.counters(id)
    }

    /// The counters, to be read from any thread.
    #[must_use]
    pub fn counter_reader(&self) -> Arc<CounterReader> {
        Arc::clone(&self.counter_reader)
    }

    /// The flow tables.
    #[must_use]
    pub fn flows(&self) -> Arc<FlowTables> {
        Arc::clone(&self.flows)
    }
}

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

    /// The number of drop events that were not sent since the programs were loaded.
    ///
    /// # Errors
    /// The table can't be read.
    pub fn lost_events(&self) -> Result<u64, KernelError> {
        let values = self.budget.get(&0, 0).map_err(KernelError::table(table::BUDGET))?;
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
