//! IPv6.

use aya_ebpf::maps::{Array, LruHashMap};
use enforcer_ebpf::contract::endpoint::{Endpoint, Order};
use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::flow::{Flow6, FlowTail};
use enforcer_ebpf::contract::flow_table::Group6;
use enforcer_ebpf::contract::fragment::{Fragment6, FragmentState};
use enforcer_ebpf::contract::lookup6::{address6, near6};
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_ebpf::packet::{
    self, Address6, Fixed, LinkMessage, Malformed, Packet, Quoted, ethertype, protocol,
};

use crate::program::family::{Family, fragment_tail};
use crate::program::frame::Frame;
use crate::program::known6::known_address6;
use crate::program::maps::{
    FLOW_ENTRIES6, FLOW_TAGS6, FRAGMENTS6, KernelTables, OTHER_FLOW_ENTRIES6, OTHER_FLOW_TAGS6,
};

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
    fn datagram(frame: &Frame) -> Option<Packet<Address6>> {
        packet::datagram6(frame)
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
    fn entry_in_place(order: Order, address: &Address6) -> Entry {
        address6(&KernelTables, order, address).unwrap_or(Entry::UNKNOWN)
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
