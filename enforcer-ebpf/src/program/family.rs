//! IPv4 and IPv6, where the programs treat them differently.

use aya_ebpf::maps::{Array, LruHashMap};
use enforcer_ebpf::contract::endpoint::{Endpoint, ExtraAddress, Order, flags};
use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::flow::FlowTail;
use enforcer_ebpf::contract::flow_table::Key;
use enforcer_ebpf::contract::fragment::{FragmentState, FragmentTail};
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_ebpf::packet::{Address6, Fixed, LinkMessage, Malformed, Packet, Quoted};

use crate::program::frame::Frame;
use crate::program::maps::EXTRA_ADDRESSES;

/// An address family.
pub(crate) trait Family {
    /// An address as a number or numbers.
    type Address: Copy + Eq;
    /// The key of a flow.
    type Flow: Key + 'static;
    /// A group of entries of the flow table.
    type Group: 'static;
    /// The key of a packet whose fragments are remembered.
    type Fragments: Copy + 'static;
    /// 4 or 6.
    const VERSION: u8;
    /// IEEE 802's number.
    const ETHERTYPE: u16;
    /// The longest ICMP error, in bytes from the IP header on (RFC 1812, RFC 4443).
    const ERROR: usize;

    fn parse(frame: &Frame, start: usize) -> Result<Packet<Self::Address>, Malformed>;
    /// The packet of an Ethernet frame, if it is a TCP segment that ends nothing.
    fn segment(frame: &Frame) -> Option<Packet<Self::Address>>;
    /// The packet of an Ethernet frame, if it is a usual UDP datagram.
    fn datagram(frame: &Frame) -> Option<Packet<Self::Address>>;
    /// The fixed part of the header, of a packet that can't be parsed.
    fn fixed(frame: &Frame, start: usize) -> Option<Fixed<Self::Address>>;
    fn quoted(frame: &Frame, packet: &Packet<Self::Address>) -> Option<Quoted<Self::Address>>;
    /// What is known of an address; read after the endpoint whose policy is asked about it.
    fn entry(order: Order, address: &Self::Address) -> Entry;
    /// The same without calling a function.
    fn entry_in_place(order: Order, address: &Self::Address) -> Entry;
    /// The same without the steps that few addresses need; `None` for these. In place.
    fn near_entry(order: Order, address: &Self::Address) -> Option<Entry>;
    fn flow(local: Self::Address, remote: Self::Address, tail: FlowTail) -> Self::Flow;
    /// The tags of the flow table's groups.
    fn flow_tags() -> &'static Array<u64>;
    /// The groups of the flow table.
    fn flow_groups() -> &'static Array<Self::Group>;
    /// The same of the flow table of another size.
    fn other_flow_tags() -> &'static Array<u64>;
    /// Likewise.
    fn other_flow_groups() -> &'static Array<Self::Group>;
    /// The address as an IPv6 number, IPv4 in `::ffff:a.b.c.d` form.
    fn wide(address: &Self::Address) -> Address6;
    /// The address that [`Self::wide`] gives this number, if it is of this family.
    fn narrow(wide: &Address6) -> Option<Self::Address>;
    /// The endpoint's address, if it has one.
    fn own(endpoint: &Endpoint) -> Option<Self::Address>;
    /// Whether the address is one of the two in the endpoint's record.
    fn is_own(endpoint: &Endpoint, address: &Self::Address) -> bool;
    /// Whether the source is one that every pod may use (semantics P4).
    fn is_exempt(packet: &Packet<Self::Address>) -> bool;
    /// The packet's part in keeping its link working (semantics A4).
    fn link_message(frame: &Frame, packet: &Packet<Self::Address>) -> (LinkMessage, Self::Address);
    /// Whether the packet may be a link message: all of it must be readable then.
    fn may_be_link_message(packet: &Packet<Self::Address>) -> bool;
    /// Whether only routers and servers of the link send such packets, never pods (semantics A4), or
    /// only attackers. `network`: where the IP header begins.
    fn is_never_a_pods(packet: &Packet<Self::Address>, network: usize) -> bool;
    /// Whether the address is link-local.
    fn is_link_local(address: &Self::Address) -> bool;
    /// Whether the address is a multicast group's, or the broadcast address.
    fn is_group(address: &Self::Address) -> bool;
    /// Whether the address is the unspecified one.
    fn is_unspecified(address: &Self::Address) -> bool;
    /// The key that all fragments of a packet share.
    fn fragments(
        packet: &Packet<Self::Address>,
        endpoint: &Endpoint,
        direction: Direction,
    ) -> Self::Fragments;
    fn fragment_table() -> &'static LruHashMap<Self::Fragments, FragmentState>;
}

/// Whether the address is one of the endpoint's own.
#[inline(always)]
pub(crate) fn owns<F: Family>(endpoint: &Endpoint, address: &F::Address) -> bool {
    if F::is_own(endpoint, address) {
        return true;
    }
    if endpoint.flags & flags::EXTRA_ADDRESSES == 0 {
        return false;
    }
    let key = ExtraAddress { address: F::wide(address), id: endpoint.id, padding: 0 };
    EXTRA_ADDRESSES.get_ptr(key).is_some()
}

#[inline(always)]
pub(crate) fn fragment_tail<A>(
    packet: &Packet<A>,
    protocol: u8,
    endpoint: &Endpoint,
    direction: Direction,
) -> FragmentTail {
    FragmentTail {
        identification: packet.identification,
        endpoint: endpoint.id as u16,
        protocol,
        direction: direction as u8,
    }
}
