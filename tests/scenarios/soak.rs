//! Two minutes of churn, kills, floods and traffic together: `cargo xtask soak` goes on for longer.

use std::time::Duration;

use enforcer_tests::lab::Topology;
use enforcer_tests::soak::{Options, soak};

use crate::support::{agent, in_sandbox, spawner};

#[test]
fn every_invariant_holds_for_two_minutes() {
    in_sandbox(async |sandbox| {
        let options = Options {
            duration: Duration::from_secs(100),
            seed: 13,
            topology: Topology::AzureCni,
            agent: agent(),
            spawner: spawner(),
            arguments: Vec::new(),
            is_verbose: true,
        };
        let summary = soak(sandbox, &options).await.unwrap();
        assert!(summary.passed(), "{summary}");
    });
}
