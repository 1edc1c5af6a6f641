//! Programs that are attached to no interface: the agent and `cargo xtask bench` test-run them.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use enforcer_ebpf::packet::{self, Malformed, Packet, ethertype};

use crate::program::clock;
use crate::program::family::Family;
use crate::program::family4::V4;
use crate::program::family6::V6;
use crate::program::frame::{DROP, Frame, NEXT};

/// The cost of calling a program, which `cargo xtask bench` compares with.
#[classifier]
#[inline(always)]
pub(crate) fn empty(_: TcContext) -> i32 {
    NEXT
}

/// The current bucket of the coarse clock. Only programs can read jiffies; the agent calls this.
#[classifier]
#[inline(always)]
pub(crate) fn clock(_: TcContext) -> i32 {
    clock::now() as i32
}

/// The cost of parsing a packet, which `cargo xtask bench` compares with.
#[classifier]
#[inline(always)]
pub(crate) fn parse_only(context: TcContext) -> i32 {
    let frame = Frame::new(context);
    let Ok((kind, start)) = packet::ethernet(&frame) else { return DROP };
    match kind {
        ethertype::IPV4 => parsed(V4::parse(&frame, start)),
        ethertype::IPV6 => parsed(V6::parse(&frame, start)),
        _ => NEXT,
    }
}

#[inline(always)]
fn parsed<A>(packet: Result<Packet<A>, Malformed>) -> i32 {
    match packet {
        // Unused ports: the comparison keeps the compiler from removing the reads.
        Ok(packet) if packet.source_port == 0xffff && packet.destination_port == 0xffff => DROP,
        Ok(_) => NEXT,
        Err(Malformed) => DROP,
    }
}
