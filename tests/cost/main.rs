//! What packets cost apart from time, against the committed bounds. Needs no quiet machine.

use std::fs;

use enforcer_ebpf::contract::table::Limits;
use enforcer_tests::bench::{agreement, bounds, cost};
use enforcer_tests::simulator::Simulator;

#[test]
fn the_simulator_does_what_the_loaded_programs_do() {
    agreement::check().unwrap();
}

#[test]
fn no_packet_costs_more_than_its_bounds() {
    // Tests run in their package's folder.
    let text = fs::read_to_string(format!("../{}", bounds::PATH)).unwrap();
    let found = bounds::check(&cost::measure().unwrap(), &text);
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// Before Linux 6.0, ARM64 can't call functions in a program that calls others last (`kernel/bpf/verifier.c`,
/// `allow_tail_call_in_subprogs`).
#[test]
fn no_program_calls_both_functions_and_programs() {
    let simulator = Simulator::new(Limits::DEFAULT).unwrap();
    let callers: Vec<_> = simulator.callers_of_programs().collect();
    assert_eq!(callers, [("to_pod", 0), ("to_pod_deferred", 0)]);
}
