//! What controllers make of objects, without a lab.

use serde_json::{Value, json};

use super::{after_pods, before_pods, key_of};
use crate::api::{ApiServer, Key, Kind, Store, kinds};

fn server() -> ApiServer {
    let server = ApiServer::new().unwrap();
    let node = json!({ "metadata": { "name": "n1" } });
    server.store().put(&kinds::NODES, node).unwrap();
    server
}

fn apply(store: &Store, text: &str) {
    store.apply(text).unwrap();
    run(store);
}

/// All controllers; pods become ready at once, and ended ones disappear.
fn run(store: &Store) {
    for _ in 0..2 {
        before_pods(store).unwrap();
        for (number, pod) in store.all(&kinds::PODS).iter().enumerate() {
            if !pod["metadata"]["deletionTimestamp"].is_null() {
                store.remove(&kinds::PODS, &key_of(pod));
                continue;
            }
            store.edit(&kinds::PODS, &key_of(pod), |it| {
                let ip = format!("10.1.0.{number}");
                it["status"] = json!({
                    "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }],
                    "conditions": [{ "type": "Ready", "status": "True" }],
                });
            });
        }
        after_pods(store).unwrap();
    }
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: one, ports: [{name: http, containerPort: 8080}]}]}
";

fn get(store: &Store, kind: &Kind, name: &str) -> Value {
    Value::clone(&store.get(kind, &Key::new("default", name)).unwrap())
}

fn names(store: &Store, kind: &Kind) -> Vec<String> {
    store.all(kind).iter().map(|it| key_of(it).name).collect()
}

#[test]
fn a_deployment_has_a_replica_set_and_pods_and_says_so() {
    let server = server();
    let store = server.store();
    apply(store, DEPLOYMENT);
    let sets = names(store, &kinds::REPLICA_SETS);
    assert!(sets.len() == 1 && sets[0].starts_with("web-"), "{sets:?}");
    let pods = names(store, &kinds::PODS);
    assert!(pods.len() == 2 && pods.iter().all(|it| it.starts_with(&sets[0])), "{pods:?}");
    let status = get(store, &kinds::DEPLOYMENTS, "web")["status"].clone();
    assert_eq!((&status["availableReplicas"], &status["updatedReplicas"]), (&json!(2), &json!(2)));
    assert_eq!(status["conditions"][1]["reason"], "NewReplicaSetAvailable");
    let version = store.version();
    run(store);
    assert_eq!(store.version(), version, "nothing is left to do");
}

#[test]
fn another_template_replaces_the_pods_and_the_first_one_returns() {
    let server = server();
    let store = server.store();
    apply(store, DEPLOYMENT);
    let first = names(store, &kinds::REPLICA_SETS).remove(0);
    apply(store, &DEPLOYMENT.replace("one", "two"));
    assert_eq!(names(store, &kinds::REPLICA_SETS).len(), 2);
    let pods = names(store, &kinds::PODS);
    assert!(pods.len() == 2 && pods.iter().all(|it| !it.starts_with(&first)), "{pods:?}");
    let revision = "/metadata/annotations/deployment.kubernetes.io~1revision";
    assert_eq!(get(store, &kinds::DEPLOYMENTS, "web").pointer(revision), Some(&json!("2")));
    apply(store, DEPLOYMENT);
    let pods = names(store, &kinds::PODS);
    assert!(pods.len() == 2 && pods.iter().all(|it| it.starts_with(&first)), "{pods:?}");
    assert_eq!(get(store, &kinds::DEPLOYMENTS, "web").pointer(revision), Some(&json!("3")));
}

#[test]
fn what_a_deleted_deployment_owned_is_removed() {
    let server = server();
    let store = server.store();
    apply(store, DEPLOYMENT);
    store.remove(&kinds::DEPLOYMENTS, &Key::new("default", "web"));
    run(store);
    assert!(names(store, &kinds::REPLICA_SETS).is_empty());
    assert!(names(store, &kinds::PODS).is_empty());
}

#[test]
fn services_have_endpoints_and_load_balancers_addresses() {
    let server = server();
    let store = server.store();
    apply(store, DEPLOYMENT);
    let service = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
";
    apply(store, service);
    let endpoints = get(store, &kinds::ENDPOINTS, "web");
    assert_eq!(endpoints["subsets"][0]["addresses"].as_array().unwrap().len(), 2);
    assert_eq!(endpoints["subsets"][0]["ports"][0]["port"], 8080);
    let slices = store.all(&kinds::ENDPOINT_SLICES);
    assert_eq!(slices.len(), 1);
    assert_eq!(slices[0]["endpoints"].as_array().unwrap().len(), 2);
    let ingress = get(store, &kinds::SERVICES, "web")["status"]["loadBalancer"]["ingress"].clone();
    assert_eq!(ingress[0]["ip"], "192.0.2.128");
    store.remove(&kinds::SERVICES, &Key::new("default", "web"));
    run(store);
    assert!(names(store, &kinds::ENDPOINTS).is_empty());
    assert!(names(store, &kinds::ENDPOINT_SLICES).is_empty());
}

#[test]
fn the_agents_are_a_daemon_set_with_a_pod_on_each_node() {
    let server = server();
    let store = server.store();
    super::declare_agents(store).unwrap();
    run(store);
    let pods = store.all(&kinds::PODS);
    assert_eq!(pods.len(), 1);
    assert_eq!(pods[0]["spec"]["nodeName"], "n1");
    let set = store.get(&kinds::DAEMON_SETS, &Key::new("enforcer-system", "enforcer")).unwrap();
    assert_eq!(set["status"]["numberReady"], 1);
}
