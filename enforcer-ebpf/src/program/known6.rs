//! What is known of an IPv6 address: a function that the verifier proves once.

use enforcer_ebpf::contract::endpoint::Order;
use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::lookup;
use enforcer_ebpf::packet::Address6;

use crate::program::maps::KernelTables;

/// What is known of the address. `order`: as for [`lookup::address4`].
#[inline(always)]
pub(crate) fn known_address6(order: Order, address: &Address6) -> Entry {
    Entry(find_address6(order.zero(), address[0], address[1]))
}

/// A global function: the verifier proves it once, for any arguments, instead of once for each state in
/// which it is called. It takes and returns numbers only: until Linux 5.12, nothing else was allowed.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_address6(order: u32, high: u64, low: u64) -> u32 {
    let entry = lookup::address6(&KernelTables, Order::known(order), &[high, low]);
    entry.unwrap_or(Entry::UNKNOWN).0
}
