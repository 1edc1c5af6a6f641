//! Semantics S1, S2, S4.

use super::*;

#[test]
fn s1_host_network_finished_and_addressless_pods_are_no_subjects() {
    let changes: [fn(&mut Pod); 3] = [
        |pod| pod.host_network = true,
        |pod| pod.finished = true,
        |pod| pod.addresses = SharedSet::new(),
    ];
    for change in changes {
        let world = world().ingress([]).egress([]).with("default", "web", change);
        assert!(world.accepts("10.0.0.9", WEB) && world.sends("10.0.0.9", WEB));
        assert!(world.compile().pods.is_empty());
    }
}

#[test]
fn s1_only_local_pods_are_in_the_result() {
    let world = world().pod("other", "app=web", "10.0.0.2").ingress([]);
    let local = BTreeSet::from([PodId::new("default", "web"), PodId::new("default", "unknown")]);
    let compiled = compile(&world.cluster, &local);
    assert_eq!(compiled.pods.keys().collect::<Vec<_>>(), [&PodId::new("default", "web")]);
}

#[test]
fn s2_a_policy_selects_in_its_own_namespace_only() {
    let world = world().namespace("other", "").pod_in("other", "web", "app=web", "10.1.0.1");
    let mut world = world.ingress([]);
    assert!(!world.accepts("10.0.0.9", WEB));
    let other = PodId::new("other", "web");
    assert_eq!(world.compile().pods[&other].ingress, None);
    assert!(!naive::is_isolated(&world.cluster, &other, Ingress));
    // A namespace whose name only begins alike is another one, too.
    let policy = world.cluster.policies.pop_first().unwrap().1;
    let id = PolicyId::new("default-2", "deny");
    world.cluster.policies.insert(id.clone(), Policy { id, ..policy });
    assert!(world.accepts("10.0.0.9", WEB));
}

#[test]
fn s2_an_empty_selector_selects_every_pod_of_the_namespace() {
    let world =
        world().pod("bare", "", "10.0.0.2").policy("deny", Selector::default(), Some(vec![]), None);
    assert!(!world.accepts("10.0.0.9", WEB));
    assert!(!world.allows("bare", Ingress, "10.0.0.9", WEB));
}

#[test]
fn s4_a_direction_that_no_policy_isolates_is_open() {
    let world = world().ingress([]);
    assert!(!world.accepts("10.0.0.9", Traffic::Portless));
    assert!(world.sends("10.0.0.9", Traffic::Portless));
    let web = PodId::new("default", "web");
    let policy = world.compile().pods[&web];
    assert_eq!((policy.ingress, policy.egress), (Some(0), None));
    assert!(naive::is_isolated(&world.cluster, &web, Ingress));
    assert!(!naive::is_isolated(&world.cluster, &web, Egress));
}

#[test]
fn s4_rules_of_several_policies_add_up_and_none_denies() {
    let world = world()
        .ingress([rule([block("10.9.0.0/16", &[])], [port(Protocol::Tcp, 80, 80)])])
        .ingress([])
        .ingress([rule([block("10.9.9.0/24", &[])], [port(Protocol::Udp, 53, 53)])]);
    let dns = Traffic::Port(Protocol::Udp, 53);
    assert!(world.accepts("10.9.9.1", WEB) && world.accepts("10.9.9.1", dns));
    assert!(world.accepts("10.9.8.1", WEB) && !world.accepts("10.9.8.1", dns));
    assert!(!world.accepts("10.8.0.1", WEB));
}

#[test]
fn s4_subjects_of_different_policies_have_rows_of_their_own() {
    let world = world()
        .pod("db", "app=db", "10.0.0.2")
        .ingress([rule([pods("app=db")], [])])
        .policy("db", select("app=db"), Some(vec![rule([pods("app=web")], [])]), None);
    assert!(world.accepts("10.0.0.2", WEB) && !world.accepts("10.0.0.1", WEB));
    assert!(world.allows("db", Ingress, "10.0.0.1", WEB));
    assert!(!world.allows("db", Ingress, "10.0.0.2", WEB));
}
