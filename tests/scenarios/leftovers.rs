//! The lab leaves nothing behind, however it ends.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use aya::programs::{loaded_links, loaded_programs};
use enforcer::kernel::map_ids;
use enforcer_tests::lab::Topology;
use nix::sys::signal::Signal;

use crate::host::{Host, Up, ip, on_host, until_nothing};
use crate::scene::{namespace, pod, policy, until, with_scene};

/// The kernel's objects of a lab and its processes.
#[derive(Debug, Default)]
struct Trace {
    /// Process ids with their start times, since ids are reused.
    processes: BTreeSet<(u32, u64)>,
    /// Network and mount namespaces, as `/proc` names them.
    namespaces: BTreeSet<PathBuf>,
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
    links: BTreeSet<u32>,
}

impl Trace {
    /// The trace of a running lab and all of its children.
    fn of(lab: u32) -> Self {
        let mut trace = Self::default();
        let own: Vec<_> = ["net", "mnt"]
            .map(|kind| read_namespace(Path::new("/proc/thread-self"), kind))
            .to_vec();
        for process in family(lab) {
            trace.processes.extend(start_time(process).map(|time| (process, time)));
            for thread in threads(process) {
                let of_thread = ["net", "mnt"].map(|kind| read_namespace(&thread, kind));
                trace.namespaces.extend(of_thread.into_iter().flatten());
            }
            for entry in entries(&Path::new("/proc").join(process.to_string()).join("fdinfo")) {
                let info = fs::read_to_string(entry).unwrap_or_default();
                trace.programs.extend(number(&info, "prog_id:"));
                trace.maps.extend(number(&info, "map_id:"));
            }
        }
        trace.links = links_of(&trace.programs);
        for namespace in own.iter().flatten() {
            trace.namespaces.remove(namespace);
        }
        trace
    }

