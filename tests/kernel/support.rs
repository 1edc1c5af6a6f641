//! A small cluster with fixed addresses, loaded programs, and packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Mutex;

use enforcer::kernel::Settings;
use enforcer_core::model::{
    Block, Cluster, Labels, Namespace, Peer, Pod, PodId, Policy, PolicyId, PortRange, PortRule,
    PortSpec, Protocol, Requirement, Rule, Selector,
};
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_tests::frame::{Frame, Tcp, Transport};
use enforcer_tests::rig::{Rig, with_interfaces};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

pub(crate) const IN: Direction = Direction::Ingress;
pub(crate) const OUT: Direction = Direction::Egress;

/// A TCP handshake that the pod opens.
pub(crate) const HANDSHAKE: [(Direction, Tcp); 3] =
    [(OUT, Tcp::Syn), (IN, Tcp::SynAck), (OUT, Tcp::Ack)];

/// One family's addresses of [`cluster`] and of a Service.
pub(crate) struct Family {
    pub(crate) subject: &'static str,
    pub(crate) free: &'static str,
    pub(crate) node: &'static str,
    /// The subject and this pod may reach each other.
    pub(crate) friend: &'static str,
    /// An address outside that the subject may reach on all ports.
    pub(crate) block: &'static str,
    pub(crate) stranger: &'static str,
    pub(crate) service: &'static str,
}

pub(crate) const FAMILIES: [Family; 2] = [
    Family {
        subject: "10.1.0.5",
        free: "10.1.0.6",
        node: "10.1.0.1",
        friend: "10.1.0.7",
        block: "192.0.2.1",
        stranger: "203.0.113.9",
        service: "10.96.0.1",
    },
    Family {
        subject: "fd00::5",
        free: "fd00::6",
        node: "fd00::1",
        friend: "fd00::7",
        block: "2001:db8::1",
        stranger: "2600::9",
        service: "fd96::1",
    },
];

impl Family {
    pub(crate) const fn pair(&self, other: &'static str) -> Pair {
        Pair { own: self.subject, other }
    }
}

/// The subject and a server that it may reach.
pub(crate) const SERVERS: [Pair; 2] =
    [FAMILIES[0].pair(FAMILIES[0].block), FAMILIES[1].pair(FAMILIES[1].block)];

/// The pod under test: [`cluster`] isolates it in both directions.
pub(crate) fn subject() -> PodId {
    PodId::new("shop", "subject")
}

