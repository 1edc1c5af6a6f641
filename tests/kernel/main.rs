//! The loaded programs, judged packet by packet.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests fail loudly")]

mod always;
mod faults;
mod fragments;
mod generated;
mod hooks;
mod hostile;
mod lifetime;
mod log_lines;
mod services;
mod support;
