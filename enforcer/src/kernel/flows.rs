//! The flow tables: their use, and the removal of dead entries.
//!
//! The programs ignore a flow that is older than its lifetime, but its entry stays. The table of
//! established flows has no eviction, so the agent removes its dead entries.
#![expect(
    unsafe_code,
    reason = "bpf(2): aya has no batches, and writes only with exclusive access"
)]

mod import;
mod walk;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aya::Ebpf;
use aya::maps::{Map, MapData, PerCpuArray};
use bytemuck::Pod;
use enforcer_ebpf::contract::counters::FlowCounts;
use enforcer_ebpf::contract::flow::{Flow4, Flow6, FlowState, FlowTail, elapsed, flags};
use enforcer_ebpf::contract::table;

use super::KernelError;
use super::clock::Clock;
use super::sys::{
    BPF_MAP_DELETE_ELEM, BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM, BPF_NOEXIST, Element, bpf,
};

pub use import::Imported;
use walk::Walk;

/// How full the tables of one family are, and the flows that they had no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowUse {
    /// Established flows.
    pub established: Room,
    /// Other flows: opening, unanswered, closed.
    pub opening: Room,
    /// Flows that became established while the table was full, since the programs were loaded.
    pub refused: u64,
    /// Entries that the table of opening flows evicted, since the programs were loaded.
    pub evicted: u64,
}

/// How full a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// Living entries.
    pub used: u64,
    /// The maximum of entries.
    pub limit: u64,
}

/// The flow tables of both families.
pub struct FlowTables {
    clock: Clock,
    counts: PerCpuArray<MapData, FlowCounts>,
    v4: Family<Flow4>,
    v6: Family<Flow6>,
}

struct Family<K> {
    established: Table<K>,
    opening: Table<K>,
    /// The number of entries that this agent added to `opening`.
    added: AtomicU64,
    /// The number of entries that agents removed from `opening`.
    removed: AtomicU64,
    /// Whether `removed` still lacks those that an earlier agent removed.
    is_resumed: AtomicBool,
    evicted: AtomicU64,
}

struct Table<K> {
    name: &'static str,
    map: MapData,
    limit: u64,
    key: std::marker::PhantomData<fn() -> K>,
}

/// A flow's key, of either family.
trait Key: Pod {
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

impl FlowTables {
    /// Takes the tables out of `ebpf`. `is_resumed`: an earlier agent has used them.
    pub(super) fn take(
        ebpf: &mut Ebpf,
        clock: Clock,
        is_resumed: bool,
    ) -> Result<Self, KernelError> {
        let counts = ebpf.take_map(table::FLOW_COUNTS);
        let counts = counts.and_then(|map| PerCpuArray::try_from(map).ok());
        Ok(Self {
            clock,
            counts: counts.ok_or(KernelError::NoTable(table::FLOW_COUNTS))?,
            v4: Family::take(ebpf, [table::FLOWS4, table::OPENING4], is_resumed)?,
            v6: Family::take(ebpf, [table::FLOWS6, table::OPENING6], is_resumed)?,
        })
    }

    /// Removes dead entries; returns the use of the tables, IPv4 and IPv6. `now`: the clock, see
    /// [`super::Kernel::now`].
    ///
    /// This takes some milliseconds for each 100,000 entries. Packets may pass meanwhile.
    ///
    /// # Errors
    /// A table can't be read or written.
    pub fn sweep(&self, now: u32) -> Result<[FlowUse; 2], KernelError> {
        let (v4, v6) = (self.counts(0)?, self.counts(1)?);
        Ok([self.v4.sweep(now, &self.clock, v4)?, self.v6.sweep(now, &self.clock, v6)?])
    }

    /// Removes all flows of an endpoint that sends nothing any more (semantics C5).
    pub(super) fn forget(&self, endpoint: u32) -> Result<(), KernelError> {
        self.v4.forget(endpoint)?;
        self.v6.forget(endpoint)
    }

    /// Copies the flows of the tables pinned in `folder`. Existing flows stay as they are.
    pub(super) fn take_over(&self, folder: &Path) -> Result<TakenOver, KernelError> {
        let mut taken = self.v4.take_over(folder)?;
        taken += self.v6.take_over(folder)?;
        Ok(taken)
    }

