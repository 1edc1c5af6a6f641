//! The whole system: a lab of network namespaces, real connections, the real agent. Needs root.
//!
//! What belongs here: behaviour that only shows on real traffic, in the agent's process, or in the
//! lab's program. What does not: the meaning of a policy (a case of `conformance`), the verdict on
//! a single packet (`kernel`), the finding of interfaces (`node`), the agent's requests to an API
//! server (`api`).
//!
//! Topologies: a test runs in both, on kubenet and Azure CNI, where the link layer, neighbour
//! discovery, uplinks, source checks, bridging, path MTU, address translation or the lab itself
//! decides the result; a comment gives the reason. All other tests run in one; a module's tests
//! alternate, so that each topology gets about half of them.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

/// Declares tests, a line each: name, setup, body.
macro_rules! scenarios {
    ($($name:ident: $setup:expr => $body:expr;)*) => {
        $(#[test]
        fn $name() {
            crate::scene::with_scene($setup, $body);
        })*
    };
}

/// Scenarios that few kernels can run.
macro_rules! machine_scenarios {
    ($($name:ident: $setup:expr => $body:expr;)*) => {
        $(#[test]
        #[ignore = "needs ip_vs or SCTP sockets: cargo xtask vm-test --lab"]
        fn $name() {
            crate::scene::with_scene($setup, $body);
        })*
    };
}

mod addresses;
mod agent;
mod audit;
mod bandwidth;
mod changes;
mod cluster;
mod command;
mod connection;
mod drift;
mod families;
mod floods;
mod flows;
mod fragments;
mod hooks;
mod host;
mod install;
mod kubectl;
mod lab;
mod leftovers;
mod loss;
mod node_dns;
mod observers;
mod ownership;
mod page;
mod paths;
mod reject;
mod restart;
mod scene;
mod sctp;
mod sctp_sockets;
mod services;
mod soak;
mod standard_input;
mod start;
mod support;
mod telemetry;
mod trace;
mod tutorial;
mod unknown;
