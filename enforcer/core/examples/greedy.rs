//! Measures plans for greedy tenants: time, memory, and whose pods are closed.
//!
//! `cargo run --release -p enforcer-core --example greedy -- PODS PAIRS [MODEST] [shared] [nested]`

use std::collections::BTreeSet;
use std::time::Instant;

use enforcer_core::estates::{Greedy, interfaces, local};
use enforcer_core::model::{Change, Pod, PodId};
use enforcer_core::policy::compile;
use enforcer_core::tables::{Desired, State};
use enforcer_ebpf::contract::table::Limits;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<u32> = words.iter().filter_map(|it| it.parse().ok()).collect();
    let has = |word: &str| words.iter().any(|it| it == word);
    let estate = Greedy {
        pods: numbers.first().copied().unwrap_or(60),
        pairs: numbers.get(1).copied().unwrap_or(1_000),
        modest: numbers.get(2).copied().unwrap_or(0),
        shared: has("shared"),
        nested: has("nested"),
    };
    let mut cluster = estate.cluster();
    let base = memory();
    let mut state = State::new(Limits::DEFAULT);
    let local = local(&cluster);
    for round in 0..4 {
        let began = Instant::now();
        let compiled = compile(&cluster, &local);
        let compiled_at = began.elapsed();
        let desired = Desired { compiled, interfaces: interfaces(&cluster, &local) };
        let plan = state.plan(&desired);
        let took = began.elapsed();
        let closed: BTreeSet<_> = plan.unrepresented.iter().map(|it| &it.pod).collect();
        let own = closed.iter().filter(|it| Greedy::is_greedy(it)).count();
        let reason = plan.unrepresented.first().map(|it| it.reason.clone()).unwrap_or_default();
        println!(
            "round {round}: compile {compiled_at:?}, all {took:?}, {} steps; closed {own} own, {} others; {reason}",
            plan.steps.len(),
            closed.len() - own,
        );
        // A pod elsewhere comes or goes.
        let mut pod = Pod::new(PodId::new("elsewhere", format!("pod-{round}")));
        pod.addresses = [[10, 9, 9, 9].into()].into();
        cluster.apply(Change::Pod(pod));
    }
    println!("memory before {base}, peak {}", memory());
}

/// The peak of this process's resident memory.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
}
