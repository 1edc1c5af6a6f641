//! Policies in audit: they neither isolate nor allow, and are known all the same.

use super::*;
use crate::explain;
use crate::model::View;
use crate::policy::{Engine, Touched};

const PEER: &str = "10.0.0.9";

/// Puts a policy in audit, in one of the three ways.
fn audited(mut world: World, name: &str, way: usize) -> World {
    let cluster = &mut world.cluster;
    let namespace = cluster.namespaces.entry("default".to_owned());
    match way {
        0 => {
            let policy = cluster.policies.get_mut(&PolicyId::new("default", name));
            policy.expect("no such policy").audit = true;
        }
        1 => namespace.or_insert_with(|| Namespace::new("default", Labels::new())).audit = true,
        _ => cluster.audit = true,
    }
    world
}

/// Whether pod `web` would accept web traffic from the peer, according to both evaluators.
fn would_accept(world: &World) -> bool {
    let (web, peer) = (PodId::new("default", "web"), ip(PEER));
    let cluster = &world.cluster;
    let naive = naive::why_in(cluster, View::WouldBe, &web, Ingress, peer, WEB).allows();
    let owners = explain::owners(cluster, peer);
    let explained = explain::why_among(cluster, View::WouldBe, &web, Ingress, peer, owners, WEB);
    assert_eq!(explained.allows(), naive);
    naive
}

#[test]
fn a_policy_in_audit_isolates_no_pod() {
    for way in 0..3 {
        let world = audited(world().ingress([]), "ingress-0", way);
        assert!(world.accepts(PEER, WEB), "{way}");
        assert_eq!(world.compile().pods[&PodId::new("default", "web")].ingress, None);
        assert!(!would_accept(&world), "{way}");
    }
}

#[test]
fn a_policy_in_audit_allows_nothing() {
    let world = world().ingress([]).ingress([rule([block("10.0.0.0/24", &[])], [])]);
    assert!(world.accepts(PEER, WEB));
    let world = audited(world, "ingress-1", 0);
    assert!(!world.accepts(PEER, WEB), "ingress-0 still isolates");
    assert!(would_accept(&world));
}

#[test]
fn another_namespace_in_audit_changes_nothing() {
    let mut world = world().ingress([]);
    let other = Namespace { audit: true, ..Namespace::new("default-2", Labels::new()) };
    world.cluster.namespaces.insert(other.name.clone(), other);
    assert!(!world.accepts(PEER, WEB));
}

#[test]
fn audit_is_switched_on_and_off_by_one_object() {
    let open = Namespace { audit: true, ..Namespace::new("default", Labels::new()) };
    let mut world = world().ingress([]);
    let web = PodId::new("default", "web");
    let (mut engine, _) = Engine::new(&world.cluster, &[web.clone()].into());
    let touched = Touched { namespaces: ["default".to_owned()].into(), ..Touched::default() };
    for audit in [true, false, true] {
        let namespace = Namespace { audit, ..open.clone() };
        world.cluster.namespaces.insert("default".to_owned(), namespace);
        engine.update(&world.cluster, &touched, &[web.clone()].into());
        let verdict = engine.verdict_of(&web, Ingress, ip(PEER));
        assert_eq!(verdict.is_none(), audit);
    }
    // A namespace that is deleted is not in audit any more.
    world.cluster.namespaces.clear();
    engine.update(&world.cluster, &touched, &[web.clone()].into());
    assert!(engine.verdict_of(&web, Ingress, ip(PEER)).is_some());
}
