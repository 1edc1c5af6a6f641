//! The flow tables of layout version 3, to take over their flows: hashes of the kernel's.
#![expect(unsafe_code, reason = "bpf(2): aya has no batches")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use aya::maps::MapData;
use bytemuck::Pod;
use enforcer_ebpf::contract::flow::FlowState;

use super::KernelError;
use super::sys::{BPF_MAP_LOOKUP_BATCH, Batch, bpf};

/// Their names: established flows, then others; IPv4, then IPv6.
pub(super) const TABLES: [[&str; 2]; 2] = [["FLOWS4", "OPENING4"], ["FLOWS6", "OPENING6"]];

/// An entry of the table of other flows that has moved to the table of established ones.
const MOVED: u16 = 1 << 8;

/// The flags that only these tables have.
const FOREIGN: u16 = MOVED | 1 << 9;

/// The number of entries that one system call reads.
const BATCH: usize = 1024;

/// Calls `take` for each flow of a pinned table.
///
/// # Errors
/// The table can't be read, or has entries of another kind.
pub(super) fn for_each<K: Pod>(
    folder: &Path,
    name: &'static str,
    mut take: impl FnMut(&K, FlowState),
) -> Result<(), KernelError> {
    let map = MapData::from_pin(folder.join(name)).map_err(KernelError::table(name))?;
    let info = map.info().map_err(KernelError::table(name))?;
    let sizes = (info.key_size() as usize, info.value_size() as usize);
    if sizes != (size_of::<K>(), size_of::<FlowState>()) {
        return Err(KernelError::NoTable(name));
    }
    let mut walk = Walk::new(name, &map);
    while walk.read_next()? {
        for (key, state) in walk.entries().filter(|(_, it)| it.flags & MOVED == 0) {
            take(key, FlowState { flags: state.flags & !FOREIGN, ..*state });
        }
    }
    Ok(())
}

/// A walk over a table's entries, batch by batch.
struct Walk<'a, K> {
    name: &'static str,
    map: &'a MapData,
    keys: Vec<K>,
    states: Vec<FlowState>,
    filled: usize,
    /// The position of the next batch, in the kernel's own encoding.
    position: Option<u32>,
    is_over: bool,
}

impl<'a, K: Pod> Walk<'a, K> {
    fn new(name: &'static str, map: &'a MapData) -> Self {
        let (keys, states) = (vec![K::zeroed(); BATCH], vec![FlowState::default(); BATCH]);
        Self { name, map, keys, states, filled: 0, position: None, is_over: false }
    }

    fn entries(&self) -> impl Iterator<Item = (&K, &FlowState)> {
        self.keys.iter().zip(&self.states).take(self.filled)
    }

    /// Reads the next batch; `false` if there is none.
    fn read_next(&mut self) -> Result<bool, KernelError> {
        while !self.is_over {
            let mut next = 0_u32;
            let mut attributes = Batch {
                position: self.position.as_ref().map_or(0, |at| (&raw const *at) as u64),
                next: (&raw mut next) as u64,
                keys: self.keys.as_mut_ptr() as u64,
                values: self.states.as_mut_ptr() as u64,
                count: u32::try_from(self.keys.len()).unwrap_or(u32::MAX),
                map: self.map.fd().as_fd().as_raw_fd().cast_unsigned(),
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
                Err(error) => return Err(KernelError::table_call(self.name, "bpf")(error)),
            }
            if self.filled > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
