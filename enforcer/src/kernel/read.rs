//! Reading counters and drop events.

use std::sync::Arc;

use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use enforcer_ebpf::contract::counters::Counters;
use enforcer_ebpf::contract::event::Event;
use enforcer_ebpf::contract::table;

use super::{FlowTables, Kernel, KernelError};

/// The ring buffer of drop events. It never wakes its reader: look now and then.
pub struct DropReader(RingBuf<MapData>);

impl DropReader {
    /// The oldest event that was not read yet.
    pub fn take(&mut self) -> Option<Event> {
        loop {
            let item = self.0.next()?;
            // A record of another size can only be another version's: not ours to read.
            if let Ok(event) = bytemuck::try_pod_read_unaligned(&item) {
                return Some(event);
            }
        }
    }
}

/// What the programs log, passed on to the agent's log.
pub struct ProgramLog(EbpfLogger<&'static dyn log::Log>);

impl ProgramLog {
    /// Passes on what has come since.
    pub fn flush(&mut self) {
        self.0.flush();
    }
}

impl Kernel {
    /// Takes the programs' log; once.
    ///
    /// # Errors
    /// It was taken before, or the object lacks it.
    pub fn take_log(&mut self) -> Result<ProgramLog, KernelError> {
        EbpfLogger::init(&mut self.ebpf)
            .map(ProgramLog)
            .map_err(|_| KernelError::NoTable("AYA_LOGS"))
    }

    /// Takes the ring buffer of drop events; once.
    ///
    /// # Errors
    /// It was taken before, or the object lacks it.
    pub fn take_drops(&mut self) -> Result<DropReader, KernelError> {
        self.ebpf
            .take_map(table::EVENTS)
            .and_then(|map| RingBuf::try_from(map).ok())
            .map(DropReader)
            .ok_or(KernelError::NoTable(table::EVENTS))
    }

    /// The counters of an endpoint, summed over the CPUs.
    ///
    /// # Errors
    /// There is no such endpoint id.
    pub fn counters(&self, id: u32) -> Result<Counters, KernelError> {
        let values = self
            .counters
            .get(&id, 0)
            .map_err(|source| KernelError::Table { name: table::COUNTERS, source })?;
        Ok(values.iter().fold(Counters::default(), Counters::plus))
    }

    /// The flow tables.
    #[must_use]
    pub fn flows(&self) -> Arc<FlowTables> {
        Arc::clone(&self.flows)
    }

    /// Drop events that were not sent, since the programs were loaded.
    ///
    /// # Errors
    /// The table can't be read.
    pub fn lost_events(&self) -> Result<u64, KernelError> {
        let values = self
            .budget
            .get(&0, 0)
            .map_err(|source| KernelError::Table { name: table::BUDGET, source })?;
        Ok(values.iter().map(|budget| u64::from(budget.lost)).sum())
    }
}
