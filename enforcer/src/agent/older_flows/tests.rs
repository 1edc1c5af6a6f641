use super::*;

fn set(all: &[u32]) -> BTreeSet<u32> {
    all.iter().copied().collect()
}

fn pending(older: &OlderFlows) -> Vec<u32> {
    older.pending.keys().copied().collect()
}

#[test]
fn c8_interfaces_that_the_agent_did_not_see_appear_may_have_older_flows() {
    let start = Instant::now();
    let mut older = OlderFlows::default();
    older.ran(start);
    // The first pass; an earlier agent has guarded 2.
    older.note(set(&[1, 2]), &set(&[1, 2]), |it| it == 2, start);
    assert_eq!(pending(&older), [1]);
    // A new pod, and one whose attachment failed before.
    older.note(set(&[1, 2, 3]), &set(&[2, 3]), |_| false, start);
    assert_eq!(pending(&older), [1, 2]);
    // The programs of 3 are missing, though they were there.
    older.note(set(&[2, 3]), &set(&[3]), |_| false, start);
    assert_eq!(pending(&older), [2, 3]);
}

#[test]
fn c8_a_pod_that_appeared_while_the_loop_stood_still_may_have_older_flows() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut older = OlderFlows::default();
    older.ran(start);
    older.note(set(&[]), &set(&[]), |_| false, start);
    older.ran(after(1));
    older.note(set(&[1]), &set(&[1]), |_| false, after(1));
    assert!(pending(&older).is_empty());
    older.ran(after(20));
    older.note(set(&[1, 2]), &set(&[2]), |_| false, after(20));
    assert_eq!(pending(&older), [2]);
    for second in 21..=31 {
        older.ran(after(second));
    }
    older.note(set(&[1, 2, 3]), &set(&[3]), |_| false, after(31));
    assert_eq!(pending(&older), [2]);
}

#[test]
fn c8_an_interface_whose_programs_are_postponed_has_no_older_flows() {
    let start = Instant::now();
    let mut older = OlderFlows::default();
    older.note(set(&[1]), &set(&[]), |_| true, start);
    older.note(set(&[1, 2, 3]), &set(&[3]), |_| false, start);
    older.postpone(&set(&[2, 3]));
    older.note(set(&[1, 2, 3]), &set(&[2, 3]), |_| false, start);
    assert!(pending(&older).is_empty());
}

#[test]
fn c7_c8_flows_are_imported_after_programs_were_restored_but_not_all_the_time() {
    let start = Instant::now();
    let mut older = OlderFlows::default();
    let none = BTreeSet::new();
    let pass = |older: &mut OlderFlows, at| older.note(set(&[1, 2]), &none, |_| true, at);
    pass(&mut older, start);
    older.restored(1);
    assert_eq!(older.again(start), Some(Duration::ZERO));
    pass(&mut older, start);
    assert_eq!((pending(&older), older.again(start)), (vec![1], None));
    older.pending.clear();
    older.restored(2);
    pass(&mut older, start);
    assert!(pending(&older).is_empty());
    assert_eq!(older.again(start), Some(RETRY));
    pass(&mut older, start + RETRY);
    assert_eq!(pending(&older), [2]);
}

#[test]
fn a_failed_import_is_repeated_while_an_interface_needs_it() {
    let start = Instant::now();
    let mut older = OlderFlows { failed_at: Some(start), ..OlderFlows::default() };
    assert_eq!(older.again(start), None);
    older.note(set(&[1]), &set(&[1]), |_| false, start);
    assert_eq!(older.again(start), Some(RETRY));
    assert_eq!(older.again(start + RETRY * 2), Some(Duration::ZERO));
    older.note(set(&[]), &set(&[]), |_| false, start);
    assert_eq!(older.again(start), None);
}
