//! The parts of `to_pod` outlive their agent with its pins, and only with them (semantics C3).

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use enforcer::kernel::{Hooks, Pins, Place, Settings};
use enforcer_ebpf::contract::mark::Mark;
use enforcer_tests::rig::Rig;
use futures::TryStreamExt as _;
use netlink_packet_route::link::LinkAttribute;
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::{Handle, LinkUnspec};

use crate::support::{cluster, ip, subject, with_bpffs};

use super::pinned::LINKS_OR_FILTERS;
use super::{NAME, for_each_kind};

/// The other end of the interface.
const PEER: &str = "peer0";

/// The node's side of a pod's link.
struct Link {
    runtime: tokio::runtime::Runtime,
    handle: Handle,
    socket: UdpSocket,
}

impl Link {
    /// `ifindex`: of [`NAME`].
    fn new(ifindex: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().unwrap();
            tokio::spawn(connection);
            let peer = index(&handle, PEER).await;
            for index in [ifindex, peer] {
                let up = LinkUnspec::new_with_index(index).up().build();
                handle.link().set(up).execute().await.unwrap();
            }
            handle.address().add(ifindex, ip("10.1.0.1"), 24).execute().await.unwrap();
            handle
        });
        let socket = UdpSocket::bind("10.1.0.1:0").unwrap();
        let mark = Mark::UNKNOWN.0 << Settings::default().mark_mask.trailing_zeros();
        setsockopt(&socket, sockopt::Mark, &mark).unwrap();
        Self { runtime, handle, socket }
    }

    /// Whether a packet from outside to a group reaches the pod. No address of the pod's is its destination, so
    /// the short way leaves it to a part.
    fn arrives(&self) -> bool {
        let before = self.received();
        // The kernel may report a packet that a program dropped.
        let _ = self.socket.send_to(b"probe", ("239.1.2.3", 53));
        (0..100).any(|_| {
            sleep(Duration::from_millis(1));
            self.received() > before
        })
    }

    fn received(&self) -> u64 {
        self.runtime.block_on(async {
            let mut links = self.handle.link().get().match_name(PEER.to_owned()).execute();
            let link = links.try_next().await.unwrap().unwrap();
            let stats = link.attributes.iter().find_map(|it| match it {
                LinkAttribute::Stats64(stats) => Some(stats.rx_packets),
                _ => None,
            });
            stats.unwrap()
        })
    }
}

async fn index(handle: &Handle, name: &str) -> u32 {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    links.try_next().await.unwrap().unwrap().header.index
}

/// An agent that has programmed its tables and has taken over the hooks.
fn start(ifindex: u32, root: &Path, make: fn(&Pins) -> Hooks) -> (Rig, Hooks, Pins) {
    let pins = Pins::open(root).unwrap();
    let mut rig = Rig::pinned(&Settings::default(), &pins).unwrap();
    let mut cluster = cluster();
    // Isolated for egress: what comes to it is allowed, and needs programs that can say so.
    cluster.policies.values_mut().for_each(|policy| policy.ingress = None);
    rig.program(&cluster, BTreeMap::from([(subject(), ifindex)])).unwrap();
    let mut hooks = make(&pins);
    hooks.attach(&mut rig.kernel, ifindex, NAME, Place::Pod).unwrap();
    (rig, hooks, pins)
}

/// The pins of tables of parts.
fn pins_of_parts(root: &Path) -> Vec<PathBuf> {
    let namespace = fs::read_dir(root).unwrap().next().unwrap().unwrap().path();
    let paths = fs::read_dir(namespace).unwrap().map(|it| it.unwrap().path());
    paths.filter(|it| it.to_string_lossy().contains("/parts-")).collect()
}

#[test]
fn c3_the_parts_of_a_program_outlive_its_agent_and_end_with_its_pins() {
    for_each_kind(LINKS_OR_FILTERS, |make| {
        with_bpffs(|ifindex, root| {
            let link = Link::new(ifindex);
            assert!(link.arrives(), "nothing is enforced yet");
            drop(start(ifindex, root, make));
            assert!(link.arrives(), "its agent was killed");

            let (mut rig, hooks, pins) = start(ifindex, root, make);
            // More than two, if a rig had to find out first what test runs can set.
            let all = pins_of_parts(root);
            assert!(all.len() >= 2, "some hook may still have the old program: {all:?}");
            assert!(rig.kernel.drop_other_parts().unwrap());
            assert_eq!(pins_of_parts(root).len(), 1);
            assert!(link.arrives());
            for pin in pins_of_parts(root) {
                fs::remove_file(pin).unwrap();
            }
            assert!(rig.kernel.restore_pins().unwrap());
            drop((rig, hooks, pins));
            assert!(link.arrives(), "its pin was restored");

            for pin in pins_of_parts(root) {
                fs::remove_file(pin).unwrap();
            }
            // The kernel lets go of a removed pin after a grace period.
            let is_empty = (0..100).any(|_| !link.arrives());
            assert!(is_empty, "without its parts, an isolated pod gets nothing");
            drop(start(ifindex, root, make));
            assert!(link.arrives(), "the next agent brings its own");
        });
    });
}
