//! The contract's fixed sizes as `u32`, the type of the tables' indices.

use enforcer_ebpf::contract::table;

/// Cells of a block of verdicts.
pub(super) const SLOTS: u32 = number(table::SLOTS);
/// Port classes.
pub(super) const PORT_CLASSES: u32 = number(table::PORT_CLASSES);
/// Ports of all protocols: one past the last `protocol index * 65536 + port`.
pub(super) const PORTS: u32 = number(table::PORT_PROTOCOLS) << 16;
/// Places of IPv6 networks.
pub(super) const NETWORK_PLACES: u32 = number(table::NETWORK_PLACES);
/// Slots for interfaces.
pub(super) const INTERFACE_SLOTS: u32 = number(table::INTERFACE_SLOTS);

#[expect(clippy::cast_possible_truncation, reason = "the contract's sizes are small")]
const fn number(size: usize) -> u32 {
    size as u32
}
