//! What tables say about a packet: policy alone (semantics A1 to A4 are not considered).

use std::net::IpAddr;

use enforcer_ebpf::contract::endpoint::{Endpoint, Order, flags};
use enforcer_ebpf::contract::entry::{Cell, Entry};
use enforcer_ebpf::contract::lookup::{self, Tables};
use enforcer_ebpf::contract::verdict::Direction;

use super::pieces6::halves;

/// How packets of one direction of an endpoint are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judgement {
    /// All are allowed.
    Open,
    /// All are denied.
    Closed,
    /// By the row that begins at this cell.
    Row(u32),
}

impl Judgement {
    /// As the endpoint's record says.
    #[must_use]
    pub fn of(endpoint: &Endpoint, direction: Direction) -> Self {
        let (isolated, closed, row) = match direction {
            Direction::Ingress => {
                (flags::INGRESS_ISOLATED, flags::INGRESS_CLOSED, endpoint.ingress_row)
            }
            Direction::Egress => {
                (flags::EGRESS_ISOLATED, flags::EGRESS_CLOSED, endpoint.egress_row)
            }
        };
        if endpoint.flags & closed != 0 {
            Self::Closed
        } else if endpoint.flags & isolated == 0 {
            Self::Open
        } else {
            Self::Row(row)
        }
    }
}

/// The answer of tables, and the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The endpoint of the interface.
    pub endpoint: Endpoint,
    /// How it is judged in this direction.
    pub judgement: Judgement,
    /// What is known of the peer's address.
    pub entry: Entry,
    /// The row's cell for the peer's class; [`Cell::DENY`] without a row.
    pub cell: Cell,
    /// Whether the packet is allowed.
    pub allowed: bool,
}

/// Asks tables, by the look-ups of the programs. `port` is the receiver's and matters only for protocols
/// with ports. `None`: the interface has no endpoint.
pub fn answer<T: Tables>(
    tables: &T,
    ifindex: u32,
    direction: Direction,
    peer: IpAddr,
    protocol: u8,
    port: u16,
) -> Option<Answer> {
    let endpoint = *lookup::endpoint(tables, ifindex)?;
    let judgement = Judgement::of(&endpoint, direction);
    let known = entry(tables, peer);
    let cell = match judgement {
        Judgement::Row(row) => known.and_then(|it| lookup::cell(tables, row, it.index())),
        Judgement::Open | Judgement::Closed => None,
    };
    let allowed = match judgement {
        Judgement::Open => true,
        Judgement::Closed => false,
        Judgement::Row(_) => {
            cell.is_some_and(|cell| lookup::cell_allows(tables, cell, protocol, port))
        }
    };
    let (entry, cell) = (known.unwrap_or(Entry::UNKNOWN), cell.unwrap_or(Cell::DENY));
    Some(Answer { endpoint, judgement, entry, cell, allowed })
}

/// The address's entry in the tries.
pub fn entry<T: Tables>(tables: &T, address: IpAddr) -> Option<Entry> {
    match address {
        IpAddr::V4(address) => lookup::address4(tables, Order::NONE, address.into()),
        IpAddr::V6(address) => lookup::address6(tables, Order::NONE, &halves(address.into())),
    }
}
