//! Measures the engine and its plans on generated clusters: times, and memory.
//!
//! `cargo run --release -p enforcer-core --example scale [-- PODS POLICIES RELEVANT]`; without numbers
//! the table of all sizes. Each size runs in a process of its own, so that its memory is measured.

use std::collections::BTreeSet;
use std::time::Duration;

use enforcer_core::estates::{Greedy, Large, interfaces, local};
use enforcer_core::model::{Change, Cluster, PodId};
use enforcer_core::policy::{Engine, Touched, compile};
use enforcer_core::tables::{Desired, Interface, State};
use enforcer_ebpf::contract::table::Limits;
use nix::time::{ClockId, clock_gettime};

/// Pods, policies, and relevant policies.
const SIZES: [[u32; 3]; 4] =
    [[1_000, 100, 50], [10_000, 1_000, 100], [10_000, 1_000, 1_000], [100_000, 10_000, 1_000]];

/// Greedy tenants: their pods, pairs, modest pods beside them, and further words.
const GREEDY: [&[&str]; 7] = [
    &["greedy", "60", "1000", "0"],
    &["greedy", "60", "4000", "0"],
    &["greedy", "40", "1000", "10"],
    &["greedy", "60", "1000", "10", "shared"],
    &["greedy", "10", "1000", "10", "nested"],
    &["greedy", "1", "5000", "0"],
    &["greedy", "240", "1000", "10"],
];

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<u32> = words.iter().filter_map(|word| word.parse().ok()).collect();
    match (words.first().map(String::as_str), &numbers[..]) {
        (Some("greedy"), &[pods, pairs, modest]) => {
            let has = |word: &str| words.iter().any(|it| it == word);
            greedy(Greedy { pods, pairs, modest, shared: has("shared"), nested: has("nested") });
        }
        (_, &[pods, policies, relevant]) => large(Large { pods, policies, local: 110, relevant }),
        _ => all()?,
    }
    Ok(())
}

