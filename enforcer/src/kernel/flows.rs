//! The flow tables: their use, and the removal of dead entries.
//!
//! The programs ignore a flow that is older than its lifetime, but its entry stays. The table of
//! established flows has no eviction, so the agent removes its dead entries.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray};
use enforcer_ebpf::contract::counters::FlowCounts;
use enforcer_ebpf::contract::flow::{Flow4, Flow6, FlowState, FlowTail, elapsed, flags};
use enforcer_ebpf::contract::table;

use super::KernelError;
use super::clock::Clock;
use super::flow_table::{Key, Table, TakenOver};
use crate::conntrack::{Flow, Progress};
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

    /// Removes all flows of endpoints that send nothing any more (semantics C5).
    pub(super) fn forget(&self, endpoints: &BTreeSet<u32>) -> Result<(), KernelError> {
        self.v4.forget(endpoints)?;
        self.v6.forget(endpoints)
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

    fn forget(&self, endpoints: &BTreeSet<u32>) -> Result<(), KernelError> {
        let others = |key: &K, _| !endpoints.contains(&key.tail().endpoint.into());
        self.established.retain(others)?;
        let removed = self.opening.retain(others)?.removed;
        self.removed.fetch_add(removed, Ordering::Relaxed);
        Ok(())
    }
}

/// The result of adding flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// Flows that were missing, or that had another initiator.
    pub added: u64,
    /// Established flows that had to go to the table of opening ones: it may displace them.
    pub refused: u64,
}

impl FlowTables {
    /// Adds flows; `now`: the clock, see [`super::Kernel::now`]. A flow that the programs have
    /// recorded meanwhile keeps its state, unless its initiator is another: the programs take the
    /// sender of the first packet that they see for it.
    ///
    /// # Errors
    /// A table can't be read or written.
    pub fn import(&self, flows: &[Flow], now: u32) -> Result<Imported, KernelError> {
        let mut result = Imported::default();
        let lives = |it: FlowState| it.is_alive(now, self.clock.lifetime(it.flags));
        for flow in flows {
            let state = state(flow, &self.clock, now);
            let endpoint = u16::try_from(flow.endpoint).unwrap_or_default();
            let (local_port, remote_port) = (flow.local.port(), flow.remote.port());
            let protocol = flow.protocol;
            let tail = FlowTail { local_port, remote_port, endpoint, protocol, reserved: 0 };
            match (flow.local, flow.remote) {
                (SocketAddr::V4(local), SocketAddr::V4(remote)) => {
                    let (local, remote) = ((*local.ip()).into(), (*remote.ip()).into());
                    self.v4.import(&Flow4 { local, remote, tail }, state, lives, &mut result)?;
                }
                (local, remote) => {
                    let (local, remote) = (wide(local.ip()), wide(remote.ip()));
                    self.v6.import(&Flow6 { local, remote, tail }, state, lives, &mut result)?;
                }
            }
        }
        Ok(result)
    }
}

impl<K: Key> Family<K> {
    fn import(
        &self,
        key: &K,
        state: FlowState,
        lives: impl Fn(FlowState) -> bool,
        result: &mut Imported,
    ) -> Result<(), KernelError> {
        let established = &self.established;
        if state.is_established() {
            let known = established.look_up(key)?;
            if known.is_some_and(|it| it.initiator == state.initiator && lives(it)) {
                return Ok(());
            }
            match established.put(key, state) {
                Ok(()) => {
                    result.added += 1;
                    return Ok(());
                }
                Err(error) if error.raw_os_error() == Some(libc::E2BIG) => result.refused += 1,
                Err(error) => return Err(established.failed(error)),
            }
        }
        match self.opening.insert(key, state) {
            Ok(()) => {
                self.added.fetch_add(1, Ordering::Relaxed);
                result.added += 1;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(self.opening.failed(error)),
        }
    }
}

/// The state of a flow that lives as long as conntrack would keep it, if no packet follows.
fn state(flow: &Flow, clock: &Clock, now: u32) -> FlowState {
    let flags = match flow.progress {
        Progress::Unanswered => 0,
        Progress::Answered => flags::ANSWERED,
        Progress::Established => flags::ESTABLISHED,
    };
    let state = FlowState::new(now, flow.initiator, flow.protocol).with(flags);
    let lifetime = clock.lifetime(state.flags);
    let left = clock.buckets(flow.remaining).min(lifetime);
    FlowState { seen: now.wrapping_sub(lifetime - left), ..state }
}

/// An address as numbers.
fn wide(address: IpAddr) -> [u64; 2] {
    let octets = match address {
        IpAddr::V4(it) => it.to_ipv6_mapped().octets(),
        IpAddr::V6(it) => it.octets(),
    };
    let (halves, _) = octets.as_chunks::<8>();
    let half = |index: usize| halves.get(index).map_or(0, |it| u64::from_be_bytes(*it));
    [half(0), half(1)]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use enforcer_ebpf::contract::verdict::Direction;
    use enforcer_ebpf::packet::protocol;

    use super::super::Lifetimes;
    use super::*;

    fn flow(remaining: u64) -> Flow {
        Flow {
            endpoint: 7,
            protocol: protocol::TCP,
            local: "10.1.0.2:40000".parse().unwrap(),
            remote: "10.0.0.1:80".parse().unwrap(),
            initiator: Direction::Egress,
            progress: Progress::Established,
            remaining: Duration::from_secs(remaining),
        }
    }

    #[test]
    fn c8_an_imported_flow_lives_no_longer_than_conntrack_keeps_it() {
        let clock = Clock::of_this_kernel(&Lifetimes::DEFAULT);
        let now = 3;
        let short = state(&flow(60), &clock, now);
        let left = clock.buckets(Duration::from_secs(60));
        let lifetime = clock.lifetime(short.flags);
        assert!(short.is_established() && short.is_initiator(Direction::Egress));
        assert!(short.is_alive(now.wrapping_add(left), lifetime));
        assert!(!short.is_alive(now.wrapping_add(left + 1), lifetime));
        // Never longer than other flows.
        assert_eq!(state(&flow(u64::MAX), &clock, now).seen, now);
    }

    #[test]
    fn addresses_are_numbers() {
        let address = "2001:db8:1:2:3:4:5:6".parse().unwrap();
        assert_eq!(wide(address), [0x2001_0db8_0001_0002, 0x0003_0004_0005_0006]);
    }
}
