use indoc::indoc;
use insta::assert_snapshot;

use super::*;
use enforcer_core::model::{Change, PodId, PolicyId};

const WEB: &str = indoc! {"
    apiVersion: v1
    kind: Pod
    metadata: {name: web, namespace: shop}
    spec: {containers: []}
"};

fn pod(name: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: []}}\n")
}

fn policy(name: &str, rest: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec: {{podSelector: {{}}{rest}}}\n"
    )
}

fn names(manifests: &Manifests) -> Vec<String> {
    manifests.cluster.pods.keys().map(ToString::to_string).collect()
}

#[test]
fn a_missing_folder_is_an_error() {
    let error = Manifests::new(vec!["/does/not/exist".into()]).unwrap_err();
    assert!(error.to_string().starts_with("/does/not/exist: No such file"), "{error}");
}

#[test]
fn only_differences_are_returned_in_order() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "b/web.yml", WEB);
    write(
        dir.path(),
        "a.json",
        r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"a": "b"}}}"#,
    );
    write(dir.path(), "p.yaml", &policy("p", ""));
    write(dir.path(), "notes.txt", "a: [");
    write(dir.path(), ".hidden.yaml", "a: [");
    let mut it = manifests(dir.path());
    let update = it.rescan();
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
    assert!(it.rescan().is_empty());

    fs::remove_dir_all(dir.path().join("b")).unwrap();
    fs::remove_file(dir.path().join("p.yaml")).unwrap();
    let expected = [
        Change::PodGone(PodId::new("shop", "web")),
        Change::NamespaceGone("default".into()),
        Change::PolicyGone(PolicyId::new("default", "p")),
    ];
    assert_eq!(it.rescan().changes, expected);
}

#[test]
fn the_last_good_state_stays() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.yaml", &format!("{}---\n{}", pod("a"), pod("b")));
    let mut it = manifests(dir.path());
    it.rescan();
    // One document is bad and the other is changed: all of the last good version stays.
    write(dir.path(), "a.yaml", &format!("{}---\n{}", pod("c"), policy("p", ", zzz: 1")));
    let update = it.rescan();
    assert_eq!(update.changes, []);
    assert_snapshot!(lines(dir.path(), &update), @"
    a.yaml:9:25: error: spec.zzz: unknown field
    a.yaml:1:1: notice: its last good version stays in effect
    ");
    assert!(it.rescan().is_empty());
    write(dir.path(), "a.yaml", &pod("c"));
    let update = it.rescan();
    assert_eq!(names(&it), ["default/c"]);
    assert_eq!(update.changes.len(), 3);
    assert_snapshot!(lines(dir.path(), &update), @"a.yaml:1:1: notice: fixed");
}

#[test]
fn a_file_that_never_was_good_gives_its_good_documents() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.yaml", &format!("{}---\n{}---\na: [", pod("a"), policy("p", ", zzz: 1")));
    let mut it = manifests(dir.path());
    let update = it.rescan();
    assert_eq!(names(&it), ["default/a"]);
    assert!(it.cluster.policies.is_empty());
    assert_snapshot!(lines(dir.path(), &update), @"
    a.yaml:9:25: error: spec.zzz: unknown field
    a.yaml:11:1: error: not valid YAML: while parsing a node, did not find expected node content
    a.yaml:1:1: notice: never was without errors: only its 1 good object is in effect
    ");
}

#[test]
fn warnings_are_no_errors() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.yaml", &pod("a"));
    let mut it = manifests(dir.path());
    it.rescan();
    write(dir.path(), "a.yaml", &pod("b").replace("containers: []", "containers: [], newer: 1"));
    let update = it.rescan();
    assert_eq!(names(&it), ["default/b"]);
    assert_snapshot!(lines(dir.path(), &update), @"a.yaml:4:24: warning: spec.newer: unknown field");
}

#[test]
fn declared_twice() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "b.yaml", &policy("p", ", policyTypes: [Egress]"));
    write(dir.path(), "a.yaml", &policy("p", ""));
    let mut it = manifests(dir.path());
    let update = it.rescan();
    let policy = &it.cluster.policies[&PolicyId::new("default", "p")];
    assert!(policy.egress.is_none());
    assert_snapshot!(lines(dir.path(), &update), @"b.yaml:3:18: error: metadata.name: NetworkPolicy default/p is already declared at a.yaml:3; that one counts (keep one of the two)");
    assert!(it.rescan().is_empty());
    fs::remove_file(dir.path().join("a.yaml")).unwrap();
    let update = it.rescan();
    assert_eq!(update.changes.len(), 1);
    assert_snapshot!(lines(dir.path(), &update), @"b.yaml:1:1: notice: fixed");
}

