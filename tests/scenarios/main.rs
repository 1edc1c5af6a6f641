//! What needs a whole lab: namespaces, real connections, the real agent. Needs root.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

mod addresses;
mod agent;
mod changes;
mod cluster;
mod command;
mod connection;
mod families;
mod floods;
mod fragments;
mod host;
mod kubectl;
mod lab;
mod leftovers;
mod loss;
mod paths;
mod policies;
mod restart;
mod scene;
mod sctp;
mod services;
mod start;
mod support;
mod unknown;
