//! Adding living flows that the programs did not see open (semantics C8).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

use enforcer_ebpf::contract::flow::{Flow4, Flow6, FlowState, FlowTail, flags};

use super::{Clock, Family, FlowTables, Key};
use crate::conntrack::{Flow, Progress};
use crate::kernel::KernelError;

/// The result of adding flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// Flows that were missing, or that had another initiator.
    pub added: u64,
    /// Established flows that had to go to the table of opening ones: it may displace them.
    pub refused: u64,
}

impl FlowTables {
    /// Adds flows; `now`: the clock, see [`crate::kernel::Kernel::now`]. A flow that the programs have
    /// recorded meanwhile keeps its state, unless its initiator is another: the programs take the
    /// sender of the first packet that they see for it.
    ///
    /// # Errors
    /// A table can't be read or written.
    pub fn import(&self, flows: &[Flow], now: u32) -> Result<Imported, KernelError> {
        let mut result = Imported::default();
        for flow in flows {
            let state = state(flow, &self.clock, now);
            let endpoint = u16::try_from(flow.endpoint).unwrap_or_default();
            let (local_port, remote_port) = (flow.local.port(), flow.remote.port());
            let protocol = flow.protocol;
            let tail = FlowTail { local_port, remote_port, endpoint, protocol, reserved: 0 };
            match (flow.local, flow.remote) {
                (SocketAddr::V4(local), SocketAddr::V4(remote)) => {
                    let (local, remote) = ((*local.ip()).into(), (*remote.ip()).into());
                    self.v4.import(&Flow4 { local, remote, tail }, state, &mut result)?;
                }
                (local, remote) => {
                    let (local, remote) = (wide(local.ip()), wide(remote.ip()));
                    self.v6.import(&Flow6 { local, remote, tail }, state, &mut result)?;
                }
            }
        }
        Ok(result)
    }
}

impl<K: Key> Family<K> {
    fn import(&self, key: &K, state: FlowState, result: &mut Imported) -> Result<(), KernelError> {
        let established = &self.established;
        if state.is_established() {
            let known = established.look_up(key)?;
            if known.is_some_and(|it| it.initiator == state.initiator) {
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

    use super::*;
    use crate::kernel::Lifetimes;

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
