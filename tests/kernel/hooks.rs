//! Attaching programs (TCX, or clsact before Linux 6.6), and detaching them without traces.

mod parts;
mod pinned;
mod privileges;
mod promoted;
mod verified;

use aya::programs::tc::qdisc_add_clsact;
use aya::programs::{SchedClassifier, TcAttachType};
use enforcer::kernel::{Hooks, Kernel, Place, Settings};
use enforcer_tests::rig::with_interfaces;
use futures::TryStreamExt as _;
use netlink_packet_route::tc::{TcAttribute, TcMessage};

/// The name of the first interface of `with_interfaces`.
const NAME: &str = "pod0";

/// The programs at the interface's hooks.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    clsact: bool,
    /// Filters of clsact, to the node and to the pod.
    filters: [usize; 2],
    /// Programs of TCX, likewise; 0 where the kernel has no TCX.
    tcx: [usize; 2],
}

const NOTHING: Found = Found { clsact: false, filters: [0; 2], tcx: [0; 2] };

fn look(ifindex: u32) -> Found {
    let tcx = |hook| SchedClassifier::query_tcx(NAME, hook).map_or(0, |(_, found)| found.len());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (clsact, filters) = runtime.block_on(listed(i32::try_from(ifindex).unwrap()));
    Found { clsact, filters, tcx: [tcx(TcAttachType::Ingress), tcx(TcAttachType::Egress)] }
}

async fn listed(ifindex: i32) -> (bool, [usize; 2]) {
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    tokio::spawn(connection);
    let qdiscs: Vec<TcMessage> = handle.qdisc().get().execute().try_collect().await.unwrap();
    let is_clsact = |it: &TcMessage| {
        let named = |attribute: &TcAttribute| *attribute == TcAttribute::Kind("clsact".to_owned());
        it.header.index == ifindex && it.attributes.iter().any(named)
    };
    let clsact = qdiscs.iter().any(is_clsact);
    if !clsact {
        return (false, [0; 2]);
    }
    let to_node = handle.traffic_filter(ifindex).get().ingress().execute();
    let to_pod = handle.traffic_filter(ifindex).get().egress().execute();
    let to_node: Vec<TcMessage> = to_node.try_collect().await.unwrap();
    let to_pod: Vec<TcMessage> = to_pod.try_collect().await.unwrap();
    // A filter is listed with its chain's head, which has no handle.
    let count =
        |list: &[TcMessage]| list.iter().filter(|it| u32::from(it.header.handle) != 0).count();
    (true, [count(&to_node), count(&to_pod)])
}

/// Runs a test for each kind of hooks, concurrently: each loads its own programs. The first kind is the
/// agent's choice; without TCX in the kernel, the second one is the same.
fn for_each_kind<T: Copy + Send>(kinds: [T; 2], test: impl Fn(T) + Send + Sync) {
    let test = &test;
    let number = if has_tcx() { kinds.len() } else { 1 };
    std::thread::scope(|scope| {
        for kind in kinds.into_iter().take(number) {
            scope.spawn(move || test(kind));
        }
    });
}

/// Whether the kernel has TCX: older ones do not know the query.
fn has_tcx() -> bool {
    SchedClassifier::query_tcx("lo", TcAttachType::Ingress).is_ok()
}

/// The agent's choice of hooks is TCX, where the kernel has it.
#[test]
fn both_hooks_are_of_the_best_kind() {
    with_interfaces(1, |interfaces| {
        let mut kernel = Kernel::load(&Settings::default()).unwrap();
        let mut hooks = Hooks::default();
        hooks.attach(&mut kernel, interfaces[0], NAME, Place::Pod).unwrap();
        assert_eq!(hooks.uses_tcx(), has_tcx());
    });
}

/// Runs a test with an interface, loaded programs, and hooks of each kind.
fn with_hooks(test: impl Fn(u32, Kernel, Hooks) + Send + Sync) {
    let kinds: [fn() -> Hooks; 2] = [Hooks::default, || Hooks::default().without_tcx()];
    for_each_kind(kinds, |make| {
        with_interfaces(1, |interfaces| {
            let kernel = Kernel::load(&Settings::default()).unwrap();
            test(interfaces[0], kernel, make());
        });
    });
}

fn attached_by(hooks: &Hooks) -> Found {
    if hooks.uses_tcx() {
        Found { tcx: [1; 2], ..NOTHING }
    } else {
        Found { clsact: true, filters: [1; 2], ..NOTHING }
    }
}

#[test]
fn both_hooks_have_a_program_until_it_is_detached() {
    with_hooks(|ifindex, mut kernel, mut hooks| {
        assert_eq!(look(ifindex), NOTHING);
        hooks.attach(&mut kernel, ifindex, NAME, Place::Pod).unwrap();
        assert_eq!(look(ifindex), attached_by(&hooks));
        hooks.detach(ifindex);
        assert_eq!(look(ifindex), NOTHING);
        // And when the hooks are dropped.
        hooks.attach(&mut kernel, ifindex, NAME, Place::Pod).unwrap();
        drop(hooks);
        assert_eq!(look(ifindex), NOTHING);
    });
}

#[test]
fn a_foreign_qdisc_stays() {
    with_hooks(|ifindex, mut kernel, mut hooks| {
        qdisc_add_clsact(NAME).unwrap();
        hooks.attach(&mut kernel, ifindex, NAME, Place::Pod).unwrap();
        drop(hooks);
        assert_eq!(look(ifindex), Found { clsact: true, ..NOTHING });
    });
}

#[test]
fn our_qdisc_stays_for_foreign_filters() {
    with_interfaces(1, |interfaces| {
        let ifindex = interfaces[0];
        let [mut ours, mut others] = [(); 2].map(|()| Kernel::load(&Settings::default()).unwrap());
        let [mut our_hooks, mut their_hooks] = [(); 2].map(|()| Hooks::default().without_tcx());
        our_hooks.attach(&mut ours, ifindex, NAME, Place::Pod).unwrap();
        their_hooks.attach(&mut others, ifindex, NAME, Place::Pod).unwrap();
        assert_eq!(look(ifindex).filters, [2; 2]);
        drop(our_hooks);
        assert_eq!(look(ifindex), Found { clsact: true, filters: [1; 2], ..NOTHING });
    });
}