#[test]
fn workloads_become_pods() {
    let dir = tempfile::tempdir().unwrap();
    let workload = |kind: &str, version: &str, name: &str, fields: &str| {
        format!(
            "---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}, namespace: n}}\nspec:\n  selector: {{}}\n  serviceName: s\n  template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{containers: []}}}}\n{fields}"
        )
    };
    let text = [
        workload("Deployment", "apps/v1", "dep", "  replicas: 2\n"),
        workload("ReplicaSet", "apps/v1", "rep", ""),
        workload("StatefulSet", "apps/v1", "sts", "  replicas: 0\n"),
        workload("DaemonSet", "apps/v1", "dae", ""),
        workload("Job", "batch/v1", "job", "  completions: 2\n"),
        workload("Job", "batch/v1", "par", "  parallelism: 3\n"),
        format!("---\n{}", pod("dep-0").replace("name: dep-0", "name: dep-0, namespace: n")),
    ];
    write(dir.path(), "a.yaml", &text.concat());
    let mut it = manifests(dir.path());
    let update = it.rescan();
    assert_eq!(
        names(&it).join(" "),
        "n/dae-0 n/dep-0 n/dep-1 n/job-0 n/job-1 n/par-0 n/par-1 n/par-2 n/rep-0"
    );
    assert_eq!(it.cluster.pods[&PodId::new("n", "dep-0")].labels["app"], "dep");
    let errors: Vec<_> =
        update.reports.iter().filter(|it| it.severity == Severity::Error).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].message.starts_with("Pod n/dep-0 is already declared at"));
}

#[test]
fn too_many_replicas() {
    let dir = tempfile::tempdir().unwrap();
    for (name, count) in [("a.yaml", "-1"), ("b.yaml", "1000000000")] {
        let text = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\nspec:\n  replicas: {count}\n  template: {{}}\n"
        );
        write(dir.path(), name, &text);
    }
    let mut it = manifests(dir.path());
    let update = it.rescan();
    assert_snapshot!(lines(dir.path(), &update), @"
    a.yaml:5:13: error: spec.replicas: `-1` is not in 0 to 5000
    a.yaml:1:1: notice: nothing of this file is in effect
    b.yaml:5:13: error: spec.replicas: `1000000000` is not in 0 to 5000
    b.yaml:1:1: notice: nothing of this file is in effect
    ");
}

#[test]
fn a_status_finds_its_pod() {
    let status = |name: &str, address: &str, phase: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, uid: u}}\nstatus: {{phase: {phase}, podIPs: [{{ip: {address}}}]}}\n"
        )
    };
    let (specs, states) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(states.path(), "s.yaml", &status("web-1", "10.0.0.1", "Running"));
    let mut it = Manifests::new(vec![states.path().into(), specs.path().into()]).unwrap();
    assert!(it.rescan().is_empty());

    let id = PodId::new("default", "web-1");
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 2, selector: {}, template: {metadata: {labels: {a: b}}}}\n";
    write(specs.path(), "d.yaml", deployment);
    assert_eq!(it.rescan().reports, []);
    let pod = it.cluster.pods[&id].clone();
    assert_eq!((pod.uid.as_str(), pod.finished), ("u", false));
    assert_eq!(pod.addresses, ["10.0.0.1".parse().unwrap()].into());
    assert_eq!(pod.labels["a"], "b");
    assert!(it.cluster.pods[&PodId::new("default", "web-0")].addresses.is_empty());

    write(states.path(), "s.yaml", &status("web-1", "10.0.0.2", "Failed"));
    let changes = it.rescan().changes;
    let [Change::Pod(pod)] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((pod.finished, pod.labels["a"].as_str()), (true, "b"));
    fs::remove_file(states.path().join("s.yaml")).unwrap();
    it.rescan();
    assert!(it.cluster.pods[&id].addresses.is_empty() && !it.cluster.pods[&id].finished);
}
