//! The promises of the NetworkPolicy documentation and of the upstream end-to-end tests as a table
//! of cases: `cases/*.yaml`, explained in `cases/README.md`, with expectations written by hand.
//! They are compared with the reference evaluator, and, as root, with real connections.
//!
//! What belongs here: the meaning of policies, in states that a table can express. What does not:
//! anything that needs code to show, such as open connections or the agent's restart (`scenarios`).
//!
//! The meaning of a policy does not depend on the topology, on the number of nodes or on the source
//! of the cluster. Two labs cover both values of each.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

mod case;
mod expect;
mod feed;
mod ground;
mod report;
mod stand;
mod world;

use std::collections::BTreeSet;
use std::path::Path;

use enforcer_core::policy::reference::connection_allowed;
use enforcer_tests::lab::{Family, Sandbox, Topology};

use case::{Case, Stage};
use ground::Ground;
use stand::Stand;
use world::Hosts;

#[test]
fn cases_have_unique_names_and_cite_rules() {
    let cases = case::all();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "two cases share a name");
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ARCHITECTURE.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    for case in &cases {
        assert!(!case.intent.is_empty() && !case.rules.is_empty(), "{}", case.name);
        for rule in &case.rules {
            assert!(manual.contains(&format!("| **{rule}** |")), "{}: no rule {rule}", case.name);
        }
        for stage in &case.stages {
            let cells = world::cells(case, &stage.state);
            let idle: Vec<_> = stage.expected.idle(&cells).map(|line| &line.text).collect();
            assert!(idle.is_empty(), "{}, {}: covers nothing: {idle:?}", case.name, stage.what);
        }
    }
}

#[test]
fn the_reference_evaluator_expects_the_same() {
    let mut wrong = Vec::new();
    for topology in Topology::ALL {
        let mut hosts = Hosts::new(Ground::one_node(topology));
        for case in case::all() {
            for stage in &case.stages {
                wrong.extend(differences(&case, stage, &mut hosts, &topology.to_string()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} stages:\n{}", wrong.len(), wrong.join("\n"));
}

/// A report on the differences between expectation and reference evaluator, if any.
fn differences(case: &Case, stage: &Stage, hosts: &mut Hosts, place: &str) -> Option<String> {
    hosts.follow(&stage.state);
    let folder = tempfile::tempdir().unwrap();
    let text = world::manifests(&stage.state, hosts, false);
    let stored = case.stored.then_some(&stage.state);
    let cluster = world::cluster(folder.path(), &text, stored, hosts);
    let mut lines = Vec::new();
    for (from, to, traffic) in world::cells(case, &stage.state) {
        for family in Family::ALL {
            let expected = stage.expected.allows(&from, &to, traffic, family);
            let address = |party| world::address(party, family, hosts).unwrap();
            if connection_allowed(&cluster, address(&from), address(&to), traffic) != expected {
                let (from, to) = (expect::name(&from), expect::name(&to));
                let what = report::traffic_name(traffic);
                let verdict = if expected { "allow" } else { "deny" };
                lines.push((format!("{from} -> {to} : {what}  expected {verdict}"), family));
            }
        }
    }
    let text = || report::heading(case, stage, place) + &report::grouped(lines.iter().cloned());
    (!lines.is_empty()).then(text)
}

#[test]
fn cases_on_kubenet() {
    measured(Ground::one_node(Topology::Kubenet), false);
}

/// These agents read the cluster from an API server.
#[test]
fn cases_on_two_azure_cni_nodes_by_the_api() {
    measured(Ground { topology: Topology::AzureCni, nodes: 2 }, true);
}

/// Runs all cases in one lab, on a thread inside a sandbox.
fn measured(ground: Ground, by_api: bool) {
    let inside = move || {
        let sandbox = Sandbox::enter().expect("the lab's tests need root");
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(all_cases(&sandbox, ground, by_api));
    };
    if let Err(panic) = std::thread::spawn(inside).join() {
        std::panic::resume_unwind(panic);
    }
}

#[expect(clippy::print_stdout, reason = "the summary")]
async fn all_cases(sandbox: &Sandbox, ground: Ground, by_api: bool) {
    let mut stand = Stand::start(sandbox, ground, by_api).await;
    let mut cases = case::chosen();
    cases.retain(|it| by_api || !it.stored);
    let mut failures = Vec::new();
    for case in &cases {
        failures.extend(stand.run(case).await);
    }
    let (count, cells) = (cases.len(), stand.cells);
    stand.stop().await;
    println!("{ground}: {count} cases, {cells} cells, {} cases fail", failures.len());
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
}
