//! The look-up of an IPv6 address's class.
//!
//! ```text
//! root, by the first byte ─► a class, or a leaf ─► class
//!   └─► shortcut, by the first 64 bits ─► node of that network ─► class
//!         └─► the trie, byte by byte
//! ```

use crate::contract::endpoint::Order;
use crate::contract::entry::Entry;
use crate::contract::lookup::{Tables, reload};
use crate::contract::table::{DEPTH6, Leaf6, NETWORK_PLACES, ROOT6, SLOTS};
use crate::packet::Address6;

/// What is known of an IPv6 address. `order`: as for [`crate::contract::lookup::address4`].
#[inline(always)]
pub fn address6<T: Tables>(tables: &T, order: Order, address: &Address6) -> Option<Entry> {
    let root = Entry(tables.node6(ROOT6 + order.zero())?.slots[slot(address[0], 56)]);
    if root.is_link() {
        let places = tables.network_places();
        // Both now: what they have in common would take more of the stack meanwhile.
        let [first, second] = [places.first(address[0]), places.second(address[0])]
            .map(|place| reload(place + order.zero()));
        let mut word = shortcut(tables, first)?;
        if !is_of(tables, word, address[0]) {
            word = shortcut(tables, second)?;
        }
        if is_of(tables, word, address[0]) {
            return below(tables, word, address);
        }
    }
    below(tables, root, address)
}

/// The same for most addresses: those outside of the pods' networks, and those of networks with at most
/// 256 consecutive addresses. `None`: it is not one of these.
#[inline(always)]
pub fn near6<T: Tables>(tables: &T, order: Order, address: &Address6) -> Option<Entry> {
    let root = tables.node6(ROOT6 + order.zero())?;
    let word = Entry(root.slots[slot(address[0], 56)]);
    if word.is_leaf() {
        return Some(in_leaf(tables.leaf6(word.index())?, address));
    }
    if !word.is_link() {
        return Some(word);
    }
    let place = tables.network_places().first(address[0]);
    let word = shortcut(tables, place + order.zero())?;
    if word.is_leaf() {
        let leaf = tables.leaf6(word.index())?;
        return (leaf.value[0] == address[0]).then(|| in_leaf(leaf, address));
    }
    if !word.is_link() {
        return None;
    }
    let shift = word.shift();
    let node = tables.node6(word.index())?;
    if node.value[0] != address[0] {
        return None;
    }
    // Of a node that a network has for itself, the byte is in the second half.
    let word = if (address[1] ^ node.value[1]) & node.mask[1] == 0 {
        Entry(node.slots[slot(address[1], shift)])
    } else {
        Entry(node.outside)
    };
    (!word.is_link() && !word.is_leaf()).then_some(word)
}

/// Whether a shortcut leads to this network.
#[inline(always)]
fn is_of<T: Tables>(tables: &T, word: Entry, network: u64) -> bool {
    if word.is_link() {
        tables.node6(word.index()).is_some_and(|node| node.value[0] == network)
    } else {
        word.is_leaf() && tables.leaf6(word.index()).is_some_and(|leaf| leaf.value[0] == network)
    }
}

/// What is known of an address at a word of the trie.
#[inline(always)]
fn below<T: Tables>(tables: &T, mut word: Entry, address: &Address6) -> Option<Entry> {
    for _ in 0..DEPTH6 {
        if !word.is_link() {
            break;
        }
        let node = tables.node6(word.index())?;
        if !within(address, &node.value, &node.mask) {
            return Some(Entry(node.outside));
        }
        let half = if node.shift & 64 == 0 { address[1] } else { address[0] };
        word = Entry(node.slots[slot(half, node.shift)]);
    }
    if word.is_leaf() {
        return Some(in_leaf(tables.leaf6(word.index())?, address));
    }
    Some(word)
}

#[inline(always)]
fn in_leaf(leaf: &Leaf6, address: &Address6) -> Entry {
    let inside = within(address, &leaf.value, &leaf.mask);
    Entry(if inside { leaf.inside } else { leaf.outside })
}

/// Whether an IPv6 address equals `value` in all bits of `mask`.
#[inline(always)]
fn within(address: &Address6, value: &Address6, mask: &Address6) -> bool {
    ((address[0] ^ value[0]) & mask[0]) | ((address[1] ^ value[1]) & mask[1]) == 0
}

/// The slot that a byte chooses.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the byte is masked out of what is left")]
fn slot(half: u64, shift: u32) -> usize {
    (half >> (shift & 63)) as usize & (SLOTS - 1)
}

/// The word at a place of the networks' table.
#[inline(always)]
fn shortcut<T: Tables>(tables: &T, place: u32) -> Option<Entry> {
    Some(Entry(tables.networks6()?[place as usize & (NETWORK_PLACES - 1)]))
}