/// Runs every size.
fn all() -> std::io::Result<()> {
    println!(
        "{:>24} {:>9} {:>9} {:>17} {:>17} {:>17} {:>14} {:>7}",
        "pods/policies/relevant",
        "compile",
        "engine",
        "pod",
        "label",
        "policy",
        "model, RSS MiB",
        "B/pod"
    );
    for size in SIZES {
        run(&size.map(|number| number.to_string()))?;
    }
    println!(
        "{:>24} {:>9} {:>17} {:>9} {:>9}",
        "greedy", "first", "each later", "peak MiB", "closed"
    );
    for words in GREEDY {
        run(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn run(words: &[String]) -> std::io::Result<()> {
    std::process::Command::new(std::env::current_exe()?).args(words).status()?;
    Ok(())
}

/// A cluster with an engine and tables that follow it.
struct Follower {
    cluster: Cluster,
    local: BTreeSet<PodId>,
    engine: Engine,
    state: State,
    interfaces: std::collections::BTreeMap<u32, Interface>,
}

impl Follower {
    fn new(cluster: Cluster) -> (Self, Duration) {
        let local = local(&cluster);
        let interfaces = interfaces(&cluster, &local);
        let began = processor_time();
        let (mut engine, delta) = Engine::new(&cluster, &local);
        let mut state = State::new(Limits::DEFAULT);
        let plan = state.follow(&mut engine, &delta, &interfaces);
        let took = processor_time().saturating_sub(began);
        drop(plan);
        (Self { cluster, local, engine, state, interfaces }, took)
    }

    fn go(&mut self, change: Change) -> Duration {
        let mut touched = Touched::default();
        touched.note(&change);
        let began = processor_time();
        self.cluster.apply(change);
        let delta = self.engine.update(&self.cluster, &touched, &self.local);
        let plan = self.state.follow(&mut self.engine, &delta, &self.interfaces);
        let took = processor_time().saturating_sub(began);
        drop(plan);
        took
    }
}

fn large(estate: Large) {
    let Large { pods, policies, relevant, .. } = estate;
    let before = memory("VmRSS");
    let cluster = estate.cluster();
    let model = memory("VmRSS");
    let (mut follower, engine) = Follower::new(cluster);
    let resident = memory("VmRSS");
    let mut pod_times = Vec::new();
    let mut label_times = Vec::new();
    let mut policy_times = Vec::new();
    for step in 0..1_000 {
        let pod = estate.pod((step * 7_919 + 1) % pods);
        pod_times.push(follower.go(Change::PodGone(pod.id.clone())));
        pod_times.push(follower.go(Change::Pod(pod.clone())));
        let mut labelled = pod.clone();
        let tier = ["web", "api", "db"][step as usize % 3];
        labelled.labels.insert("tier", tier);
        label_times.push(follower.go(Change::Pod(labelled)));
        label_times.push(follower.go(Change::Pod(pod)));
    }
    for step in 0..300 {
        let policy = estate.policy(step * 31 % relevant, estate.namespaces());
        policy_times.push(follower.go(Change::PolicyGone(policy.id.clone())));
        policy_times.push(follower.go(Change::Policy(policy)));
    }
    let began = processor_time();
    let compiled = compile(&follower.cluster, &follower.local);
    let desired = Desired { compiled, interfaces: follower.interfaces.clone() };
    let scratch = State::new(Limits::DEFAULT).plan(&desired);
    let compile_time = processor_time().saturating_sub(began);
    let [groups, classes, rows] = follower.engine.sizes();
    println!(
        "{:>24} {:>9} {:>9} {:>17} {:>17} {:>17} {:>14} {:>7}   {groups} groups, {classes} classes, {rows} rows{}",
        format!("{pods}/{policies}/{relevant}"),
        ms(compile_time),
        ms(engine),
        percentiles(pod_times),
        percentiles(label_times),
        percentiles(policy_times),
        format!("{} {}", model / 1024, resident / 1024),
        (resident - before) * 1024 / u64::from(pods),
        if scratch.unrepresented.is_empty() { "" } else { ", not all fits" },
    );
}

fn greedy(estate: Greedy) {
    let cluster = estate.cluster();
    let local = local(&cluster);
    let base = memory("VmHWM");
    let (mut follower, first) = Follower::new(cluster);
    let mut later = Vec::new();
    for step in 0..20 {
        let mut pod = enforcer_core::model::Pod::new(PodId::new("elsewhere", format!("{step}")));
        pod.addresses = [[10, 9, 9, step].into()].into();
        later.push(follower.go(Change::Pod(pod)));
    }
    // A policy of the tenant changes, again and again.
    let policies: Vec<_> = follower.cluster.policies.values().take(5).cloned().collect();
    for policy in policies {
        later.push(follower.go(Change::PolicyGone(policy.id.clone())));
        later.push(follower.go(Change::Policy(policy)));
    }
    let delta = follower.engine.update(&follower.cluster, &Touched::default(), &local);
    let plan = follower.state.follow(&mut follower.engine, &delta, &follower.interfaces);
    let closed: BTreeSet<_> = plan.unrepresented.iter().map(|it| &it.pod).collect();
    let own = closed.iter().filter(|it| Greedy::is_greedy(it)).count();
    let words = [(estate.shared, " shared"), (estate.nested, " nested")];
    let words: String = words.iter().filter(|it| it.0).map(|it| it.1).collect();
    println!(
        "{:>24} {:>9} {:>17} {:>9} {:>9}   {}",
        format!("{} × {} + {}{words}", estate.pods, estate.pairs, estate.modest),
        ms(first),
        percentiles(later),
        format!("{}+{}", base / 1024, (memory("VmHWM") - base) / 1024),
        format!("{own}/{}", closed.len() - own),
        plan.unrepresented.first().map_or("", |it| it.reason.as_str()),
    );
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// The time that this thread has had a processor: other processes do not count.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Median, 99th percentile and maximum.
fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len() - 1));
    let ms = |time: Option<&Duration>| time.map_or(0.0, |it| it.as_secs_f64() * 1e3);
    format!("{:.2} {:.2} {:.1}", ms(at(50)), ms(at(99)), ms(at(100)))
}

/// A field of this process's status, in KiB.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field));
    line.and_then(|it| it.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}