    fn counts(&self, family: u32) -> Result<FlowCounts, KernelError> {
        let counts = self.counts.get(&family, 0).map_err(KernelError::table(table::FLOW_COUNTS))?;
        let sum = |sum: FlowCounts, cpu: &FlowCounts| FlowCounts {
            entered: sum.entered + cpu.entered,
            refused: sum.refused + cpu.refused,
        };
        Ok(counts.iter().fold(FlowCounts::default(), sum))
    }
}

impl<K: Key> Family<K> {
    fn take(
        ebpf: &mut Ebpf,
        [established, opening]: [&'static str; 2],
        is_resumed: bool,
    ) -> Result<Self, KernelError> {
        Ok(Self {
            established: Table::take(ebpf, established)?,
            opening: Table::take(ebpf, opening)?,
            added: AtomicU64::new(0),
            removed: AtomicU64::new(0),
            is_resumed: AtomicBool::new(is_resumed),
            evicted: AtomicU64::new(0),
        })
    }

    fn sweep(&self, now: u32, clock: &Clock, counts: FlowCounts) -> Result<FlowUse, KernelError> {
        // One bucket more than in the programs, whose clock may have advanced by one since.
        let is_dead = |state: FlowState| {
            let limit =
                if state.flags & flags::MOVED == 0 { clock.lifetime(state.flags) } else { 1 };
            elapsed(state.seen, now) > limit.saturating_add(1)
        };
        let used = self.established.retain(|_, state| !is_dead(state))?.kept;
        let entered = counts.entered + self.added.load(Ordering::Relaxed);
        let opening = self.opening.retain(|_, state| !is_dead(state))?;
        if self.is_resumed.swap(false, Ordering::Relaxed) {
            let earlier = entered.saturating_sub(opening.removed + opening.kept);
            self.removed.fetch_add(earlier, Ordering::Relaxed);
        }
        let removed = self.removed.fetch_add(opening.removed, Ordering::Relaxed) + opening.removed;
        // Entries that were added, and neither exist nor were removed, were evicted. Entries that
        // were added since the counters were read hide as many evictions until the next sweep.
        let evicted = entered.saturating_sub(removed + opening.kept);
        let evicted = self.evicted.fetch_max(evicted, Ordering::Relaxed).max(evicted);
        Ok(FlowUse {
            established: Room { used, limit: self.established.limit },
            opening: Room { used: opening.living, limit: self.opening.limit },
            refused: counts.refused,
            evicted,
        })
    }

    fn take_over(&self, folder: &Path) -> Result<TakenOver, KernelError> {
        let mut taken = self.established.take_over(folder)?;
        taken += self.opening.take_over(folder)?;
        Ok(taken)
    }

    fn forget(&self, endpoint: u32) -> Result<(), KernelError> {
        let others = |key: &K, _| u32::from(key.tail().endpoint) != endpoint;
        self.established.retain(others)?;
        let removed = self.opening.retain(others)?.removed;
        self.removed.fetch_add(removed, Ordering::Relaxed);
        Ok(())
    }
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
struct Retained {
    kept: u64,
    /// The number of kept entries that have not moved to another table.
    living: u64,
    removed: u64,
}

impl<K: Key> Table<K> {
    fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, KernelError> {
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

    fn take_over(&self, folder: &Path) -> Result<TakenOver, KernelError> {
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
    fn retain(&self, keep: impl Fn(&K, FlowState) -> bool) -> Result<Retained, KernelError> {
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

    fn look_up(&self, key: &K) -> Result<Option<FlowState>, KernelError> {
        let mut state = FlowState::default();
        let found = self.element(BPF_MAP_LOOKUP_ELEM, key, Some(&mut state), 0);
        self.existed(found).map(|found| found.then_some(state))
    }

    /// Adds a flow, unless it exists already.
    fn insert(&self, key: &K, mut state: FlowState) -> io::Result<()> {
        self.element(BPF_MAP_UPDATE_ELEM, key, Some(&mut state), BPF_NOEXIST)
    }

    /// Adds a flow, or replaces it.
    fn put(&self, key: &K, mut state: FlowState) -> io::Result<()> {
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

    fn failed(&self, error: io::Error) -> KernelError {
        KernelError::table_call(self.name, "bpf")(error)
    }
}