/// A pod that no policy isolates.
pub(crate) fn free() -> PodId {
    PodId::new("shop", "free")
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn pod(id: PodId, label: &str, addresses: &[&str]) -> Pod {
    Pod {
        labels: Labels::from([("app".to_owned(), label.to_owned())]),
        addresses: addresses.iter().map(|it| ip(it)).collect(),
        ..Pod::new(id)
    }
}

fn labelled(value: &str) -> Selector {
    let values = BTreeSet::from([value.to_owned()]);
    let requirement = Requirement::In("app".to_owned(), values.into());
    Selector { requirements: [requirement].into() }
}

/// A rule's TCP port.
pub(crate) fn tcp(port: u16) -> PortRule {
    let range = PortRange { first: port, last: port };
    PortRule { protocol: Protocol::Tcp, port: PortSpec::Range(range) }
}

/// `subject` (10.1.0.5, fd00::5) may be reached on TCP 80 from pods labelled `friend`
/// (10.1.0.7, fd00::7), and may reach TCP 443 of them and everything of 192.0.2.0/24 and
/// 2001:db8::/32. The node is 10.1.0.1, fd00::1. Any other address is a stranger.
pub(crate) fn cluster() -> Cluster {
    let friends = Peer::Pods { namespaces: None, pods: labelled("friend") };
    let block =
        |cidr: &str| Peer::Block(Block { cidr: cidr.parse().unwrap(), except: BTreeSet::new() });
    let policy = Policy {
        id: PolicyId::new("shop", "both"),
        subjects: labelled("subject"),
        ingress: Some(vec![Rule { peers: vec![friends.clone()], ports: vec![tcp(80)] }]),
        egress: Some(vec![
            Rule { peers: vec![friends], ports: vec![tcp(443)] },
            Rule { peers: vec![block("192.0.2.0/24"), block("2001:db8::/32")], ports: vec![] },
        ]),
        audit: false,
    };
    let pods = [
        pod(subject(), "subject", &["10.1.0.5", "fd00::5"]),
        pod(free(), "free", &["10.1.0.6", "fd00::6"]),
        pod(PodId::new("shop", "friend"), "friend", &["10.1.0.7", "fd00::7"]),
    ];
    Cluster {
        namespaces: BTreeMap::from([("shop".to_owned(), Namespace::new("shop", Labels::new()))]),
        pods: pods.into_iter().map(|pod| (pod.id.clone(), pod)).collect(),
        policies: BTreeMap::from([(policy.id.clone(), policy)]),
        node_addresses: BTreeSet::from([ip("10.1.0.1"), ip("fd00::1")]),
        ..Cluster::default()
    }
}

/// Runs a test with loaded programs, to which no endpoint is known. Later tests reuse them: the
/// kernel takes a second to verify them. Failed tests do not return them.
pub(crate) fn with_loaded(test: impl FnOnce(&mut Rig)) {
    static LOADED: Mutex<Vec<Rig>> = Mutex::new(Vec::new());
    let reused = LOADED.lock().unwrap().pop();
    let mut rig = reused.unwrap_or_else(|| Rig::new().unwrap());
    // New endpoints start with counters and flows of their own.
    rig.program(&Cluster::default(), BTreeMap::new()).unwrap();
    test(&mut rig);
    LOADED.lock().unwrap().push(rig);
}

/// Runs a test on [`cluster`] with `subject` and `free` at interfaces.
pub(crate) fn with_rig(test: impl FnOnce(&mut Rig) + Send) {
    with_interfaces(2, |interfaces| {
        with_loaded(|rig| {
            let pods = [subject(), free()].into_iter().zip(interfaces).collect();
            rig.program(&cluster(), pods).unwrap();
            test(rig);
        });
    });
}

/// The same with programs of its own, loaded with these settings.
pub(crate) fn with_rig_of(settings: &Settings, test: impl FnOnce(&mut Rig) + Send) {
    with_interfaces(2, |interfaces| {
        let mut rig = Rig::with(settings).unwrap();
        let pods = [subject(), free()].into_iter().zip(interfaces).collect();
        rig.program(&cluster(), pods).unwrap();
        test(&mut rig);
    });
}

/// Runs a test with an interface and a folder in a BPF file system of its own.
pub(crate) fn with_bpffs(test: impl FnOnce(u32, &Path) + Send) {
    with_interfaces(1, |interfaces| {
        let none: Option<&str> = None;
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let folder = tempfile::tempdir().unwrap();
        mount(Some("bpf"), folder.path(), Some("bpf"), MsFlags::empty(), none).unwrap();
        let root = folder.path().join("enforcer");
        let result = catch_unwind(AssertUnwindSafe(|| test(interfaces[0], &root)));
        // Also after a failed test, so that the folder can be removed.
        umount2(folder.path(), MntFlags::MNT_DETACH).unwrap();
        result.unwrap_or_else(|panic| resume_unwind(panic));
    });
}

pub(crate) fn frame(source: &str, destination: &str, transport: Transport) -> Frame {
    Frame::new(ip(source), ip(destination), transport)
}

/// Whether a frame passes at the subject's interface.
pub(crate) fn passes(rig: &mut Rig, direction: Direction, frame: &Frame) -> bool {
    rig.judge(&subject(), direction, &frame.build().bytes).unwrap().passes
}

/// The subject's address and another one of the same family.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) own: &'static str,
    pub(crate) other: &'static str,
}

impl Pair {
    /// A frame between the two, seen at the subject's interface.
    pub(crate) fn frame(&self, direction: Direction, transport: Transport) -> Frame {
        let (source, destination) = match direction {
            Direction::Ingress => (self.other, self.own),
            Direction::Egress => (self.own, self.other),
        };
        frame(source, destination, transport)
    }

    /// Whether it passes there.
    pub(crate) fn passes(&self, rig: &mut Rig, direction: Direction, transport: Transport) -> bool {
        passes(rig, direction, &self.frame(direction, transport))
    }

    /// The same for TCP between the pod's port and the other end's.
    pub(crate) fn tcp(
        &self,
        rig: &mut Rig,
        direction: Direction,
        own: u16,
        other: u16,
        kind: Tcp,
    ) -> bool {
        let (from, to) = match direction {
            Direction::Ingress => (other, own),
            Direction::Egress => (own, other),
        };
        self.passes(rig, direction, Transport::Tcp(from, to, kind))
    }
}
