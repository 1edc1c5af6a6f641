//! The headers of a packet, as the hooks read them.

use enforcer_ebpf::packet::{Bytes as _, Malformed, Packet};

use crate::program::family::Family;
use crate::program::frame::Frame;

/// Parses the packet; if that fails, makes more of it readable in place and tries again.
#[inline(always)]
pub(crate) fn parse<F: Family>(
    frame: &mut Frame,
    start: usize,
) -> Result<Packet<F::Address>, Malformed> {
    let parsed = F::parse(frame, start);
    if parsed.is_err() && frame.pull() {
        return F::parse(frame, start);
    }
    parsed
}

/// Makes the verifier forget which path through its headers a packet took. Otherwise it proves
/// everything that follows once for each path.
#[inline(always)]
pub(crate) fn merge_paths<A>(frame: &Frame, packet: &mut Packet<A>) {
    let Packet { role, protocol, icmp_type, icmp_code, .. } = *packet;
    let word = u32::from_ne_bytes([role, protocol, icmp_type, icmp_code]) as usize;
    [packet.role, packet.protocol, packet.icmp_type, packet.icmp_code] =
        (frame.settle(word) as u32).to_ne_bytes();
    let ports = u32::from(packet.source_port) << 16 | u32::from(packet.destination_port);
    let ports = frame.settle(ports as usize) as u32;
    packet.source_port = (ports >> 16) as u16;
    packet.destination_port = ports as u16;
}
