//! Programs and tables that outlive their agent, on every kernel (semantics C3).

use std::fs;
use std::path::Path;

use enforcer::kernel::{Hooks, Kernel, Pins, PinsError, Place, Settings, cleanup};
use enforcer_core::model::PodId;
use enforcer_core::tables::{Inherited, Owner, Step};
use enforcer_ebpf::contract::table::Limits;

use crate::support::with_bpffs;

use super::{Found, NAME, NOTHING, attached_by, for_each_kind, look};

/// Hooks of each kind that a kernel may have.
pub(super) const LINKS_OR_FILTERS: [fn(&Pins) -> Hooks; 2] =
    [Hooks::pinned, |pins| Hooks::pinned(pins).without_tcx()];

/// Runs a test with an interface and a folder in a BPF file system, by each kind of hooks.
fn with_pins(test: impl Fn(u32, &Path, fn(&Pins) -> Hooks) + Send + Sync) {
    for_each_kind(LINKS_OR_FILTERS, |make| {
        with_bpffs(|ifindex, root| test(ifindex, root, make));
    });
}

/// One life of an agent: it takes over the existing programs and tables, and is killed.
fn live(
    ifindex: u32,
    root: &Path,
    make: fn(&Pins) -> Hooks,
    settings: &Settings,
) -> Vec<Inherited> {
    live_otherwise(ifindex, root, make, settings, false)
}

/// The same, where the hooks may be of another kind than the last ones.
fn live_otherwise(
    ifindex: u32,
    root: &Path,
    make: fn(&Pins) -> Hooks,
    settings: &Settings,
    differs: bool,
) -> Vec<Inherited> {
    let before = look(ifindex);
    let pins = Pins::open(root).unwrap();
    assert!(matches!(Pins::open(root), Err(PinsError::Busy { .. })), "one agent at a time");
    let mut kernel = Kernel::load_pinned(settings, &pins).unwrap();
    let inherited = kernel.inherited().unwrap();
    let mut hooks = make(&pins);
    hooks.attach(&mut kernel, ifindex, NAME, Place::Pod).unwrap();
    while kernel.next_stage().unwrap() {
        hooks.release_pins();
        hooks.attach(&mut kernel, ifindex, NAME, Place::Pod).unwrap();
    }
    kernel.drop_other_tables(&pins).unwrap();
    let found = look(ifindex);
    // The kind of the hooks shows when the first is made, not when one is taken over.
    let expected = if before == NOTHING { attached_by(&hooks) } else { before };
    if !differs {
        assert_eq!(found, expected, "in place of the last ones");
    }
    let (owner, uid) = (Some(Owner::Pod(PodId::new("shop", "web"))), "1-2".to_owned());
    kernel.apply(&Step::Owner { id: 7, ifindex, owner, uid, identity: 3 }).unwrap();
    drop(hooks);
    assert_ne!(look(ifindex), NOTHING, "they stay");
    inherited
}

/// The number of folders of tables.
fn layouts(root: &Path) -> usize {
    let namespace = fs::read_dir(root).unwrap().next().unwrap().unwrap().path();
    let names = fs::read_dir(namespace).unwrap().map(|it| it.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with("tables-")).count()
}

#[test]
fn c3_the_next_agent_takes_over_also_with_other_tables() {
    with_pins(|ifindex, root, make| {
        let (owner, uid) = (Some(Owner::Pod(PodId::new("shop", "web"))), "1-2".to_owned());
        let noted = [Inherited { id: 7, ifindex, owner, uid, identity: 3 }];
        let settings = Settings::default();
        assert_eq!(live(ifindex, root, make, &settings), []);
        assert_eq!(live(ifindex, root, make, &settings), noted);
        let limits = Limits { flows: 1_024, ..settings.limits };
        let smaller = Settings { limits, ..settings };
        assert_eq!(live(ifindex, root, make, &smaller), noted);
        assert_eq!(layouts(root), 1, "the old tables are gone");
        assert_eq!(live(ifindex, root, make, &settings), noted, "and back");
    });
}

/// From links to filters, where the kernel has links.
#[test]
fn c3_a_filter_replaces_a_link() {
    with_pins(|ifindex, root, make| {
        let settings = Settings::default();
        live(ifindex, root, make, &settings);
        let filters: fn(&Pins) -> Hooks = |pins| Hooks::pinned(pins).without_tcx();
        live_otherwise(ifindex, root, filters, &settings, true);
        assert_eq!(look(ifindex), Found { clsact: true, filters: [1; 2], ..NOTHING });
    });
}

#[test]
fn cleanup_leaves_nothing_and_can_be_repeated() {
    with_pins(|ifindex, root, make| {
        live(ifindex, root, make, &Settings::default());
        let removed = cleanup(root).unwrap();
        assert!(removed.traces.len() >= 2 && removed.folder.is_some(), "{removed:?}");
        assert_eq!(look(ifindex), NOTHING);
        assert!(!root.exists());
        let removed = cleanup(root).unwrap();
        assert!(removed.traces.is_empty() && removed.folder.is_none(), "{removed:?}");
    });
}

#[test]
fn a_folder_in_no_bpf_file_system_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Pins::open(&folder.path().join("enforcer"));
    assert!(matches!(refused, Err(PinsError::NotBpf { .. })), "{refused:?}");
    assert!(!folder.path().join("enforcer").exists());
}
