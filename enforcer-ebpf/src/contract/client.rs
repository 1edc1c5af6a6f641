//! Clients outside the node, as seen before address translation (semantics N3).

use bytemuck::{Pod, Zeroable};

use crate::packet::Address6;

/// The packets from outside that a CPU remembers. A network device hands over at most 64 in a row,
/// and most are delivered before the next 64 are read. A power of two.
pub const CLIENTS: usize = 512;

/// The bits of a client's number: those of its mark, and the 16 of `skb->tc_index`.
pub const NUMBER: u32 = 30;

/// The time in nanoseconds before a CPU may use a number again: longer than a packet can stay
/// within the node. Reassembly keeps it for at most 60 seconds, neighbour resolution for a few.
pub const LAP: u64 = 128_000_000_000;

/// The number of a CPU's packet `count`. No two CPUs have the same numbers. `cpu_bits`: the bits of
/// the highest CPU number.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "higher bits make the next lap")]
pub const fn number(count: u64, cpu: u32, cpu_bits: u32) -> u32 {
    ((count << cpu_bits) as u32 | cpu) & ((1 << NUMBER) - 1)
}

/// Whether the numbers of a CPU begin to repeat with its packet `count`.
#[inline(always)]
#[must_use]
pub const fn begins_lap(count: u64, cpu_bits: u32) -> bool {
    count & ((1 << (NUMBER - cpu_bits)) - 1) == 0
}

/// The place in the ring of a CPU's packet `count`, or of the one with this number.
#[inline(always)]
#[must_use]
pub const fn place(count: u32) -> usize {
    count as usize & (CLIENTS - 1)
}

/// The sender of a packet from outside.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct Client {
    /// Source address as numbers; an IPv4 address is in `::ffff:a.b.c.d` form.
    pub address: Address6,
    /// The packet's number, see [`number`].
    pub number: u32,
    /// Source port, or whatever [`crate::packet::Packet::source_port`] holds instead.
    pub port: u16,
    /// Zero.
    pub padding: u16,
}

/// A CPU's latest packets from outside. Where reassembly or a queue moves a packet to another CPU,
/// or keeps it until its place is overwritten, its client is unknown: that CPU's ring, or the later
/// packet, has another number. A number is used again after [`LAP`] at the earliest.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
pub struct Clients {
    /// The packets so far.
    pub count: u64,
    /// When the numbers last began to repeat, in nanoseconds of the monotonic clock.
    pub lap_began: u64,
    /// The ring.
    pub ring: [Client; CLIENTS],
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of a CPU's packets in a lap.
    const fn lap(cpu_bits: u32) -> u64 {
        1 << (NUMBER - cpu_bits)
    }

    #[test]
    fn numbers_of_a_lap_differ_between_packets_and_cpus() {
        for cpu_bits in [0, 1, 4, 9] {
            let cpus = [0, (1_u32 << cpu_bits) - 1];
            for count in [0, 1, 2, 511, 512, lap(cpu_bits) - 1] {
                for cpu in cpus {
                    let it = number(count, cpu, cpu_bits);
                    assert_eq!(u64::from(it >> cpu_bits), count);
                    assert_eq!(it & ((1 << cpu_bits) - 1), cpu);
                }
            }
        }
    }

    #[test]
    fn a_number_is_repeated_only_after_a_lap_begins() {
        for cpu_bits in [0, 3, 9] {
            for count in [1, 77, lap(cpu_bits) - 1] {
                assert!(!begins_lap(count, cpu_bits));
                assert_eq!(number(count, 0, cpu_bits), number(count + lap(cpu_bits), 0, cpu_bits));
            }
            assert!(begins_lap(0, cpu_bits) && begins_lap(lap(cpu_bits), cpu_bits));
        }
    }

    #[test]
    fn the_place_of_a_number_is_that_of_its_count() {
        for cpu_bits in [0, 1, 9] {
            for count in [0_u32, 511, 512, 1_000_000] {
                let number = number(u64::from(count), 0, cpu_bits);
                assert_eq!(place(number >> cpu_bits), place(count));
            }
        }
    }
}
