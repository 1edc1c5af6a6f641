//! A small cluster for tests that want to know every address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

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

/// The pod under test: isolated in both directions by [`cluster`].
pub(crate) fn subject() -> PodId {
    PodId::new("shop", "subject")
}

/// A pod that nothing isolates.
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
    let requirement = Requirement::In("app".to_owned(), values);
    Selector { requirements: BTreeSet::from([requirement]) }
}

fn tcp(port: u16) -> PortRule {
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

/// Runs a test on [`cluster`] with `subject` and `free` at interfaces.
pub(crate) fn with_rig(test: impl FnOnce(&mut Rig) + Send) {
    with_rig_of(&Settings::default(), test);
}

/// The same with programs that are loaded otherwise.
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
        // Else the folder could not be removed, should the test have failed.
        umount2(folder.path(), MntFlags::MNT_DETACH).unwrap();
        result.unwrap_or_else(|panic| resume_unwind(panic));
    });
}

/// The subject's address and another's of the same family.
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
        Frame::new(ip(source), ip(destination), transport)
    }

    /// Whether it passes there.
    pub(crate) fn passes(&self, rig: &mut Rig, direction: Direction, transport: Transport) -> bool {
        let frame = self.frame(direction, transport).build().bytes;
        rig.judge(&subject(), direction, &frame).unwrap().passes
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
