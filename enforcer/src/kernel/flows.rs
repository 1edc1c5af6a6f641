//! The flow tables: their use, the removal of dead entries, and the pods' shares.
//!
//! The programs recognise a dead entry by its age, but it keeps its place until a new flow needs it or
//! the agent removes it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray};
use bytemuck::Pod;
use enforcer_ebpf::contract::counters::FlowCounts;
use enforcer_ebpf::contract::flow::{Flow4, Flow6, FlowState, FlowTail, elapsed, flags};
use enforcer_ebpf::contract::flow_table::Key;
use enforcer_ebpf::contract::table;

use super::clock::Clock;
use super::flow_sample::{Ends, FlowSample};
use super::flow_shares::over_share;
use super::flow_table::{Added, Names, Table, View};
use super::{KernelError, legacy_flows};
use crate::conntrack::{Flow, Progress};

/// How full the table of one family is, and the flows that it had no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowUse {
    /// Established flows.
    pub established: u64,
    /// Other flows: opening, unanswered, closed.
    pub opening: u64,
    /// The number of flows that the table is made for.
    pub limit: u64,
    /// New flows that found no place.
    pub refused: u64,
    /// Flows that were displaced before they were established.
    pub displaced: u64,
    /// Established flows that were displaced because their pod had more than its share.
    pub reduced: u64,
    /// Pods with more flows than their share.
    pub over_share: u64,
}

impl FlowUse {
    /// All flows.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.established + self.opening
    }
}

/// The flow tables of both families.
pub struct FlowTables {
    clock: Clock,
    counts: PerCpuArray<MapData, FlowCounts>,
    over_share: std::sync::Mutex<Array<MapData, u32>>,
    v4: Table<Flow4>,
    v6: Table<Flow6>,
}

const V4: Names = [table::FLOW_TAGS4, table::FLOW_ENTRIES4];
const V6: Names = [table::FLOW_TAGS6, table::FLOW_ENTRIES6];

/// The result of copying the entries of an earlier agent's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct TakenOver {
    pub(super) entries: u64,
    /// The number of entries that there was no room for.
    pub(super) lost: u64,
}

impl TakenOver {
    fn add(&mut self, added: Added) {
        match added {
            Added::New => self.entries += 1,
            Added::Known | Added::Replaced => {}
            Added::Refused => self.lost += 1,
        }
    }
}

/// What a sweep finds in a table.
#[derive(Default)]
struct Found {
    established: u64,
    opening: u64,
    /// The established ones. Others don't count for a pod's share: anyone can send a pod SYNs.
    by_endpoint: BTreeMap<u16, u64>,
}

impl FlowTables {
    /// Takes the tables out of `ebpf`. `secret`: of the flows' hash.
    pub(super) fn take(ebpf: &mut Ebpf, clock: Clock, secret: u64) -> Result<Self, KernelError> {
        let missing = KernelError::NoTable;
        let counts = ebpf.take_map(table::FLOW_COUNTS);
        let over = ebpf.take_map(table::OVER_SHARE).and_then(|map| Array::try_from(map).ok());
        Ok(Self {
            clock,
            counts: counts
                .and_then(|map| PerCpuArray::try_from(map).ok())
                .ok_or(missing(table::FLOW_COUNTS))?,
            over_share: over.ok_or(missing(table::OVER_SHARE))?.into(),
            v4: Table::take(ebpf, V4, secret)?,
            v6: Table::take(ebpf, V6, secret)?,
        })
    }

    /// Removes dead entries; returns the use of the tables, IPv4 and IPv6. `now`: the clock, see
    /// [`super::Kernel::now`]. `sample` sees the living ones.
    ///
    /// This takes some milliseconds for each 100,000 entries. Packets may pass meanwhile.
    ///
    /// # Errors
    /// A table can't be read or written.
    pub fn sweep(&self, now: u32, sample: &mut FlowSample) -> Result<[FlowUse; 2], KernelError> {
        let v4 = sweep(&self.v4.view()?, now, &self.clock, sample);
        let v6 = sweep(&self.v6.view()?, now, &self.clock, sample);
        sample.end();
        let shares = [(&v4, &self.v4.limit()), (&v6, &self.v6.limit())]
            .map(|(found, limit)| over_share(&found.by_endpoint, *limit));
        self.publish(&shares)?;
        let used = |found: Found, limit, counts: FlowCounts, over: &Vec<u16>| FlowUse {
            established: found.established,
            opening: found.opening,
            limit,
            refused: counts.refused,
            displaced: counts.displaced,
            reduced: counts.reduced,
            over_share: over.len() as u64,
        };
        let [over4, over6] = &shares;
        Ok([
            used(v4, self.v4.limit(), self.counts(0)?, over4),
            used(v6, self.v6.limit(), self.counts(1)?, over6),
        ])
    }

    /// The flows of both families that found no place or were displaced, since the tables were made.
    ///
    /// # Errors
    /// The counters can't be read.
    pub fn lost(&self) -> Result<u64, KernelError> {
        let lost = |it: FlowCounts| it.displaced + it.reduced + it.refused;
        Ok(lost(self.counts(0)?) + lost(self.counts(1)?))
    }

