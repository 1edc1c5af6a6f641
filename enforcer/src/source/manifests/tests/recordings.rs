//! Objects as a real API server sends them.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::scene::Scene;
use super::*;
use crate::source::convert::{self, Converted};
use enforcer_core::model::{Block, Change, PodId, Protocol, Rule, ServiceId};

const PODS: &str = include_str!("../../../../tests-data/recordings/watch.pods.jsonl");
const NAMESPACES: &str = include_str!("../../../../tests-data/recordings/watch.namespaces.jsonl");
const POLICIES: &str =
    include_str!("../../../../tests-data/recordings/watch.networkpolicies.jsonl");
const SERVICES: &str = include_str!("../../../../tests-data/recordings/watch.services.jsonl");
const POD_LIST: &str = include_str!("../../../../tests-data/recordings/list-after.pods.json");
const POLICY_LIST: &str =
    include_str!("../../../../tests-data/recordings/list-after.networkpolicies.json");

/// The objects of a watch, bookmarks left out.
fn objects(watch: &str) -> Vec<Value> {
    let events = watch.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let real = events.filter(|event| event["type"] != "BOOKMARK");
    let objects: Vec<Value> = real.map(|event| event["object"].clone()).collect();
    assert!(!objects.is_empty());
    objects
}

fn converted<T: DeserializeOwned, M>(watch: &str, convert: impl Fn(&T) -> Converted<M>) -> Vec<M> {
    let one = |object: Value| {
        let name = object["metadata"]["name"].to_string();
        let converted = convert(&serde_json::from_value(object).unwrap());
        assert_eq!(converted.problems, [], "{name}");
        converted.value.unwrap()
    };
    objects(watch).into_iter().map(one).collect()
}

/// Converts every event's object, and reads it as a manifest: both must give the same.
fn both_ways<T: DeserializeOwned, M>(
    watch: &str,
    convert: impl Fn(&T) -> Converted<M>,
    change: impl Fn(M) -> Change,
) {
    let models = converted(watch, convert);
    for (object, model) in objects(watch).into_iter().zip(models) {
        let mut scene = Scene::new();
        scene.write("o.json", object.to_string());
        let update = scene.rescan();
        assert_eq!(update.reports, []);
        assert!(update.changes.contains(&change(model)), "{object}");
    }
}

#[test]
fn every_object_is_the_same_from_the_server_and_from_a_file() {
    both_ways(PODS, convert::pod, Change::Pod);
    both_ways(NAMESPACES, convert::namespace, Change::Namespace);
    both_ways(POLICIES, convert::policy, Change::Policy);
    both_ways(SERVICES, convert::service, Change::Service);
}

#[test]
fn pods_as_they_are() {
    let pods = converted(PODS, convert::pod);
    let host = pods.iter().find(|pod| pod.id.name == "hostnet").unwrap();
    assert!(host.host_network && !host.is_peer());
    let job = pods.iter().rfind(|pod| pod.id.name.starts_with("once-")).unwrap();
    assert!(job.finished && !job.is_peer());
    let api = pods.iter().find(|pod| pod.id.name.starts_with("api-")).unwrap();
    let ports: Vec<_> =
        api.ports.iter().map(|port| (port.name.as_str(), port.protocol, port.port)).collect();
    assert_eq!(ports, [("dns", Protocol::Udp, 8081), ("web", Protocol::Tcp, 8080)]);
    let last = pods.iter().rfind(|pod| pod.id.name == "pod3").unwrap();
    assert_eq!(last.addresses, ["10.244.0.6".parse().unwrap()].into());
    assert_eq!(last.node.as_deref(), Some("node1"));
    assert!(!last.uid.is_empty());
}

#[test]
fn policies_as_they_are() {
    let policies = converted(POLICIES, convert::policy);
    let zones = policies.iter().rfind(|policy| policy.id.name == "api-zones").unwrap();
    let [Rule { peers, ports }] = zones.ingress.as_deref().unwrap() else { panic!("one rule") };
    let block = Block {
        cidr: "203.0.113.0/24".parse().unwrap(),
        except: ["203.0.113.64/26".parse().unwrap()].into(),
    };
    assert_eq!(peers[1], enforcer_core::model::Peer::Block(block));
    assert_eq!(ports.len(), 2);
    assert_eq!(zones.egress.as_ref().unwrap().len(), 1);
    let one = policies.iter().find(|policy| policy.id.name == "backend-policy").unwrap();
    assert_eq!(one.egress, None);
}

#[test]
fn services_as_they_are() {
    let services = converted(SERVICES, convert::service);
    let id = ServiceId::new("hello", "api");
    let api = services.iter().find(|service| service.id == id).unwrap();
    assert_eq!(api.cluster_addresses, ["10.96.254.243".parse().unwrap()].into());
    assert_eq!(api.ports[1].protocol, Protocol::Udp);
    assert_eq!(api.ports[1].node_port, Some(30342));
}

/// The lists are of a newer Kubernetes than the schema: what it added must not be errors.
#[test]
fn whole_lists_are_manifests() {
    let mut scene = Scene::new();
    scene.write("pods.json", POD_LIST);
    scene.write("policies.json", POLICY_LIST);
    let update = scene.rescan();
    let reports = scene.lines(&update.reports);
    assert!(!reports.contains(": error: "), "{reports}");
    assert!(scene.cluster.pods.contains_key(&PodId::new("hello", "hostnet")));
    assert_eq!(scene.policies(), ["api-zones", "backend-policy"]);
}

/// The first manifests that newcomers see.
#[test]
fn the_tutorials_manifests_have_no_reports() {
    let tutorials = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/tutorial");
    let mut count = 0;
    for tutorial in fs::read_dir(tutorials).unwrap() {
        let directory = tutorial.unwrap().path();
        if directory.is_dir() {
            assert_eq!(Manifests::new(vec![directory]).unwrap().rescan().reports, []);
            count += 1;
        }
    }
    assert!(count > 0);
}
