//! What packets cost apart from time, against the committed bounds. Needs no quiet machine.

use std::fs;

use enforcer_tests::bench::{agreement, bounds, cost};

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