    /// The objects that still exist.
    fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (process, time) in &self.processes {
            if start_time(*process) == Some(*time) {
                left.push(format!("process {process}"));
            }
        }
        for process in processes() {
            left.extend(holds(process, &self.namespaces).map(|it| format!("{process} has {it}")));
        }
        let programs = loaded_programs().filter_map(|it| Some(it.ok()?.id()));
        left.extend(
            programs.filter(|id| self.programs.contains(id)).map(|id| format!("program {id}")),
        );
        left.extend(map_ids().filter(|id| self.maps.contains(id)).map(|id| format!("map {id}")));
        let links = loaded_links().filter_map(|it| Some(it.ok()?.id()));
        left.extend(links.filter(|id| self.links.contains(id)).map(|id| format!("link {id}")));
        left
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    // Processes and their files appear and disappear during the listing.
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn processes() -> Vec<u32> {
    let names = entries(Path::new("/proc")).into_iter();
    names.filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect()
}

fn threads(process: u32) -> Vec<PathBuf> {
    entries(&Path::new("/proc").join(process.to_string()).join("task"))
}

/// The fields of `/proc/PID/stat` from the third on (proc_pid_stat(5)); a zombie has ended.
fn stat(process: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<String> = rest.split(' ').map(str::to_owned).collect();
    (fields.first()? != "Z").then_some(fields)
}

fn parent(process: u32) -> Option<u32> {
    stat(process)?.get(1)?.parse().ok()
}

fn start_time(process: u32) -> Option<u64> {
    stat(process)?.get(19)?.parse().ok()
}

/// A process and all of its descendants.
fn family(first: u32) -> BTreeSet<u32> {
    let mut family = BTreeSet::from([first]);
    loop {
        let is_new =
            |it: &u32| !family.contains(it) && parent(*it).is_some_and(|it| family.contains(&it));
        let new: Vec<u32> = processes().into_iter().filter(is_new).collect();
        if new.is_empty() {
            return family;
        }
        family.extend(new);
    }
}

fn read_namespace(process: &Path, kind: &str) -> Option<PathBuf> {
    fs::read_link(process.join("ns").join(kind)).ok()
}

/// The namespaces that a process keeps alive: by a thread inside, or by an open file.
fn holds(process: u32, namespaces: &BTreeSet<PathBuf>) -> impl Iterator<Item = String> {
    let inside = threads(process).into_iter();
    let inside = inside.flat_map(|thread| ["net", "mnt"].map(|kind| read_namespace(&thread, kind)));
    let files = entries(&Path::new("/proc").join(process.to_string()).join("fd"));
    let files = files.into_iter().map(|file| fs::read_link(file).ok());
    let held = inside.chain(files).flatten().filter(|it| namespaces.contains(it));
    held.map(|it| it.display().to_string())
}

/// The links of these programs, also those that are pinned and open in no process.
fn links_of(programs: &BTreeSet<u32>) -> BTreeSet<u32> {
    let links = loaded_links().filter_map(Result::ok);
    links.filter(|it| programs.contains(&it.program_id())).map(|it| it.id()).collect()
}

/// The programs that a process has open.
fn programs_of(process: u32) -> BTreeSet<u32> {
    let infos = entries(&Path::new("/proc").join(process.to_string()).join("fdinfo")).into_iter();
    let infos = infos.map(|it| fs::read_to_string(it).unwrap_or_default());
    infos.filter_map(|it| number(&it, "prog_id:")).collect()
}

fn number(text: &str, key: &str) -> Option<u32> {
    text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
}

/// The trace of a lab that runs pods and the agent.
fn trace_of(up: &Up) -> Trace {
    let trace = Trace::of(up.pid());
    // An object missed now would not be missed later either. Expected are at least the lab and the
    // agent; node, outside, two pods and the mounts; both programs at their hooks.
    assert!(trace.processes.len() >= 2, "{trace:?}");
    assert!(trace.namespaces.len() >= 5, "{trace:?}");
    assert!(trace.programs.len() >= 2 && trace.maps.len() >= 2, "{trace:?}");
    assert!(trace.links.len() >= 2, "{trace:?}");
    let ids = trace.programs.len() + trace.maps.len() + trace.links.len();
    assert!(trace.left().len() > trace.processes.len() + ids, "{trace:?}");
    trace
}

/// A lab that stays up ends by a signal.
fn ends_by(host: &Host, signal: Signal, topology: &str) {
    let before = host.facts();
    let up = host.start(&["--topology", topology]);
    let trace = trace_of(&up);
    // The folder of manifests to edit, and the process that removes it.
    assert_ne!(host.facts()["temporary files"], before["temporary files"]);
    assert!(trace.processes.len() >= 3, "{trace:?}");
    let (status, rest) = up.end(signal);
    let killed = signal == Signal::SIGKILL;
    assert_eq!(status.code(), if killed { None } else { Some(0) }, "{rest}");
    until_nothing("things of the lab", || trace.left());
    until_nothing("temporary files", || host.temporary_files());
    host.assert_unchanged(&before);
}

#[test]
fn a_lab_that_ends_by_itself_leaves_nothing() {
    on_host(|host| {
        let before = host.facts();
        let mut up = Up::new(&mut host.lab_with_agent(&["--once", "--topology", "kubenet"]));
        up.read_until("connections match the policies");
        let trace = trace_of(&up);
        let (status, rest) = up.finish();
        assert_eq!(status.code(), Some(0), "{rest}");
        until_nothing("things of the lab", || trace.left());
        host.assert_unchanged(&before);
    });
}

#[test]
fn ctrl_c_leaves_nothing() {
    on_host(|host| ends_by(host, Signal::SIGINT, "kubenet"));
}

#[test]
fn sigterm_leaves_nothing() {
    on_host(|host| ends_by(host, Signal::SIGTERM, "azure-cni"));
}

#[test]
fn kill_9_leaves_nothing() {
    on_host(|host| ends_by(host, Signal::SIGKILL, "kubenet"));
}

#[test]
fn the_host_is_never_changed_not_even_temporarily() {
    on_host(|host| {
        let before = host.facts();
        let monitor = host.monitor();
        let directory = host.directory("manifests");
        let cluster = namespace("shop", "") + &pod("shop", "server", "", &["http/TCP/80"]);
        fs::write(directory.join("all.yaml"), cluster + &policy("shop", "p", "podSelector: {}"))
            .unwrap();
        let mut command = host.lab_with_agent(&["--once", "--manifests"]);
        let output = command.arg(directory).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        host.assert_unchanged(&before);
        assert_eq!(monitor.changes(), 0);
        // The monitor works.
        ip("link set host0 mtu 1400");
        assert_ne!(monitor.changes(), 0);
    });
}

/// An ended pod leaves nothing on the node, while the agent runs on.
#[test]
fn an_ended_pod_leaves_no_hook() {
    with_scene(Topology::AzureCni, async |scene| {
        let stay = namespace("shop", "") + &pod("shop", "stay", "", &["http/TCP/80"]);
        scene.write("stay.yaml", &stay);
        scene.agree("one pod").await;
        let agent = scene.agent().unwrap().pid().unwrap();
        let links = || links_of(&programs_of(agent)).len();
        // Two for each pod, and two for the uplink.
        until("hooks of one pod", async || links() == 4).await;
        scene.write("go.yaml", &pod("shop", "go", "", &["http/TCP/80"]));
        scene.agree("two pods").await;
        until("hooks of two pods", async || links() == 6).await;
        scene.remove("go.yaml");
        scene.agree("one pod again").await;
        until("hooks of one pod again", async || links() == 4).await;
    });
}