    /// Tells the programs which pods have more flows than their share, in any family.
    fn publish(&self, over: &[Vec<u16>; 2]) -> Result<(), KernelError> {
        let failed = KernelError::table(table::OVER_SHARE);
        let mut shared = self.over_share.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for id in 0..shared.len() {
            let is_over = u16::try_from(id).is_ok_and(|id| over.iter().any(|it| it.contains(&id)));
            let value = u32::from(is_over);
            if shared.get(&id, 0).map_err(failed)? != value {
                shared.set(id, value, 0).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Removes all flows of endpoints that send nothing any more (semantics C5).
    ///
    /// # Errors
    /// A table can't be mapped.
    pub(super) fn forget(&self, endpoints: &BTreeSet<u32>) -> Result<(), KernelError> {
        self.v4.view()?.retain(|key, _, _| !endpoints.contains(&key.tail().endpoint.into()));
        self.v6.view()?.retain(|key, _, _| !endpoints.contains(&key.tail().endpoint.into()));
        Ok(())
    }

    /// Copies the flows of the tables pinned in `folder`, which have the same `secret`. Existing flows
    /// stay as they are.
    pub(super) fn take_over(&self, folder: &Path, secret: u64) -> Result<TakenOver, KernelError> {
        let mut taken = TakenOver::default();
        if folder.join(table::FLOW_TAGS4).exists() {
            copy(&Table::open(folder, V4, secret)?.view()?, &self.v4.view()?, &mut taken);
            copy(&Table::open(folder, V6, secret)?.view()?, &self.v6.view()?, &mut taken);
        }
        let [v4, v6] = legacy_flows::TABLES;
        copy_legacy(folder, v4, &self.v4, &mut taken)?;
        copy_legacy(folder, v6, &self.v6, &mut taken)?;
        Ok(taken)
    }

    fn counts(&self, family: u32) -> Result<FlowCounts, KernelError> {
        let counts = self.counts.get(&family, 0).map_err(KernelError::table(table::FLOW_COUNTS))?;
        let sum = |sum: FlowCounts, cpu: &FlowCounts| FlowCounts {
            displaced: sum.displaced + cpu.displaced,
            reduced: sum.reduced + cpu.reduced,
            refused: sum.refused + cpu.refused,
        };
        Ok(counts.iter().fold(FlowCounts::default(), sum))
    }
}

fn sweep<K: Key + Ends>(
    table: &View<K>,
    now: u32,
    clock: &Clock,
    sample: &mut FlowSample,
) -> Found {
    let mut found = Found::default();
    table.retain(|key, state, hash| {
        let silent = elapsed(state.seen, now);
        // One bucket more than in the programs, whose clock may have advanced by one since.
        if silent > clock.lifetime(state.flags).saturating_add(1) {
            return false;
        }
        sample.take(key, state, hash, clock.seconds(silent));
        if state.is_established() {
            found.established += 1;
            *found.by_endpoint.entry(key.tail().endpoint).or_default() += 1;
        } else {
            found.opening += 1;
        }
        true
    });
    found
}

fn copy<K: Key>(from: &View<K>, to: &View<K>, taken: &mut TakenOver) {
    from.for_each(|key, state| taken.add(to.add(key, state, |_| false)));
}

fn copy_legacy<K: Key + Pod>(
    folder: &Path,
    names: Names,
    to: &Table<K>,
    taken: &mut TakenOver,
) -> Result<(), KernelError> {
    let to = to.view()?;
    for name in names.into_iter().filter(|name| folder.join(name).exists()) {
        legacy_flows::for_each(folder, name, |key: &K, state| {
            taken.add(to.add(key, state, |_| false));
        })?;
    }
    Ok(())
}

/// The result of adding flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// Flows that were missing, or that had another initiator.
    pub added: u64,
    /// Flows that there was no place for.
    pub refused: u64,
}

impl FlowTables {
    /// Adds flows; `now`: the clock, see [`super::Kernel::now`]. A flow that the programs have
    /// recorded meanwhile keeps its state, unless its initiator is another: the programs take the
    /// sender of the first packet that they see for it.
    ///
    /// # Errors
    /// A table can't be mapped.
    pub fn import(&self, flows: &[Flow], now: u32) -> Result<Imported, KernelError> {
        let mut result = Imported::default();
        let (v4, v6) = (self.v4.view()?, self.v6.view()?);
        for flow in flows {
            let state = state(flow, &self.clock, now);
            let endpoint = u16::try_from(flow.endpoint).unwrap_or_default();
            let (local_port, remote_port) = (flow.local.port(), flow.remote.port());
            let protocol = flow.protocol;
            let tail = FlowTail { local_port, remote_port, endpoint, protocol, reserved: 0 };
            match (flow.local, flow.remote) {
                (SocketAddr::V4(local), SocketAddr::V4(remote)) => {
                    let (local, remote) = ((*local.ip()).into(), (*remote.ip()).into());
                    self.add(&v4, &Flow4 { local, remote, tail }, state, now, &mut result);
                }
                (local, remote) => {
                    let (local, remote) = (wide(local.ip()), wide(remote.ip()));
                    self.add(&v6, &Flow6 { local, remote, tail }, state, now, &mut result);
                }
            }
        }
        Ok(result)
    }

    fn add<K: Key>(
        &self,
        table: &View<K>,
        key: &K,
        state: FlowState,
        now: u32,
        result: &mut Imported,
    ) {
        let lives = |it: FlowState| it.is_alive(now, self.clock.lifetime(it.flags));
        let differs =
            |it: FlowState| !lives(it) || it.initiator != state.initiator && state.is_established();
        match table.add(key, state, differs) {
            Added::New | Added::Replaced => result.added += 1,
            Added::Known => {}
            Added::Refused => result.refused += 1,
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
