//! What the programs report: counters, drop events, log messages.

use std::sync::Arc;

use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use enforcer_ebpf::contract::counters::Counters;
use enforcer_ebpf::contract::event::Event;
use enforcer_ebpf::contract::table;

use super::{CounterReader, FlowTables, Kernel, KernelError};

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
