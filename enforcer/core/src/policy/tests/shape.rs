//! The form of [`Compiled`]: few columns, rows and prefixes.

use super::*;

fn prefixes(compiled: &Compiled) -> Vec<String> {
    compiled.addresses.keys().map(ToString::to_string).collect()
}

#[test]
fn nothing_to_enforce_is_one_column_and_no_row() {
    let compiled = world().compile();
    assert_eq!((compiled.columns, compiled.rows.len()), (1, 0));
    assert!(compiled.addresses.is_empty());
    assert_eq!(compiled.pods.len(), 1);
}

#[test]
fn addresses_that_no_row_distinguishes_share_a_column() {
    let world = world()
        .pod("one", "role=a", "10.0.0.2")
        .pod("two", "role=b", "10.0.0.3")
        .ingress([rule([pods("role=a"), pods("role=b"), block("192.0.2.0/24", &[])], [])]);
    let compiled = world.compile();
    assert_eq!(compiled.columns, 2);
    assert_eq!(prefixes(&compiled), ["10.0.0.2/32", "10.0.0.3/32", "192.0.2.0/24"]);
}

#[test]
fn prefixes_with_the_column_of_their_surroundings_are_left_out() {
    let world = world()
        .pod("one", "role=a", "10.0.0.2")
        .pod("two", "role=b", "10.1.0.2")
        .ingress([rule([pods(""), block("10.0.0.0/24", &[]), block("10.0.0.0/26", &[])], [])]);
    // 10.0.0.1 and 10.0.0.2 are pods of the block; fd00::1 is a pod outside of any.
    assert_eq!(prefixes(&world.compile()), ["10.0.0.0/24", "10.1.0.2/32", "fd00::1/128"]);
}

#[test]
fn an_exception_that_another_block_fills_is_left_out() {
    let world = world()
        .ingress([rule([block("10.0.0.0/8", &["10.9.0.0/16"]), block("10.9.0.0/16", &[])], [])]);
    assert_eq!(prefixes(&world.compile()), ["10.0.0.0/8"]);
}

#[test]
fn peers_of_policies_that_select_no_local_pod_are_left_out() {
    let world = world().pod("far", "app=far", "10.0.0.2").policy(
        "far",
        select("app=far"),
        Some(vec![rule([pods("app=web"), block("192.0.2.0/24", &[])], [])]),
        None,
    );
    let compiled = compile(&world.cluster, &BTreeSet::from([PodId::new("default", "web")]));
    assert_eq!((compiled.columns, compiled.rows.len()), (1, 0));
    assert!(compiled.addresses.is_empty());
}

#[test]
fn the_nodes_own_addresses_are_always_there() {
    let mut world = world().ingress([rule([block("10.0.0.0/8", &[])], [])]);
    world.cluster.node_addresses.extend([ip("10.0.0.254"), ip("192.0.2.1"), ip("fe80::1")]);
    let compiled = world.compile();
    let node: Vec<_> = compiled.node_addresses.iter().map(ToString::to_string).collect();
    assert_eq!(node, ["10.0.0.254/32", "192.0.2.1/32", "fe80::1/128"]);
    assert!(node.iter().all(|it| compiled.addresses.contains_key(&it.parse().unwrap())));
    assert_eq!(compiled.column(ip("10.0.0.254")), compiled.column(ip("10.3.3.3")));
    assert_eq!(compiled.column(ip("192.0.2.1")), 0);
}

#[test]
fn subjects_that_allow_the_same_share_a_row_in_any_direction() {
    let world = world().pod("db", "app=db", "10.0.0.2").ingress([]).egress([]).policy(
        "db",
        select("app=db"),
        Some(vec![rule([block("0.0.0.0/0", &["0.0.0.0/0"])], [])]),
        None,
    );
    let compiled = world.compile();
    assert_eq!(compiled.rows.len(), 1);
    let rows = |name| compiled.pods[&PodId::new("default", name)];
    assert_eq!((rows("web").ingress, rows("web").egress), (Some(0), Some(0)));
    assert_eq!((rows("db").ingress, rows("db").egress), (Some(0), None));
}

#[test]
fn the_same_cluster_compiles_to_the_same_result() {
    let world = world()
        .pod("one", "role=a", "10.0.0.2")
        .pod("two", "role=b", "10.0.0.3")
        .ingress([rule([pods("role=a")], []), rule([pods("role=b")], [port(Protocol::Tcp, 1, 9)])])
        .egress([rule([pods("role=b")], []), rule([block("10.0.0.0/8", &[])], [])]);
    let first = world.compile();
    assert!((0..10).all(|_| world.compile() == first));
}
