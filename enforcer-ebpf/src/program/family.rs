//! IPv4 and IPv6, where the programs treat them differently.

use aya_ebpf::maps::{Array, LruHashMap};
use enforcer_ebpf::contract::endpoint::{Endpoint, ExtraAddress, Order, flags};
use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::flow::{Flow4, Flow6, FlowTail};
use enforcer_ebpf::contract::flow_table::{Group4, Group6, Key};
use enforcer_ebpf::contract::fragment::{Fragment4, Fragment6, FragmentState, FragmentTail};
use enforcer_ebpf::contract::lookup;
use enforcer_ebpf::contract::lookup6::near6;
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_ebpf::packet::Address6;
use enforcer_ebpf::packet::{
    self, Fixed, LinkMessage, Malformed, Packet, Quoted, ethertype, protocol, role,
};

use crate::program::frame::Frame;
use crate::program::known6::known_address6;
use crate::program::maps::{
    EXTRA_ADDRESSES, FLOW_ENTRIES4, FLOW_ENTRIES6, FLOW_TAGS4, FLOW_TAGS6, FRAGMENTS4, FRAGMENTS6,
    KernelTables, OTHER_FLOW_ENTRIES4, OTHER_FLOW_ENTRIES6, OTHER_FLOW_TAGS4, OTHER_FLOW_TAGS6,
};

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
    /// The fixed part of the header, of a packet that can't be parsed.
    fn fixed(frame: &Frame, start: usize) -> Option<Fixed<Self::Address>>;
    fn quoted(frame: &Frame, packet: &Packet<Self::Address>) -> Option<Quoted<Self::Address>>;
    /// What is known of an address; read after the endpoint whose policy is asked about it.
    fn entry(order: Order, address: &Self::Address) -> Entry;
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
fn fragment_tail<A>(
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

/// IPv4.
pub(crate) struct V4;

impl Family for V4 {
    type Address = u32;
    type Flow = Flow4;
    type Group = Group4;
    type Fragments = Fragment4;
    const VERSION: u8 = 4;
    const ETHERTYPE: u16 = ethertype::IPV4;
    const ERROR: usize = 576;

    #[inline(always)]
    fn parse(frame: &Frame, start: usize) -> Result<Packet<u32>, Malformed> {
        packet::ipv4(frame, start)
    }

    #[inline(always)]
    fn segment(frame: &Frame) -> Option<Packet<u32>> {
        packet::segment4(frame)
    }

    #[inline(always)]
    fn fixed(frame: &Frame, start: usize) -> Option<Fixed<u32>> {
        packet::fixed4(frame, start)
    }

    #[inline(always)]
    fn quoted(frame: &Frame, packet: &Packet<u32>) -> Option<Quoted<u32>> {
        packet::quoted4(frame, packet)
    }

    #[inline(always)]
    fn entry(order: Order, address: &u32) -> Entry {
        lookup::address4(&KernelTables, order, *address).unwrap_or(Entry::UNKNOWN)
    }

    #[inline(always)]
    fn near_entry(order: Order, address: &u32) -> Option<Entry> {
        Some(Self::entry(order, address))
    }

    #[inline(always)]
    fn flow(local: u32, remote: u32, tail: FlowTail) -> Flow4 {
        Flow4 { local, remote, tail }
    }

    #[inline(always)]
    fn flow_tags() -> &'static Array<u64> {
        &FLOW_TAGS4
    }

    #[inline(always)]
    fn flow_groups() -> &'static Array<Group4> {
        &FLOW_ENTRIES4
    }

    #[inline(always)]
    fn other_flow_tags() -> &'static Array<u64> {
        &OTHER_FLOW_TAGS4
    }

    #[inline(always)]
    fn other_flow_groups() -> &'static Array<Group4> {
        &OTHER_FLOW_ENTRIES4
    }

    #[inline(always)]
    fn fragments(packet: &Packet<u32>, endpoint: &Endpoint, direction: Direction) -> Fragment4 {
        let tail = fragment_tail(packet, packet.protocol, endpoint, direction);
        Fragment4 { source: packet.source, destination: packet.destination, tail }
    }

    #[inline(always)]
    fn fragment_table() -> &'static LruHashMap<Fragment4, FragmentState> {
        &FRAGMENTS4
    }

    #[inline(always)]
    fn wide(address: &u32) -> Address6 {
        [0, 0xffff_0000_0000 | u64::from(*address)]
    }

    #[inline(always)]
    fn narrow(wide: &Address6) -> Option<u32> {
        (wide[0] == 0 && wide[1] >> 32 == 0xffff).then_some(wide[1] as u32)
    }

    #[inline(always)]
    fn own(endpoint: &Endpoint) -> Option<u32> {
        (endpoint.address4 != 0).then_some(endpoint.address4)
    }

    #[inline(always)]
    fn is_own(endpoint: &Endpoint, address: &u32) -> bool {
        endpoint.address4 == *address && *address != 0
    }

    /// DHCP (RFC 2131): from 0.0.0.0, client port to server port.
    #[inline(always)]
    fn is_exempt(packet: &Packet<u32>) -> bool {
        packet.source == 0
            && packet.protocol == protocol::UDP
            && packet.role & role::FRAGMENT == 0
            && packet.source_port == 68
            && packet.destination_port == 67
    }

    #[inline(always)]
    fn link_message(_: &Frame, packet: &Packet<u32>) -> (LinkMessage, u32) {
        (LinkMessage::No, packet.source)
    }

    #[inline(always)]
    fn may_be_link_message(_: &Packet<u32>) -> bool {
        false
    }

    /// DHCP (RFC 2131): from server port to client port.
    #[inline(always)]
    fn is_never_a_pods(packet: &Packet<u32>, _: usize) -> bool {
        packet.protocol == protocol::UDP
            && packet.source_port == 67
            && packet.destination_port == 68
    }

    /// Of no meaning here: link-local IPv4 addresses are routed like others (169.254.10.10).
    #[inline(always)]
    fn is_link_local(_: &u32) -> bool {
        false
    }

    #[inline(always)]
    fn is_group(address: &u32) -> bool {
        *address >> 28 == 0xe || *address == u32::MAX
    }

    #[inline(always)]
    fn is_unspecified(address: &u32) -> bool {
        *address == 0
    }
}

