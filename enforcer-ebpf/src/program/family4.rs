//! IPv4.

use aya_ebpf::maps::{Array, LruHashMap};
use enforcer_ebpf::contract::endpoint::{Endpoint, Order};
use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::flow::{Flow4, FlowTail};
use enforcer_ebpf::contract::flow_table::Group4;
use enforcer_ebpf::contract::fragment::{Fragment4, FragmentState};
use enforcer_ebpf::contract::lookup;
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_ebpf::packet::{
    self, Address6, Fixed, LinkMessage, Malformed, Packet, Quoted, ethertype, protocol, role,
};

use crate::program::family::{Family, fragment_tail};
use crate::program::frame::Frame;
use crate::program::maps::{
    FLOW_ENTRIES4, FLOW_TAGS4, FRAGMENTS4, KernelTables, OTHER_FLOW_ENTRIES4, OTHER_FLOW_TAGS4,
};

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
    fn datagram(frame: &Frame) -> Option<Packet<u32>> {
        packet::datagram4(frame)
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
    fn entry_in_place(order: Order, address: &u32) -> Entry {
        Self::entry(order, address)
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
