//! Metrics, status and probes while the reconciler's thread stands still in the middle of its work.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use enforcer_tests::lab::{Party, Topology};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::agent::{budget_renewed, isolate_server, send};
use crate::scene::{INGRESS_ISOLATED, OPEN, Scene, policy, until, with_scene};

/// The thread that plans, writes tables and attaches programs.
const THREAD: &str = "reconciler";
/// The duration in which observers answer.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A thread that a tracer has stopped; dropping this lets it run again.
struct Stopped {
    release: Option<std::sync::mpsc::Sender<()>>,
    tracer: Option<std::thread::JoinHandle<()>>,
}

impl Stopped {
    /// Stops the thread as soon as it works, outside the C library: there it may hold the only
    /// allocator's lock, which no plan and no system call does. The thread that traces must be the
    /// one that detaches.
    fn when_busy(process: u32) -> Self {
        let (release, released) = std::sync::mpsc::channel();
        let (stopped, is_stopped) = std::sync::mpsc::channel();
        let tracer = std::thread::spawn(move || {
            let (thread, files) = find(process);
            let started = Instant::now();
            loop {
                assert!(started.elapsed() < AT_ONCE * 5, "the thread never works");
                if !is_busy(&files) {
                    continue;
                }
                ptrace::seize(thread, ptrace::Options::empty()).unwrap();
                ptrace::interrupt(thread).unwrap();
                waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
                if !is_in_c_library(process, &files) {
                    break;
                }
                ptrace::detach(thread, None).unwrap();
            }
            stopped.send(()).unwrap();
            // Also if the test fails.
            let _ = released.recv();
            ptrace::detach(thread, None).unwrap();
        });
        is_stopped.recv().unwrap();
        Self { release: Some(release), tracer: Some(tracer) }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        drop(self.release.take());
        self.tracer.take().unwrap().join().unwrap();
    }
}

/// The reconciler's thread, and its files in `/proc`.
fn find(process: u32) -> (Pid, PathBuf) {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let paths = threads.map(|it| it.unwrap().path());
    let is_it = |path: &PathBuf| fs::read_to_string(path.join("comm")).unwrap().trim() == THREAD;
    let path = paths.into_iter().find(is_it).expect("the reconciler has no thread of its own");
    let thread = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
    (Pid::from_raw(thread), path)
}

/// Whether the thread runs (proc_pid_stat(5)).
fn is_busy(files: &Path) -> bool {
    let stat = fs::read_to_string(files.join("stat")).unwrap();
    stat.rsplit(") ").next().unwrap().starts_with('R')
}

/// Whether the stopped thread executes code of the C library (proc_pid_syscall(5), proc_pid_maps(5)).
fn is_in_c_library(process: u32, files: &Path) -> bool {
    let number = |it: &str| u64::from_str_radix(it.trim_start_matches("0x"), 16).unwrap();
    let state = fs::read_to_string(files.join("syscall")).unwrap();
    let instruction = number(state.split_whitespace().next_back().unwrap());
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let is_here = |line: &&str| {
        let (start, end) = line.split_whitespace().next().unwrap().split_once('-').unwrap();
        (number(start)..number(end)).contains(&instruction)
    };
    let mapping = maps.lines().find(is_here);
    let file = mapping.and_then(|it| it.split_whitespace().nth(5)).unwrap_or_default();
    Path::new(file).file_name().is_some_and(|it| it.to_string_lossy().starts_with("libc."))
}

async fn answers_at_once(scene: &Scene, path: &str) -> String {
    let answer = tokio::time::timeout(AT_ONCE, scene.get(path)).await;
    let answer = answer.unwrap_or_else(|_| panic!("{path} waits for the reconciler"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    answer
}

/// A policy with many rows of its own, so that there is work to do.
pub(crate) fn many_rules(ports: std::ops::Range<u16>) -> String {
    let rules: Vec<String> = ports
        .map(|it| {
            let block = format!("{{ipBlock: {{cidr: 203.0.{}.{}/32}}}}", it / 200, it % 200);
            format!("{{from: [{block}], ports: [{{port: {}}}]}}", 1000 + it)
        })
        .collect();
    let subjects = "podSelector: {matchLabels: {app: server}}";
    policy("shop", "many", &format!("{subjects}, ingress: [{}]", rules.join(", ")))
}

#[test]
fn observers_wait_for_no_plan() {
    with_scene(Topology::AzureCni, async |scene| {
        isolate_server(scene).await;
        budget_renewed().await;
        let process = scene.agent().unwrap().pid().unwrap();
        for round in 0..4 {
            scene.write("many.yaml", &many_rules(0..200 + round));
            let stopped = Stopped::when_busy(process);
            for path in ["/metrics", "/status", "/healthz", "/readyz"] {
                answers_at_once(scene, path).await;
            }
            let logged = |scene: &Scene| {
                let log = scene.log();
                log.lines()
                    .filter(|it| it.contains("shop/client") && it.contains(" denied at "))
                    .count()
            };
            let before = logged(scene);
            send(scene.lab(), enforcer_tests::lab::Family::V4, 1).await;
            until("the drop is logged with its pods", async || logged(scene) > before).await;
            drop(stopped);
        }
        // It goes on as if nothing had happened.
        scene.remove("many.yaml");
        scene.remove("policy.yaml");
        until("the policy is gone", async || scene.metric(INGRESS_ISOLATED).await == 0).await;
        let (client, server) = (Party::pod("shop", "client"), Party::pod("shop", "server"));
        scene.expect(&client, &server, OPEN).await;
    });
}
