//! Filters that were attached in a hurry, and the links that replace them.

use aya::programs::tc::qdisc_add_clsact;
use enforcer::kernel::{Hooks, Kernel, Pins, Place, Scope, Settings};

use crate::support::with_bpffs;

use super::{Found, NAME, NOTHING, attached_by, look, with_hooks};

const FILTERS: Found = Found { clsact: true, filters: [1; 2], ..NOTHING };

/// Programs that were attached while many interfaces waited.
fn hurried(kernel: &mut Kernel, mut hooks: Hooks, ifindex: u32) -> Hooks {
    hooks.hurry(true);
    hooks.attach(kernel, ifindex, NAME, Place::Pod).unwrap();
    hooks.hurry(false);
    assert_eq!(hooks.faults(&Scope::All), []);
    hooks
}

#[test]
fn many_interfaces_get_filters_and_links_later() {
    with_hooks(|ifindex, mut kernel, hooks| {
        let mut hooks = hurried(&mut kernel, hooks, ifindex);
        assert_eq!(look(ifindex), FILTERS);
        if let Some((promoted, result)) = hooks.promote_next(&mut kernel) {
            result.unwrap();
            assert_eq!(promoted, ifindex);
        }
        assert_eq!(look(ifindex), attached_by(&hooks));
        assert_eq!(hooks.faults(&Scope::All), []);
        assert!(hooks.promote_next(&mut kernel).is_none(), "all are links, or there are none");
        hooks.detach(ifindex);
        assert_eq!(look(ifindex), NOTHING);
    });
}

#[test]
fn c3_the_next_agent_finds_filters_and_the_links_that_replaced_them() {
    for is_promoted in [false, true] {
        with_bpffs(|ifindex, root| {
            let pins = Pins::open(root).unwrap();
            let mut kernel = Kernel::load_pinned(&Settings::default(), &pins).unwrap();
            let mut hooks = hurried(&mut kernel, Hooks::pinned(&pins), ifindex);
            if is_promoted && let Some((_, result)) = hooks.promote_next(&mut kernel) {
                result.unwrap();
            }
            let before = look(ifindex);
            drop((hooks, kernel, pins));
            assert_eq!(look(ifindex), before, "they outlive the agent");
            let pins = Pins::open(root).unwrap();
            let mut kernel = Kernel::load_pinned(&Settings::default(), &pins).unwrap();
            let mut hooks = Hooks::pinned(&pins);
            hooks.hurry(true);
            hooks.attach(&mut kernel, ifindex, NAME, Place::Pod).unwrap();
            assert_eq!(look(ifindex), before, "replaced in place");
            assert_eq!(hooks.faults(&Scope::All), []);
        });
    }
}

#[test]
fn c7_a_foreign_link_before_a_filter_is_found_and_overtaken() {
    with_hooks(|ifindex, mut kernel, hooks| {
        let mut hooks = hurried(&mut kernel, hooks, ifindex);
        let mut others = Kernel::load(&Settings::default()).unwrap();
        let mut their_hooks = Hooks::default();
        their_hooks.attach(&mut others, ifindex, NAME, Place::Pod).unwrap();
        if look(ifindex).tcx == [0; 2] {
            // A kernel without TCX: their filters are before ours.
            return;
        }
        let faults = hooks.faults(&Scope::All);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults.iter().all(|it| it.is_open && it.text.contains("runs before ours")));
        if hooks.uses_tcx() {
            hooks.restore(&mut kernel, ifindex).unwrap();
            assert_eq!(hooks.faults(&Scope::All), []);
        }
    });
}

#[test]
fn a_qdisc_of_others_is_not_used_in_a_hurry() {
    with_hooks(|ifindex, mut kernel, mut hooks| {
        hooks.hurry(true);
        qdisc_add_clsact(NAME).unwrap();
        hooks.attach(&mut kernel, ifindex, NAME, Place::Pod).unwrap();
        if hooks.uses_tcx() {
            assert_eq!(look(ifindex), Found { clsact: true, tcx: [1; 2], ..NOTHING });
        }
    });
}
