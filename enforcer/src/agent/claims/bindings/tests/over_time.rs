//! An interface and its pod, over time (semantics C3, C5, C6).

use super::*;

#[test]
fn c5_an_interface_keeps_its_pod_until_it_is_gone() {
    let mut bench = placed();
    let seen = [veth(5, 1, &["10.0.0.5"])];
    bench.pods(&[]);
    bench.bindings.forget(&id("a"));
    assert_eq!(bench.see(&seen), named(&NONE));
    assert_eq!(bench.owner(5), Owner::Gone(id("a")));
    // Another pod of that name or of that address is another pod.
    let other = Pod { uid: "other".into(), ..pod("a", &["10.0.0.5"]) };
    bench.pods(&[other, pod("b", &["10.0.0.5"])]);
    assert_eq!(bench.see(&seen), named(&NONE));
    assert_eq!(bench.owner(5), Owner::Gone(id("a")));
    // Another interface of the same index.
    let next = PodInterface { identity: 2, ..veth(5, 2, &["10.0.0.5"]) };
    bench.pods(&[pod("b", &["10.0.0.5"])]);
    assert_eq!(bench.see(&[next]), named(&[(5, "b")]));
}

#[test]
fn c5_a_pod_without_addresses_has_no_policy_and_is_closed() {
    let mut bench = placed();
    bench.pods(&[pod("a", &[])]);
    assert_eq!(bench.see(&[veth(5, 1, &["10.0.0.5"])]), named(&NONE));
    assert!(bench.is_closed(5));
}

#[test]
fn c6_a_wait_ends_when_the_pod_is_known() {
    let mut bench = Bench::new(&[]);
    let seen = [veth(5, 1, &["10.0.0.5"])];
    bench.see(&seen);
    bench.wait(Duration::from_secs(1));
    bench.see(&seen);
    assert!(bench.known.waited.is_empty());
    bench.wait(Duration::from_secs(2));
    bench.pods(&[pod("a", &["10.0.0.5"])]);
    bench.see(&seen);
    assert_eq!(bench.known.waited, [(id("a"), Duration::from_secs(3))]);
    bench.see(&seen);
    assert!(bench.known.waited.is_empty());
}

#[test]
fn c3_the_next_agent_knows_the_pod_of_an_interface() {
    let mut bench = placed();
    let seen = [veth(5, 1, &["10.0.0.5"])];
    bench.restart(&seen);
    assert_eq!(bench.see(&seen), named(&[(5, "a")]));
    // Another interface of that index, made while no agent ran.
    bench.restart(&[PodInterface { identity: 2, ..veth(5, 2, &["10.0.0.5"]) }]);
    assert_eq!(
        bench.see(&[PodInterface { identity: 2, ..veth(5, 2, &["10.0.0.5"]) }]),
        named(&NONE)
    );
    assert!(bench.is_closed(5), "the pod has lost its interface");
    // A pod that had ended stays so.
    let mut bench = placed();
    bench.pods(&[]);
    bench.see(&seen);
    bench.restart(&seen);
    bench.pods(&[pod("a", &["10.0.0.5"])]);
    assert_eq!(bench.see(&seen), named(&NONE));
    assert_eq!(bench.owner(5), Owner::Gone(id("a")));
}

#[test]
fn c5_an_address_alone_gives_no_new_interface() {
    // Before or after the end of the old interface, and with its index.
    let old = || veth(5, 1, &["10.0.0.5"]);
    let new = || veth(6, 2, &["10.0.0.5"]);
    let same = || PodInterface { identity: 2, ..veth(5, 2, &["10.0.0.5"]) };
    for stages in
        [vec![vec![old(), new()]], vec![vec![new()]], vec![vec![], vec![new()]], vec![vec![same()]]]
    {
        let mut bench = placed();
        for seen in &stages {
            bench.see(seen);
        }
        let last = stages.last().unwrap().last().unwrap();
        assert!(bench.is_closed(last.ifindex), "{stages:?}");
    }
}

