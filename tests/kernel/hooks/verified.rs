//! Hooks that others change: faults are found and restored (semantics C7), on every kernel.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use aya::programs::tc::qdisc_add_clsact;
use enforcer::kernel::{Hooks, Kernel, Pins, PinsError, Place, Scope, Settings};
use netlink_packet_route::tc::TcHandle;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::support::with_bpffs;

use super::pinned::LINKS_OR_FILTERS;
use super::{Found, NAME, attached_by, for_each_kind, look};

/// An agent with an interface that others change.
struct Guarded<'a> {
    ifindex: u32,
    root: &'a Path,
    pins: Pins,
    kernel: Kernel,
    hooks: Hooks,
}

impl Guarded<'_> {
    /// The faults that the kernel shows.
    fn faults(&self) -> Vec<String> {
        self.hooks.faults(&Scope::All).into_iter().map(|it| it.text).collect()
    }

    fn restore(&mut self) {
        self.hooks.restore(&mut self.kernel, self.ifindex).unwrap();
        assert_eq!(self.faults(), Vec::<String>::new());
    }

    fn uses_tcx(&self) -> bool {
        self.hooks.uses_tcx()
    }
}

/// Runs a test with an interface that has our programs, by each kind of hooks. `before`: what
/// others have done before.
fn guarded_after(
    before: impl Fn(u32) + Send + Sync,
    test: impl Fn(&mut Guarded<'_>) + Send + Sync,
) {
    for_each_kind(LINKS_OR_FILTERS, |make| {
        with_bpffs(|ifindex, root| {
            before(ifindex);
            let pins = Pins::open(root).unwrap();
            let mut kernel = Kernel::load_pinned(&Settings::default(), &pins).unwrap();
            let mut hooks = make(&pins);
            hooks.attach(&mut kernel, ifindex, NAME, Place::Pod).unwrap();
            let mut guarded = Guarded { ifindex, root, pins, kernel, hooks };
            assert_eq!(guarded.faults(), Vec::<String>::new(), "at first");
            test(&mut guarded);
        });
    });
}

fn guarded(test: impl Fn(&mut Guarded<'_>) + Send + Sync) {
    guarded_after(|_| {}, test);
}

/// Runs requests of rtnetlink.
fn netlink(requests: impl AsyncFnOnce(rtnetlink::Handle)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        requests(handle).await;
    });
}

fn index(ifindex: u32) -> i32 {
    i32::try_from(ifindex).unwrap()
}

fn add_ingress_qdisc(ifindex: u32) {
    netlink(async |handle| {
        handle.qdisc().add(index(ifindex)).ingress().execute().await.unwrap();
    });
}

fn remove_qdisc(ifindex: u32) {
    netlink(async |handle| {
        let mut request = handle.qdisc().del(index(ifindex));
        request.message_mut().header.parent = TcHandle::CLSACT;
        request.execute().await.unwrap();
    });
}

/// Adds a filter that sends all packets from the interface to itself, as the CNI bandwidth plugin
/// sends them to another one.
fn add_redirect(ifindex: u32, priority: u16) {
    netlink(async |handle| {
        let filter = handle.traffic_filter(index(ifindex)).add().ingress().priority(priority);
        let filter = filter.protocol(0x0003_u16.to_be()).redirect(ifindex).unwrap();
        filter.execute().await.unwrap();
    });
}

/// What each hook has: ours only.
fn only_ours(guarded: &Guarded<'_>) {
    assert_eq!(look(guarded.ifindex), attached_by(&guarded.hooks));
}

#[test]
fn c7_a_detached_program_is_attached_again() {
    guarded(|it| {
        // Links are detached and their pins removed; so are filters and their markers.
        Hooks::pinned(&it.pins).prune(&BTreeSet::new()).unwrap();
        let faults = it.faults();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults.iter().all(|it| it.ends_with("its program was detached")), "{faults:?}");
        it.restore();
        only_ours(it);
    });
}

#[test]
fn c7_a_removed_qdisc_is_added_again() {
    guarded(|it| {
        if it.uses_tcx() {
            return;
        }
        remove_qdisc(it.ifindex);
        assert_eq!(it.faults().len(), 2);
        it.restore();
        only_ours(it);
        // It is replaced by one without an egress side.
        remove_qdisc(it.ifindex);
        add_ingress_qdisc(it.ifindex);
        assert_eq!(it.faults().len(), 2);
        it.restore();
        only_ours(it);
    });
}

#[test]
fn c7_the_first_place_is_taken_back_and_the_other_program_stays() {
    guarded(|it| {
        let mut other = Kernel::load(&Settings::default()).unwrap();
        let theirs = Hooks::default();
        let mut theirs = if it.uses_tcx() { theirs } else { theirs.without_tcx() };
        theirs.attach(&mut other, it.ifindex, NAME, Place::Pod).unwrap();
        let faults = it.faults();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults.iter().all(|it| it.contains("runs before ours")), "{faults:?}");
        it.restore();
        // Theirs is there, too, and behind.
        let found = look(it.ifindex);
        assert_eq!(if it.uses_tcx() { found.tcx } else { found.filters }, [2; 2]);
        let behind = theirs.faults(&Scope::All);
        assert!(behind.iter().all(|it| it.text.contains("runs before ours")), "{behind:?}");
        theirs.restore(&mut other, it.ifindex).unwrap();
        assert_eq!(it.faults().len(), 2, "again");
        it.restore();
        drop(theirs);
        only_ours(it);
        assert_eq!(it.faults(), Vec::<String>::new());
    });
}

