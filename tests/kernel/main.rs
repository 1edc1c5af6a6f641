//! The loaded programs, packet by packet (`BPF_PROG_TEST_RUN`), and their hooks and tables. Needs
//! root.
//!
//! What belongs here: what only the kernel can show of the programs, on each supported kernel
//! (`cargo xtask vm-test`). What does not: parsing and table look-ups that run as plain Rust
//! (`enforcer-ebpf`, `fuzz`), plans of table writes (`enforcer-core`), real connections
//! (`scenarios`).
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests fail loudly")]

mod always;
mod capacity;
mod clients;
mod errors;
mod faults;
mod floods;
mod fragments;
mod generated;
mod grace;
mod hooks;
mod hostile;
mod journeys;
mod lifetime;
mod link_messages;
mod log_lines;
mod node_sent;
mod origin;
mod ports;
mod services;
mod starts;
mod support;
mod trial;
mod tried;
mod two_cpus;
mod upgrade;
mod verifier;