#[test]
fn c3_c5_the_next_agent_gives_no_new_interface_for_an_address_alone() {
    let seen = [veth(6, 2, &["10.0.0.5"])];
    let mut bench = placed();
    bench.restart(&seen);
    assert_eq!(bench.see(&seen), named(&NONE));
    // Another pod of the same name never had that interface.
    let mut bench = placed();
    bench.restart(&[]);
    let mut bench = Bench { bindings: Bindings::default(), ..bench };
    bench.pods(&[Pod { uid: "other".into(), ..pod("a", &["10.0.0.5"]) }]);
    assert_eq!(bench.see(&seen), named(&[(6, "a")]));
}

#[test]
fn a_pod_may_have_two_interfaces_in_one_namespace_and_lose_either() {
    let mut bench = Bench::new(&[pod("a", &["10.0.0.5", "fd00::5"])]);
    let both = [veth(5, 1, &["10.0.0.5"]), veth(6, 1, &["fd00::5"])];
    assert_eq!(bench.see(&both), named(&[(5, "a"), (6, "a")]));
    assert_eq!(bench.see(&both[1..]), named(&[(6, "a")]));
}

#[test]
fn c5_a_pod_that_has_an_interface_gets_no_other() {
    let mut bench = placed();
    let both = [veth(5, 1, &["10.0.0.5"]), veth(6, 2, &["10.0.0.5"])];
    for _ in 0..2 {
        assert_eq!(bench.see(&both), named(&[(5, "a")]));
        assert_eq!(bench.owner(6), Owner::Gone(id("a")));
        bench.bindings.changed(&id("a"), bench.now);
        bench.wait(HELD);
    }
}

#[test]
fn c5_the_next_pod_gets_the_interface_at_once() {
    let mut bench = placed();
    let seen = [veth(6, 2, &["10.0.0.5"])];
    assert_eq!(bench.see(&seen), named(&NONE));
    bench.pods(&[pod("b", &["10.0.0.5"])]);
    assert_eq!(bench.see(&seen), named(&[(6, "b")]));
}

#[test]
fn c5_a_change_of_the_pod_supports_its_claim() {
    let seen = [veth(6, 2, &["10.0.0.5"])];
    let mut bench = placed();
    assert_eq!(bench.see(&seen), named(&NONE));
    bench.bindings.changed(&id("a"), bench.now);
    assert_eq!(bench.see(&seen), named(&[(6, "a")]));
    // Deleted, and created again with its name.
    let mut bench = placed();
    bench.bindings.forget(&id("a"));
    assert_eq!(bench.see(&seen), named(&[(6, "a")]));
}

#[test]
fn c5_a_pod_that_is_being_deleted_gets_no_other_interface() {
    let mut bench = placed();
    bench.bindings.changed(&id("a"), bench.now);
    bench.pods(&[Pod { terminating: true, ..pod("a", &["10.0.0.5"]) }]);
    bench.see(&[veth(6, 2, &["10.0.0.5"])]);
    bench.wait(10 * HELD);
    assert_eq!(bench.see(&[veth(6, 2, &["10.0.0.5"])]), named(&NONE));
    assert_eq!((bench.known.again, bench.is_closed(6)), (None, true));
    // It keeps its interface.
    let mut bench = placed();
    bench.pods(&[Pod { terminating: true, ..pod("a", &["10.0.0.5"]) }]);
    assert_eq!(bench.see(&[veth(5, 1, &["10.0.0.5"])]), named(&[(5, "a")]));
}

#[test]
fn c5_a_claim_without_a_competing_one_is_accepted_after_a_while_and_reconsidered() {
    let mut bench = placed();
    let seen = [veth(6, 2, &["10.0.0.5"])];
    assert_eq!(bench.see(&seen), named(&NONE));
    assert_eq!(bench.known.again, Some(HELD));
    bench.wait(HELD);
    assert_eq!(bench.see(&seen), named(&[(6, "a")]));
    bench.wait(HELD);
    assert_eq!(bench.see(&seen), named(&[(6, "a")]));
    // The API had been late: the interface was the next pod's all the time.
    bench.pods(&[pod("b", &["10.0.0.5"])]);
    assert_eq!(bench.see(&seen), named(&[(6, "b")]));
}