/// A killed agent leaves the first place to its successor.
#[test]
fn c3_c7_the_successor_finds_filters_and_links_that_took_their_place_back() {
    guarded(|it| {
        let mut other = Kernel::load(&Settings::default()).unwrap();
        let theirs = Hooks::default();
        let mut theirs = if it.uses_tcx() { theirs } else { theirs.without_tcx() };
        theirs.attach(&mut other, it.ifindex, NAME, Place::Pod).unwrap();
        it.restore();
        let hooks = Hooks::pinned(&it.pins);
        let hooks = if it.uses_tcx() { hooks } else { hooks.without_tcx() };
        it.hooks = hooks;
        it.hooks.attach(&mut it.kernel, it.ifindex, NAME, Place::Pod).unwrap();
        assert_eq!(it.faults(), Vec::<String>::new());
        drop(theirs);
        only_ours(it);
    });
}

#[test]
fn c7_removed_pins_are_restored() {
    guarded(|it| {
        fs::remove_dir_all(it.root).unwrap();
        assert_eq!(look(it.ifindex), attached_by(&it.hooks), "held by the agent");
        assert!(it.pins.restore().unwrap());
        assert!(it.kernel.restore_pins().unwrap());
        let faults = it.faults();
        assert!(faults.iter().all(|it| it.ends_with("its pin was removed")), "{faults:?}");
        assert_eq!(faults.len(), 2);
        it.restore();
        assert!(matches!(Pins::open(it.root), Err(PinsError::Busy { .. })));
        assert!(!it.pins.restore().unwrap() && !it.kernel.restore_pins().unwrap());
    });
}

#[test]
fn c7_a_file_system_over_the_pins_gets_them_too() {
    guarded(|it| {
        let (folder, none) = (it.root.parent().unwrap(), None::<&str>);
        mount(Some("bpf"), folder, Some("bpf"), MsFlags::empty(), none).unwrap();
        assert!(it.pins.restore().unwrap() && it.kernel.restore_pins().unwrap());
        it.restore();
        // The next agent sees only this one, and replaces the programs in place.
        let hooks = Hooks::pinned(&it.pins);
        let mut hooks = if it.uses_tcx() { hooks } else { hooks.without_tcx() };
        hooks.attach(&mut it.kernel, it.ifindex, NAME, Place::Pod).unwrap();
        only_ours(it);
        drop(hooks);
        umount2(folder, MntFlags::MNT_DETACH).unwrap();
    });
}

#[test]
fn c7_an_ingress_qdisc_is_replaced_and_its_filters_come_behind_ours() {
    let filters_of_others = |ifindex| {
        add_ingress_qdisc(ifindex);
        add_redirect(ifindex, 1);
    };
    guarded_after(filters_of_others, |it| {
        if it.uses_tcx() {
            // TCX programs run before the filters of any qdisc.
            assert_eq!(look(it.ifindex).tcx, [1; 2]);
            return;
        }
        // The table and the filter in it, and ours.
        assert_eq!(look(it.ifindex), Found { clsact: true, filters: [3, 1], tcx: [0; 2] });
    });
}

#[test]
fn c7_an_empty_ingress_qdisc_is_replaced() {
    guarded_after(add_ingress_qdisc, |it| {
        if !it.uses_tcx() {
            assert_eq!(look(it.ifindex), Found { clsact: true, filters: [1; 2], tcx: [0; 2] });
        }
    });
}

#[test]
fn c7_a_filter_of_another_kind_gives_up_our_priority() {
    guarded(|it| {
        if it.uses_tcx() {
            return;
        }
        Hooks::pinned(&it.pins).prune(&BTreeSet::new()).unwrap();
        qdisc_add_clsact(NAME).unwrap();
        add_redirect(it.ifindex, 1);
        assert_eq!(it.faults().len(), 2);
        it.restore();
        assert_eq!(look(it.ifindex).filters, [3, 1]);
    });
}

/// Another file system hides the pins, and no agent runs that could pin again.
#[test]
fn c7_the_next_agent_takes_over_programs_whose_pins_are_hidden() {
    guarded(|it| {
        let (folder, none) = (it.root.parent().unwrap(), None::<&str>);
        mount(Some("bpf"), folder, Some("bpf"), MsFlags::empty(), none).unwrap();
        let pins = Pins::open(it.root).unwrap();
        let mut kernel = Kernel::load_pinned(&Settings::default(), &pins).unwrap();
        let hooks = Hooks::pinned(&pins);
        let mut hooks = if it.uses_tcx() { hooks } else { hooks.without_tcx() };
        hooks.attach(&mut kernel, it.ifindex, NAME, Place::Pod).unwrap();
        // One set of programs, not two.
        only_ours(it);
        assert_eq!(hooks.faults(&Scope::All), []);
        drop((hooks, kernel, pins));
        fs::remove_dir_all(it.root).unwrap();
        umount2(folder, MntFlags::MNT_DETACH).unwrap();
    });
}
