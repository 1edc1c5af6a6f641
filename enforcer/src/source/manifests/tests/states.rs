use indoc::indoc;
use insta::assert_snapshot;

use super::scene::{Scene, pod, policy};
use super::*;
use enforcer_core::model::{Change, PodId, PolicyId};

#[test]
fn a_missing_folder_is_an_error() {
    let error = Manifests::new(vec!["/does/not/exist".into()]).unwrap_err();
    assert!(error.to_string().starts_with("/does/not/exist: No such file"), "{error}");
}

#[test]
fn only_differences_are_returned_in_order() {
    let mut scene = Scene::new();
    scene.write("b/web.yml", pod("web", "a").replace("name: web", "namespace: shop\n  name: web"));
    scene.write(
        "a.json",
        r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"a": "b"}}}"#,
    );
    scene.write("p.yaml", policy("p", "podSelector: {}"));
    scene.write("notes.txt", "a: [");
    scene.write(".hidden.yaml", "a: [");
    let update = scene.rescan();
    assert_eq!(update.reports, []);
    let kinds: Vec<_> = update
        .changes
        .iter()
        .map(|change| match change {
            Change::Namespace(it) => format!("namespace {} {}", it.name, it.labels.len()),
            Change::Pod(it) => format!("pod {}", it.id),
            Change::Policy(it) => format!("policy {}", it.id),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        kinds,
        ["namespace default 1", "namespace shop 2", "pod shop/web", "policy default/p"]
    );
    assert!(scene.rescan().is_empty());

    fs::remove_dir_all(scene.path("b")).unwrap();
    scene.remove("p.yaml");
    let expected = [
        Change::PodGone(PodId::new("shop", "web")),
        Change::NamespaceGone("default".into()),
        Change::PolicyGone(PolicyId::new("default", "p")),
    ];
    assert_eq!(scene.rescan().changes, expected);
}

#[test]
fn a_file_that_never_was_good_gives_its_good_documents() {
    let mut scene = Scene::new();
    let documents = [pod("a", "a"), policy("p", "podSelector: {}\nzzz: 1"), "a: [".to_owned()];
    assert_snapshot!(scene.save("a.yaml", documents.join("---\n")), @"
    a.yaml:14:3: error: spec.zzz: unknown field
    a.yaml:16:4: error: not valid YAML: unclosed bracket '['
    a.yaml:1:1: notice: always had errors: only its 1 good object is in effect; 1 policy with errors isolates the pods that it selects and allows nothing
    ");
    assert_eq!(scene.pods(), "default/a");
    assert_eq!(scene.policies(), ["p"]);
}

#[test]
fn warnings_are_no_errors() {
    let mut scene = Scene::new();
    scene.save("a.yaml", pod("a", "a"));
    let text = pod("b", "a").replace("containers:", "newer: 1\n  containers:");
    assert_snapshot!(scene.save("a.yaml", text), @"a.yaml:7:3: warning: spec.newer: unknown field");
    assert_eq!(scene.pods(), "default/b");
}

/// A workload named `web` with these further lines of its `spec`.
fn workload(kind: &str, version: &str, more: &str) -> String {
    format!(
        "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: web, namespace: shop}}\nspec:\n{more}  \
         template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      containers:\n      - \
         name: c\n        ports: [{{name: http, containerPort: 8080}}]\n"
    )
}

#[test]
fn workloads_are_their_pods() {
    let selector = "  selector: {matchLabels: {app: web}}\n";
    for (kind, version, more, count) in [
        ("Deployment", "apps/v1", format!("{selector}  replicas: 3\n"), 3),
        ("ReplicaSet", "apps/v1", format!("{selector}  replicas: 0\n"), 0),
        ("ReplicaSet", "apps/v1", selector.to_owned(), 1),
        ("StatefulSet", "apps/v1", selector.to_owned(), 1),
        ("StatefulSet", "apps/v1", format!("{selector}  replicas: 0\n  serviceName: s\n"), 0),
        ("DaemonSet", "apps/v1", selector.to_owned(), 1),
        ("Job", "batch/v1", "  parallelism: 3\n".to_owned(), 3),
        ("Job", "batch/v1", "  completions: 2\n".to_owned(), 2),
    ] {
        let mut scene = Scene::new();
        assert_eq!(scene.save("w.yaml", workload(kind, version, &more)), "", "{kind}");
        let expected: Vec<String> = (0..count).map(|index| format!("shop/web-{index}")).collect();
        assert_eq!(scene.pods(), expected.join(" "), "{kind}");
        for pod in scene.cluster.pods.values() {
            assert_eq!(pod.labels["app"], "web");
            assert_eq!(pod.ports.first().unwrap().port, 8080);
        }
    }
}

#[test]
fn a_pod_can_not_be_declared_beside_its_workload() {
    let mut scene = Scene::new();
    let pod = pod("web-0", "other").replace("name: web-0", "namespace: shop\n  name: web-0");
    let documents = [workload("DaemonSet", "apps/v1", "  selector: {}\n"), pod];
    assert_snapshot!(scene.save("w.yaml", documents.join("---\n")), @"w.yaml:17:9: error: metadata.name: Pod shop/web-0 is already declared at w.yaml:3; that one counts (keep one of the two)");
    assert_eq!(scene.cluster.pods[&PodId::new("shop", "web-0")].labels["app"], "web");
}

#[test]
fn too_many_replicas() {
    let mut scene = Scene::new();
    for (name, count) in [("a.yaml", "-1"), ("b.yaml", "1000000000")] {
        scene.write(name, workload("Deployment", "apps/v1", &format!("  replicas: {count}\n")));
    }
    let update = scene.rescan();
    assert_snapshot!(scene.lines(&update.reports), @"
    a.yaml:5:13: error: spec.replicas: `-1` is not in 0 to 5000
    a.yaml:1:1: notice: nothing of this file is in effect
    b.yaml:5:13: error: spec.replicas: `1000000000` is not in 0 to 5000
    b.yaml:1:1: notice: nothing of this file is in effect
    ");
}

#[test]
fn a_status_finds_its_pod() {
    let status = |address: &str, phase: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web-1, uid: u}}\nstatus: {{phase: {phase}, podIPs: [{{ip: {address}}}]}}\n"
        )
    };
    let mut scene = Scene::new();
    scene.write("s.yaml", status("10.0.0.1", "Running"));
    assert!(scene.rescan().is_empty());

    let deployment = indoc! {"
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: web}
        spec: {replicas: 2, selector: {}, template: {metadata: {labels: {a: b}}}}
    "};
    assert_eq!(scene.save("d.yaml", deployment), "");
    let id = PodId::new("default", "web-1");
    let pod = &scene.cluster.pods[&id];
    assert_eq!((pod.uid.to_string(), pod.finished), ("u".to_owned(), false));
    assert_eq!(pod.addresses, ["10.0.0.1".parse().unwrap()].into());
    assert_eq!(pod.labels["a"], "b");
    assert!(scene.cluster.pods[&PodId::new("default", "web-0")].addresses.is_empty());

    scene.write("s.yaml", status("10.0.0.2", "Failed"));
    let changes = scene.rescan().changes;
    let [Change::Pod(pod)] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((pod.finished, pod.labels["a"].as_str()), (true, "b"));
    scene.remove("s.yaml");
    scene.rescan();
    assert!(scene.cluster.pods[&id].addresses.is_empty() && !scene.cluster.pods[&id].finished);
}