/// IPv6.
pub(crate) struct V6;

impl Family for V6 {
    type Address = Address6;
    type Flow = Flow6;
    type Group = Group6;
    type Fragments = Fragment6;
    const VERSION: u8 = 6;
    const ETHERTYPE: u16 = ethertype::IPV6;
    const ERROR: usize = 1280;

    #[inline(always)]
    fn parse(frame: &Frame, start: usize) -> Result<Packet<Address6>, Malformed> {
        packet::ipv6(frame, start)
    }

    #[inline(always)]
    fn segment(frame: &Frame) -> Option<Packet<Address6>> {
        packet::segment6(frame)
    }

    #[inline(always)]
    fn fixed(frame: &Frame, start: usize) -> Option<Fixed<Address6>> {
        packet::fixed6(frame, start)
    }

    #[inline(always)]
    fn quoted(frame: &Frame, packet: &Packet<Address6>) -> Option<Quoted<Address6>> {
        packet::quoted6(frame, packet)
    }

    #[inline(always)]
    fn entry(order: Order, address: &Address6) -> Entry {
        known_address6(order, address)
    }

    #[inline(always)]
    fn near_entry(order: Order, address: &Address6) -> Option<Entry> {
        near6(&KernelTables, order, address)
    }

    #[inline(always)]
    fn flow(local: Address6, remote: Address6, tail: FlowTail) -> Flow6 {
        Flow6 { local, remote, tail }
    }

    #[inline(always)]
    fn flow_tags() -> &'static Array<u64> {
        &FLOW_TAGS6
    }

    #[inline(always)]
    fn flow_groups() -> &'static Array<Group6> {
        &FLOW_ENTRIES6
    }

    #[inline(always)]
    fn other_flow_tags() -> &'static Array<u64> {
        &OTHER_FLOW_TAGS6
    }

    #[inline(always)]
    fn other_flow_groups() -> &'static Array<Group6> {
        &OTHER_FLOW_ENTRIES6
    }

    #[inline(always)]
    fn fragments(
        packet: &Packet<Address6>,
        endpoint: &Endpoint,
        direction: Direction,
    ) -> Fragment6 {
        let tail = fragment_tail(packet, 0, endpoint, direction);
        Fragment6 { source: packet.source, destination: packet.destination, tail }
    }

    #[inline(always)]
    fn fragment_table() -> &'static LruHashMap<Fragment6, FragmentState> {
        &FRAGMENTS6
    }

    #[inline(always)]
    fn wide(address: &Address6) -> Address6 {
        *address
    }

    #[inline(always)]
    fn narrow(wide: &Address6) -> Option<Address6> {
        Some(*wide)
    }

    #[inline(always)]
    fn own(endpoint: &Endpoint) -> Option<Address6> {
        ((endpoint.address6[0] | endpoint.address6[1]) != 0).then_some(endpoint.address6)
    }

    #[inline(always)]
    fn is_own(endpoint: &Endpoint, address: &Address6) -> bool {
        ((endpoint.address6[0] ^ address[0]) | (endpoint.address6[1] ^ address[1])) == 0
            && (address[0] | address[1]) != 0
    }

    /// Link-local addresses. Duplicate address detection is a link message, allowed earlier.
    #[inline(always)]
    fn is_exempt(packet: &Packet<Address6>) -> bool {
        packet::is_link_local(&packet.source)
    }

    #[inline(always)]
    fn link_message(frame: &Frame, packet: &Packet<Address6>) -> (LinkMessage, Address6) {
        packet::link_message(frame, packet, frame.network(), frame.length() as usize)
    }

    #[inline(always)]
    fn may_be_link_message(packet: &Packet<Address6>) -> bool {
        packet::has_link_type(packet)
    }

    /// Router advertisements and the like; DHCPv6 (RFC 8415): from server port to client port; hidden
    /// messages.
    #[inline(always)]
    fn is_never_a_pods(packet: &Packet<Address6>, network: usize) -> bool {
        packet::is_router_message(packet)
            || packet::is_hidden_discovery(packet, network)
            || (packet.protocol == protocol::UDP
                && packet.source_port == 547
                && packet.destination_port == 546)
    }

    #[inline(always)]
    fn is_link_local(address: &Address6) -> bool {
        packet::is_link_local(address)
    }

    #[inline(always)]
    fn is_group(address: &Address6) -> bool {
        packet::is_multicast(address)
    }

    #[inline(always)]
    fn is_unspecified(address: &Address6) -> bool {
        (address[0] | address[1]) == 0
    }
}
