//! A table of flows: reading it in batches, and its entries one by one.
#![expect(
    unsafe_code,
    reason = "bpf(2): aya has no batches, and writes only with exclusive access"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use aya::Ebpf;
use aya::maps::{Map, MapData};
use bytemuck::Pod;
use enforcer_ebpf::contract::flow::{Flow4, Flow6, FlowState, FlowTail, flags};

use super::KernelError;
use super::sys::{
    BPF_MAP_DELETE_ELEM, BPF_MAP_LOOKUP_BATCH, BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM,
    BPF_NOEXIST, Batch, Element, bpf,
};

/// The number of entries that one system call reads.
const BATCH: usize = 1024;

/// A flow's key, of either family.
pub(super) trait Key: Pod {
    fn tail(&self) -> &FlowTail;
}

impl Key for Flow4 {
    fn tail(&self) -> &FlowTail {
        &self.tail
    }
}

impl Key for Flow6 {
    fn tail(&self) -> &FlowTail {
        &self.tail
    }
}

/// A table of flows of one family.
pub(super) struct Table<K> {
    name: &'static str,
    map: MapData,
    pub(super) limit: u64,
    key: std::marker::PhantomData<fn() -> K>,
}

/// The result of copying the entries of an earlier agent's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct TakenOver {
    pub(super) entries: u64,
    /// The number of entries that there was no room for.
    pub(super) lost: u64,
}

impl std::ops::AddAssign for TakenOver {
    fn add_assign(&mut self, other: Self) {
        self.entries += other.entries;
        self.lost += other.lost;
    }
}

/// The result of removing entries.
#[derive(Debug, Default)]
pub(super) struct Retained {
    pub(super) kept: u64,
    /// The number of kept entries that have not moved to another table.
    pub(super) living: u64,
    pub(super) removed: u64,
}

impl<K: Key> Table<K> {
    pub(super) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, KernelError> {
        let (Some(Map::HashMap(map)) | Some(Map::LruHashMap(map))) = ebpf.take_map(name) else {
            return Err(KernelError::NoTable(name));
        };
        Self::of(name, map)
    }

    fn of(name: &'static str, map: MapData) -> Result<Self, KernelError> {
        let info = map.info().map_err(KernelError::table(name))?;
        let sizes = (info.key_size() as usize, info.value_size() as usize);
        if sizes != (size_of::<K>(), size_of::<FlowState>()) {
            return Err(KernelError::NoTable(name));
        }
        let limit = u64::from(info.max_entries());
        Ok(Self { name, map, limit, key: std::marker::PhantomData })
    }

    pub(super) fn take_over(&self, folder: &Path) -> Result<TakenOver, KernelError> {
        let map =
            MapData::from_pin(folder.join(self.name)).map_err(KernelError::table(self.name))?;
        let other = Self::of(self.name, map)?;
        let mut taken = TakenOver::default();
        let mut walk = Walk::new(&other);
        while walk.read_next()? {
            for (key, state) in walk.entries() {
                match self.insert(key, *state) {
                    Ok(()) => taken.entries += 1,
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) if error.raw_os_error() == Some(libc::E2BIG) => taken.lost += 1,
                    Err(error) => return Err(self.failed(error)),
                }
            }
        }
        Ok(taken)
    }

    /// Removes the entries that `keep` does not select.
    pub(super) fn retain(
        &self,
        keep: impl Fn(&K, FlowState) -> bool,
    ) -> Result<Retained, KernelError> {
        let mut all = Retained::default();
        let mut walk = Walk::new(self);
        while walk.read_next()? {
            for (key, state) in walk.entries() {
                if keep(key, *state) {
                    all.kept += 1;
                    all.living += u64::from(state.flags & flags::MOVED == 0);
                    continue;
                }
                // Read again, because the flow may have restarted since the batch was read. The
                // time until its removal is too short for a packet and its reply.
                match self.look_up(key)? {
                    Some(state) if keep(key, state) => all.kept += 1,
                    Some(_) => all.removed += u64::from(self.remove(key)?),
                    None => {}
                }
            }
        }
        Ok(all)
    }

    pub(super) fn look_up(&self, key: &K) -> Result<Option<FlowState>, KernelError> {
        let mut state = FlowState::default();
        let found = self.element(BPF_MAP_LOOKUP_ELEM, key, Some(&mut state), 0);
        self.existed(found).map(|found| found.then_some(state))
    }

    /// Adds a flow, unless it exists already.
    pub(super) fn insert(&self, key: &K, mut state: FlowState) -> io::Result<()> {
        self.element(BPF_MAP_UPDATE_ELEM, key, Some(&mut state), BPF_NOEXIST)
    }

    /// Adds a flow, or replaces it.
    pub(super) fn put(&self, key: &K, mut state: FlowState) -> io::Result<()> {
        self.element(BPF_MAP_UPDATE_ELEM, key, Some(&mut state), 0)
    }

    /// Removes a flow; returns whether it existed.
    fn remove(&self, key: &K) -> Result<bool, KernelError> {
        self.existed(self.element(BPF_MAP_DELETE_ELEM, key, None, 0))
    }

    fn element(
        &self,
        command: libc::c_int,
        key: &K,
        value: Option<&mut FlowState>,
        flags: u64,
    ) -> io::Result<()> {
        let value = value.map_or(0, |it| (&raw mut *it) as u64);
        let key = (&raw const *key) as u64;
        let attributes = Element { map: self.fd(), padding: 0, key, value, flags };
        // SAFETY: key and value have the sizes that the table was checked for and outlive the call.
        unsafe { bpf(command, &attributes) }.map(|_| ())
    }

    fn fd(&self) -> u32 {
        self.map.fd().as_fd().as_raw_fd().cast_unsigned()
    }

    fn existed(&self, result: io::Result<()>) -> Result<bool, KernelError> {
        match result {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    pub(super) fn failed(&self, error: io::Error) -> KernelError {
        KernelError::table_call(self.name, "bpf")(error)
    }
}

/// A walk over a table's entries, batch by batch.
struct Walk<'a, K> {
    table: &'a Table<K>,
    keys: Vec<K>,
    states: Vec<FlowState>,
    filled: usize,
    /// The position of the next batch, in the kernel's own encoding.
    position: Option<u32>,
    is_over: bool,
}

impl<'a, K: Key> Walk<'a, K> {
    fn new(table: &'a Table<K>) -> Self {
        let (keys, states) = (vec![K::zeroed(); BATCH], vec![FlowState::default(); BATCH]);
        Self { table, keys, states, filled: 0, position: None, is_over: false }
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
