//! Reading a table of flows in batches.

use std::io;

use enforcer_ebpf::contract::flow::FlowState;

use super::{Key, Table};
use crate::kernel::KernelError;
use crate::kernel::sys::{BPF_MAP_LOOKUP_BATCH, Batch, bpf};

/// The number of entries that one system call reads.
const BATCH: usize = 1024;

/// A walk over a table's entries, batch by batch.
pub(super) struct Walk<'a, K> {
    table: &'a Table<K>,
    keys: Vec<K>,
    states: Vec<FlowState>,
    filled: usize,
    /// The position of the next batch, in the kernel's own encoding.
    position: Option<u32>,
    is_over: bool,
}

impl<'a, K: Key> Walk<'a, K> {
    pub(super) fn new(table: &'a Table<K>) -> Self {
        let (keys, states) = (vec![K::zeroed(); BATCH], vec![FlowState::default(); BATCH]);
        Self { table, keys, states, filled: 0, position: None, is_over: false }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&K, &FlowState)> {
        self.keys.iter().zip(&self.states).take(self.filled)
    }

    /// Reads the next batch; `false` if there is none.
    pub(super) fn read_next(&mut self) -> Result<bool, KernelError> {
        while !self.is_over {
            let mut next = 0_u32;
            let mut attributes = Batch {
                position: self.position.as_ref().map_or(0, |at| (&raw const *at) as u64),
                next: (&raw mut next) as u64,
                keys: self.keys.as_mut_ptr() as u64,
                values: self.states.as_mut_ptr() as u64,
                count: u32::try_from(self.keys.len()).unwrap_or(u32::MAX),
                map: self.table.fd(),
                element_flags: 0,
                flags: 0,
            };
            // SAFETY: the buffers have room for `count` keys and values of the sizes that the table
            // was checked for. Positions in hash tables have 4 bytes. All outlive the call.
            let read = unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &raw mut attributes) };
            self.filled = (attributes.count as usize).min(self.keys.len());
            match read {
                Ok(_) => self.position = Some(next),
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.is_over = true,
                // One hash bucket has more entries than the buffers.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    let room = self.keys.len() * 2;
                    self.keys.resize(room, K::zeroed());
                    self.states.resize(room, FlowState::default());
                    continue;
                }
                Err(error) => return Err(self.table.failed(error)),
            }
            if self.filled > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
