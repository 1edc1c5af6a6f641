//! Requests of kube's client.

use enforcer_tests::api::{ApiServer, Key, Kind, Verb, kinds};
use kube::Error;
use kube::api::{
    DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use serde_json::{Value, json};

use crate::support::{Stage, pod};

fn dynamic(kind: &Kind, mut object: Value) -> DynamicObject {
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.into();
    serde_json::from_value(object).unwrap()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, code: u16, reason: &str, message: &str) {
    let Err(Error::Api(status)) = result else { panic!("not refused: {result:?}") };
    assert_eq!((status.code, status.reason.as_str()), (code, reason), "{}", status.message);
    assert!(status.message.contains(message), "{}", status.message);
}

#[tokio::test]
async fn a_pod_gets_metadata_and_defaults() {
    let stage = Stage::new();
    let pods = stage.api_in(&kinds::PODS, "default");
    let made = pods.create(&PostParams::default(), &dynamic(&kinds::PODS, pod("a"))).await.unwrap();
    let meta = &made.metadata;
    assert!(
        meta.uid.is_some() && meta.creation_timestamp.is_some() && meta.resource_version.is_some()
    );
    assert_eq!(meta.namespace.as_deref(), Some("default"));
    assert_eq!(made.data["status"]["phase"], "Pending");
    assert_eq!(made.data["spec"]["restartPolicy"], "Always");
    let again = pods.create(&PostParams::default(), &dynamic(&kinds::PODS, pod("a"))).await;
    refused(again, 409, "AlreadyExists", "pods \"a\" already exists");
}

#[tokio::test]
async fn invalid_objects_are_refused() {
    let stage = Stage::new();
    let pods = stage.api_in(&kinds::PODS, "default");
    let how = PostParams::default();
    let create = async |object: Value| pods.create(&how, &dynamic(&kinds::PODS, object)).await;
    refused(create(pod("A")).await, 422, "Invalid", "metadata.name");
    let mut nameless = pod("a");
    nameless["metadata"].as_object_mut().unwrap().remove("name");
    refused(create(nameless).await, 422, "Invalid", "name or generateName is required");
    let mut empty = pod("a");
    empty["spec"]["containers"] = json!([]);
    refused(create(empty).await, 422, "Invalid", "spec.containers: Required value");
    let mut wrong = pod("a");
    wrong["spec"]["nodeName"] = 5.into();
    refused(create(wrong).await, 400, "BadRequest", "invalid type: integer `5`");
    let elsewhere = stage.api_in(&kinds::PODS, "nowhere");
    let lost = elsewhere.create(&how, &dynamic(&kinds::PODS, pod("a"))).await;
    refused(lost, 404, "NotFound", "namespaces \"nowhere\" not found");
    refused(pods.get("a").await, 404, "NotFound", "pods \"a\" not found");
    let policy = json!({
        "metadata": { "name": "p" },
        "spec": { "podSelector": {}, "ingress": [{ "from": [{ "ipBlock": { "cidr": "10.0.0.0/33" } }] }] },
    });
    let policies = stage.api_in(&kinds::NETWORK_POLICIES, "default");
    let made = policies.create(&how, &dynamic(&kinds::NETWORK_POLICIES, policy)).await;
    refused(made, 422, "Invalid", "spec.ingress[0].from[0].ipBlock.cidr");
}

#[tokio::test]
async fn stale_writes_conflict_and_writes_without_changes_have_no_event() {
    let stage = Stage::new();
    stage.pods(&["a"]);
    let pods = stage.api_in(&kinds::PODS, "default");
    let old = pods.get("a").await.unwrap();
    let mut newer = old.clone();
    newer.metadata.labels.get_or_insert_default().insert("x".into(), "y".into());
    pods.replace("a", &PostParams::default(), &newer).await.unwrap();
    let stale = pods.replace("a", &PostParams::default(), &old).await;
    refused(stale, 409, "Conflict", "the object has been modified");
    let version = stage.server.store().version();
    let same = pods.get("a").await.unwrap();
    pods.replace("a", &PostParams::default(), &same).await.unwrap();
    assert_eq!(stage.server.store().version(), version);
    let wrong = Preconditions { resource_version: old.metadata.resource_version, uid: None };
    let how = DeleteParams { preconditions: Some(wrong), ..DeleteParams::default() };
    refused(pods.delete("a", &how).await, 409, "Conflict", "preconditions");
}

#[tokio::test]
async fn a_pods_spec_is_immutable_and_its_status_is_a_subresource() {
    let stage = Stage::new();
    stage.pods(&["a"]);
    let pods = stage.api_in(&kinds::PODS, "default");
    let change = json!({ "spec": { "hostNetwork": true } });
    let patched = pods.patch("a", &PatchParams::default(), &Patch::Merge(&change)).await;
    refused(patched, 422, "Invalid", "pod updates may not change fields");
    let status = json!({ "status": { "phase": "Running", "podIP": "10.0.0.5" } });
    let patched = pods.patch("a", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    assert_eq!(patched.data["status"]["phase"], "Pending");
    let patched =
        pods.patch_status("a", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    assert_eq!(patched.data["status"]["podIP"], "10.0.0.5");
}

#[tokio::test]
async fn lists_are_paged_and_selected() {
    let stage = Stage::new();
    stage.pods(&["a", "b", "c"]);
    let pods = stage.api(&kinds::PODS);
    let first = pods.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!((first.items.len(), first.metadata.remaining_item_count), (2, Some(1)));
    // Later objects are not on later pages.
    stage.pods(&["d"]);
    let token = first.metadata.continue_.unwrap();
    let rest = pods.list(&ListParams::default().limit(2).continue_token(&token)).await.unwrap();
    assert_eq!(rest.items.len(), 1);
    assert_eq!(rest.metadata.resource_version, first.metadata.resource_version);
    let names = async |params: ListParams| {
        let list = pods.list(&params).await.unwrap();
        list.items.into_iter().map(|it| it.metadata.name.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names(ListParams::default().labels("app in (a,c)")).await, ["a", "c"]);
    assert_eq!(names(ListParams::default().fields("metadata.name=b")).await, ["b"]);
    assert_eq!(names(ListParams::default().fields("spec.nodeName!=")).await, Vec::<String>::new());
    let old = ListParams::default().at(first.metadata.resource_version.as_deref().unwrap());
    let old = old.matching(kube::api::VersionMatch::Exact);
    assert_eq!(names(old).await, ["a", "b", "c"]);
    stage.server.store().compact();
    let gone = pods.list(&ListParams::default().limit(2).continue_token(&token)).await;
    refused(gone, 410, "Expired", "continue parameter is too old");
}

#[tokio::test]
async fn graceful_deletion_has_two_steps() {
    let stage = Stage::of(ApiServer::new().unwrap().graceful());
    stage.pods(&["a", "b"]);
    let key = Key::new("default", "a");
    stage.server.store().edit(&kinds::PODS, &key, |pod| pod["spec"]["nodeName"] = "n1".into());
    let pods = stage.api_in(&kinds::PODS, "default");
    pods.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(pods.get("a").await.unwrap().metadata.deletion_timestamp.is_some());
    // Without a node, the deletion does not wait.
    pods.delete("b", &DeleteParams::default()).await.unwrap();
    refused(pods.get("b").await, 404, "NotFound", "");
    stage.server.store().remove(&kinds::PODS, &key).unwrap();
    refused(pods.get("a").await, 404, "NotFound", "");
}

#[tokio::test]
async fn a_namespace_is_deleted_with_its_objects() {
    let stage = Stage::new();
    stage.pods(&["a"]);
    stage.api(&kinds::NAMESPACES).delete("default", &DeleteParams::default()).await.unwrap();
    assert!(stage.server.store().all(&kinds::PODS).is_empty());
    let names = stage.server.store().all(&kinds::NAMESPACES);
    assert!(names.iter().all(|it| it["metadata"]["name"] != "default"));
    assert!(names.iter().all(
        |it| it["metadata"]["labels"]["kubernetes.io/metadata.name"] == it["metadata"]["name"]
    ));
}

#[tokio::test]
async fn finalizers_keep_an_object() {
    let stage = Stage::new();
    let policies = stage.api_in(&kinds::NETWORK_POLICIES, "default");
    let policy = json!({ "metadata": { "name": "p", "finalizers": ["x.io/y"] }, "spec": { "podSelector": {} } });
    policies
        .create(&PostParams::default(), &dynamic(&kinds::NETWORK_POLICIES, policy))
        .await
        .unwrap();
    policies.delete("p", &DeleteParams::default()).await.unwrap();
    assert!(policies.get("p").await.unwrap().metadata.deletion_timestamp.is_some());
    let free = json!({ "metadata": { "finalizers": null } });
    policies.patch("p", &PatchParams::default(), &Patch::Merge(&free)).await.unwrap();
    refused(policies.get("p").await, 404, "NotFound", "networkpolicies.networking.k8s.io \"p\"");
}

#[tokio::test]
async fn events_are_the_same_in_both_groups() {
    let stage = Stage::new();
    let event = json!({
        "metadata": { "name": "e" }, "reason": "Tried", "note": "it was tried", "type": "Normal",
        "action": "Try", "reportingController": "x.io/y", "reportingInstance": "z",
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "regarding": { "kind": "Pod", "namespace": "default", "name": "a" },
    });
    let new = stage.api_in(&kinds::EVENTS_K8S_IO, "default");
    new.create(&PostParams::default(), &dynamic(&kinds::EVENTS_K8S_IO, event)).await.unwrap();
    let seen = stage.api_in(&kinds::EVENTS, "default").get("e").await.unwrap();
    assert_eq!(seen.data["message"], "it was tried");
    assert_eq!(seen.data["involvedObject"]["name"], "a");
    let seen = new.get("e").await.unwrap();
    assert_eq!(
        (&seen.data["note"], &seen.data["involvedObject"]),
        (&"it was tried".into(), &Value::Null)
    );
}

#[tokio::test]
async fn server_side_apply_creates_changes_and_removes() {
    let stage = Stage::new();
    let policies = stage.api_in(&kinds::NETWORK_POLICIES, "default");
    let how = PatchParams::apply("tests");
    let policy = |labels: Value| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": { "name": "p", "labels": labels }, "spec": { "podSelector": {} },
        })
    };
    policies.patch("p", &how, &Patch::Apply(policy(json!({ "a": "1", "b": "2" })))).await.unwrap();
    let after =
        policies.patch("p", &how, &Patch::Apply(policy(json!({ "a": "3" })))).await.unwrap();
    assert_eq!(after.metadata.labels.unwrap(), [("a".to_owned(), "3".to_owned())].into());
    assert_eq!(after.data["spec"]["policyTypes"], json!(["Ingress"]));
}

#[tokio::test]
async fn requests_are_recorded() {
    let stage = Stage::new();
    let pods = stage.api(&kinds::PODS);
    pods.list(&ListParams::default()).await.unwrap();
    let _ = stage.api_in(&kinds::PODS, "default").delete("a", &DeleteParams::default()).await;
    let expected = [(Verb::List, "pods".to_owned()), (Verb::Delete, "pods".to_owned())];
    assert_eq!(stage.server.journal().permissions(""), expected.into());
    assert!(stage.server.journal().permissions("somebody else").is_empty());
}
