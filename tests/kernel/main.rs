//! The loaded programs, judged packet by packet.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests fail loudly")]

mod always;
mod clients;
mod errors;
mod faults;
mod floods;
mod fragments;
mod generated;
mod hooks;
mod hostile;
mod journeys;
mod lifetime;
mod link_messages;
mod log_lines;
mod origin;
mod ports;
mod services;
mod support;
mod tried;
mod verifier;
