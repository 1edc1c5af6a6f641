//! The parts of `to_pod` that are programs of their own, called by tail calls.
//!
//! Before Linux 6.4, the verifier proves a program that calls functions many times over: as one program,
//! `to_pod` exceeds the limit of 5.15 several times. So `to_pod` decides on most packets by its short
//! way, and hands the others on. A table of programs is emptied when nobody holds it any more, neither
//! by a descriptor nor by a pin: see the agent's `parts` module.

/// Packets that the node itself sent, but for the plain ones.
pub const FROM_NODE: u32 = 0;
/// What the sender's hook deferred, and packets without a mark. It hands on what may proceed.
pub const DEFERRED: u32 = 1;
/// The verdict on other packets, but for IPv6.
pub const TO_POD: u32 = 2;
/// The verdict on IPv6 packets.
pub const TO_POD6: u32 = 3;

/// The programs by their places in the table.
pub const NAMES: [&str; 4] =
    ["to_pod_from_node", "to_pod_deferred", "to_pod_general", "to_pod_general6"];

/// The number of programs.
#[expect(clippy::cast_possible_truncation, reason = "a handful")]
pub const COUNT: u32 = NAMES.len() as u32;
