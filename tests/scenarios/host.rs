//! A host for the lab's program: a network and mounts of its own, so that each change the program
//! makes to its host is visible, and no other change is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::Instant;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::scene::PATIENCE;
use crate::support::{agent, spawner};

/// A host with a few interfaces. Its network is that of the test's thread and of its children.
pub(crate) struct Host {
    directory: TempDir,
}

/// Runs a test on a thread that is a host of its own.
pub(crate) fn on_host<F: FnOnce(&Host) + Send + 'static>(test: F) {
    let inside = move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("tests need root");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        for line in [
            // Nothing that settles later: no carrier detection, no duplicate address detection.
            "link set lo up",
            "address add 192.0.2.1/24 dev lo",
            "address add 2001:db8:ffff::1/64 dev lo nodad",
            "link add host0 type veth peer name host1",
            "address add 192.0.2.2/24 dev host0",
            "route add blackhole 10.244.0.0/16",
            "route add blackhole fd00:10:244::/48",
        ] {
            ip(line);
        }
        test(&Host { directory: tempfile::tempdir().unwrap() });
    };
    if let Err(panic) = std::thread::spawn(inside).join() {
        std::panic::resume_unwind(panic);
    }
}

pub(crate) fn ip(line: &str) -> String {
    run("ip", line)
}

fn run(program: &str, line: &str) -> String {
    let output = Command::new(program).args(line.split(' ')).output().unwrap();
    assert!(output.status.success(), "{program} {line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

impl Host {
    /// A folder of this name, for the lab's program or for the test.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// The lab's program with these arguments.
    pub(crate) fn lab(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(spawner());
        command.args(arguments).env("TMPDIR", self.directory("tmp")).stdin(Stdio::null());
        command
    }

    /// The lab's command `run` with the real agent, the patience that a busy machine needs, and
    /// these arguments.
    pub(crate) fn lab_with_agent(&self, arguments: &[&str]) -> Command {
        let mut command = self.lab(&["run", "--settle", "20000", "--agent"]);
        command.arg(agent()).args(arguments);
        command
    }

    /// The temporary files of the lab's program.
    pub(crate) fn temporary_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory("tmp")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Runs the lab's program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.lab(arguments).output().unwrap()
    }

    /// Starts a lab with the real agent, and waits until it is up to stay.
    pub(crate) fn start(&self, arguments: &[&str]) -> Up {
        let mut command = self.lab_with_agent(arguments);
        let mut up = Up::new(command.args(["--metrics", "127.0.0.1:0"]));
        up.read_until("The lab stays up");
        up
    }

    /// The state of the host that the lab could change.
    pub(crate) fn facts(&self) -> BTreeMap<String, String> {
        let shown = ["-4 route", "-6 route", "rule", "-d link", "address"];
        let mut facts: Vec<(String, String)> =
            shown.map(|what| (what.to_owned(), ip(&format!("{what} show")))).to_vec();
        facts.push(("qdiscs".to_owned(), run("tc", "qdisc show")));
        facts.push(("namespaces".to_owned(), ip("netns list")));
        facts.push((
            "mounts".to_owned(),
            fs::read_to_string("/proc/thread-self/mountinfo").unwrap(),
        ));
        facts.push(("temporary files".to_owned(), format!("{:?}", self.temporary_files())));
        sysctls(Path::new("/proc/sys/net"), &mut facts);
        facts.into_iter().collect()
    }

    /// A monitor of the changes from now on.
    pub(crate) fn monitor(&self) -> Monitor {
        Monitor::new()
    }

    /// Fails the test if the host differs from its earlier state.
    pub(crate) fn assert_unchanged(&self, before: &BTreeMap<String, String>) {
        let now = self.facts();
        let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        for name in names {
            assert_eq!(now.get(name), before.get(name), "{name}");
        }
    }
}

/// Counts the changes of the host's network.
pub(crate) struct Monitor {
    socket: OwnedFd,
}

/// The multicast groups of rtnetlink(7) for links, traffic control, and both families'
/// addresses, routes and rules, by their bits in `linux/rtnetlink.h`.
const GROUPS: u32 = 0x1 | 0x8 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400;

impl Monitor {
    fn new() -> Self {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let route = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, route).unwrap();
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS)).unwrap();
        Self { socket }
    }

    /// The number of changes since the last call.
    pub(crate) fn changes(&self) -> usize {
        // The kernel has sent all messages about a change when the change returns.
        let mut buffer = [0; 65536];
        let next = || recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty());
        std::iter::repeat_with(next).map_while(Result::ok).count()
    }
}

/// The network's settings, except for counters and unreadable ones.
fn sysctls(directory: &Path, facts: &mut Vec<(String, String)>) {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            sysctls(&path, facts);
        } else if path.ends_with("nf_conntrack_count") {
            // A counter.
        } else if let Ok(value) = fs::read_to_string(&path) {
            facts.push((path.display().to_string(), value));
        }
    }
}

/// A lab that stays up. Dropping it kills it.
pub(crate) struct Up {
    child: Child,
    screen: BufReader<ChildStdout>,
}

impl Up {
    pub(crate) fn new(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let screen = BufReader::new(child.stdout.take().unwrap());
        Self { child, screen }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads the lab's output up to a line with `text`; returns all of it.
    pub(crate) fn read_until(&mut self, text: &str) -> String {
        let mut shown = String::new();
        while !shown.lines().last().is_some_and(|line| line.contains(text)) {
            let read = self.screen.read_line(&mut shown).unwrap();
            assert!(read > 0, "the lab ended before it showed {text:?}:\n{shown}");
        }
        shown
    }

    /// Sends a signal and waits for the end. Returns the rest of the output.
    pub(crate) fn end(self, signal: Signal) -> (ExitStatus, String) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
        self.finish()
    }

    /// Waits for the end. Returns the rest of the output.
    pub(crate) fn finish(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.screen.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // An error means that it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Repeats a check until it finds nothing; fails the test if that takes too long.
pub(crate) fn until_nothing<T: std::fmt::Debug>(what: &str, mut left: impl FnMut() -> Vec<T>) {
    let started_at = Instant::now();
    loop {
        let found = left();
        if found.is_empty() {
            return;
        }
        assert!(started_at.elapsed() < PATIENCE, "{what} stay: {found:?}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
