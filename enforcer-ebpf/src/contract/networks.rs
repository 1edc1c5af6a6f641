//! Shortcuts into the IPv6 trie, by network: a hash of an address's first 64 bits gives the word where
//! the trie's path reaches that network.
//!
//! Nodes have /64s, and pods differ in the rest: the trie takes several steps to the network, and one from
//! there. A shortcut is one word, and no proof: what it leads to has the network's number and is compared
//! with the address. A network without a shortcut is looked up in the trie, with the same result. So a
//! table that is full, or a change of several words, costs time only.
//!
//! A cluster's nodes have consecutive networks. 16 of them are hashed together, and their words share a
//! cache line: those of 400 networks are in 25 lines, not in as many lines and 128 pages.
//!
//! Tenants choose networks in `ipBlock`s. They can't choose a place in the table: the hash has two random
//! multipliers (multiply-shift, Dietzfelbinger et al. 1997), each network has a place by either of them,
//! and the agent moves networks to their other place to make room. At the default limits there are three
//! times as many places as networks can have words: each needs a node or leaf of the trie of its own.

use crate::contract::table::{Limits, NETWORK_PLACES};

/// 64 less the bits of a place's number.
const SHIFT: u32 = 64 - NETWORK_PLACES.trailing_zeros();

/// The networks that are hashed together: as many as a cache line has words.
const ALIKE: u64 = 16;

/// The hash of networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// Two random odd numbers.
    pub secrets: [u64; 2],
}

impl Places {
    /// Of fixed numbers, for tables that no attacker reaches.
    pub const KNOWN: Self = Self { secrets: [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f] };

    /// The first place of a network, which is the first 64 bits of its addresses.
    #[inline(always)]
    #[must_use]
    pub const fn first(&self, network: u64) -> u32 {
        place(network, self.secrets[0])
    }

    /// Its other place.
    #[inline(always)]
    #[must_use]
    pub const fn second(&self, network: u64) -> u32 {
        place(network, self.secrets[1])
    }
}

/// The hash decides about all bits of a place. So networks that are not hashed together are spread over
/// the whole table, whatever their last bits are.
#[inline(always)]
const fn place(network: u64, secret: u64) -> u32 {
    let line = ((network / ALIKE).wrapping_mul(secret) >> SHIFT) as u32;
    line ^ (network % ALIKE) as u32
}

const _: () = {
    let limits = Limits::DEFAULT;
    assert!(NETWORK_PLACES.is_power_of_two());
    assert!(NETWORK_PLACES / 3 > (limits.trie6_nodes + limits.trie6_leaves) as usize);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_within_the_table_and_spread() {
        let mut counts = vec![0_u32; NETWORK_PLACES];
        for node in 0..1_000_u64 {
            let network = 0xfd12_3456_789a_0000 + node;
            counts[Places::KNOWN.first(network) as usize] += 1;
            counts[Places::KNOWN.second(network) as usize] += 1;
        }
        assert!(counts.iter().max() < Some(&6));
    }

    #[test]
    fn consecutive_networks_share_cache_lines() {
        let places = (0..160).map(|node| Places::KNOWN.first(0xfd12_3456_789a_0000 + node));
        let lines: std::collections::BTreeSet<u32> = places.map(|place| place / 16).collect();
        assert_eq!(lines.len(), 10);
    }

    #[test]
    fn networks_with_the_same_last_bits_are_spread() {
        let mut counts = vec![0_u32; NETWORK_PLACES / 64];
        for tenant in 0..20_000_u64 {
            // Any numbers that are 5 in their last bits.
            let network = tenant.wrapping_mul(0xd6e8_feb8_6659_fd93) << 4 | 5;
            counts[Places::KNOWN.first(network) as usize / 64] += 1;
        }
        // 9.8 of each 64 places on average.
        assert!(counts.iter().max() < Some(&32), "{:?}", counts.iter().max());
    }
}
