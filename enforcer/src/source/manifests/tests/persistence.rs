//! Which version of what is in force, and what changes.

use std::net::IpAddr;

use super::scene::{Scene, exists, pod, policy};
use super::*;
use enforcer_core::model::PodId;

const MENDED: &str = ":1:1: notice: fixed";

fn addresses(scene: &Scene, name: &str) -> Vec<IpAddr> {
    scene.cluster.pods[&PodId::new("default", name)].addresses.iter().copied().collect()
}

#[test]
fn the_last_good_version_of_a_file_stays() {
    let mut scene = Scene::new();
    scene.write("other.yaml", policy("o", "podSelector: {}"));
    let two = |q: &str| [policy("p", "podSelector: {}"), policy("q", q)].join("---\n");
    scene.save("a.yaml", two("podSelector: {}"));
    let before = scene.cluster.clone();
    for broken in [
        two("podSelecter: {}"),
        two("ingress: [{from: [{}]}]"),
        "apiVersion: v1\nkind: [".to_owned(),
        // The other document was changed as well: the file is one thing.
        [policy("p", "egress: [{}]"), policy("q", "bad: x")].join("---\n"),
    ] {
        let said = scene.save("a.yaml", broken);
        assert!(said.contains("its last good version stays in effect"), "{said}");
        assert_eq!(scene.cluster, before);
    }
    // The program goes on with the rest meanwhile.
    scene.save("other.yaml", policy("o2", "podSelector: {}"));
    assert_eq!(scene.policies(), ["o2", "p", "q"]);
    assert_eq!(scene.save("a.yaml", two("egress: [{}]")), format!("a.yaml{MENDED}\n"));
    assert!(scene.policy("q").unwrap().egress.is_some());
}

#[test]
fn an_error_goes_with_its_file() {
    let mut scene = Scene::new();
    scene.save("a.yaml", policy("p", "bad: x"));
    scene.remove("a.yaml");
    let update = scene.rescan();
    let gone = "a.yaml:1:1: notice: gone, with its errors\n";
    assert_eq!(scene.lines(&update.reports), gone);
}

#[test]
fn of_two_declarations_the_first_by_path_counts() {
    let mut scene = Scene::new();
    scene.save("b.yaml", policy("p", "egress: [{}]"));
    assert!(scene.policy("p").unwrap().egress.is_some());
    let said = scene.save("a.yaml", policy("p", "podSelector: {}"));
    assert!(said.starts_with("b.yaml:4:9: error: "), "{said}");
    assert!(said.contains("at a.yaml:4;"), "{said}");
    assert!(scene.policy("p").unwrap().egress.is_none());
    scene.remove("a.yaml");
    let update = scene.rescan();
    assert_eq!(scene.lines(&update.reports), format!("b.yaml{MENDED}\n"));
    assert!(scene.policy("p").unwrap().egress.is_some());
}

#[test]
fn a_status_says_more_than_the_pods_own() {
    let mut scene = Scene::new();
    let own = format!("{}status: {{podIP: 10.0.0.9, phase: Pending}}\n", pod("a", "web"));
    scene.save("a.yaml", own);
    assert_eq!(addresses(&scene, "a"), ["10.0.0.9".parse::<IpAddr>().unwrap()]);
    let uid =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, uid: u-1}\nstatus: {phase: Running}\n";
    scene.save("b.yaml", uid);
    assert_eq!(addresses(&scene, "a"), ["10.0.0.9".parse::<IpAddr>().unwrap()]);
    assert_eq!(scene.cluster.pods[&PodId::new("default", "a")].uid, "u-1");
}

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
        ("StatefulSet", "apps/v1", selector.to_owned(), 1),
        ("DaemonSet", "apps/v1", selector.to_owned(), 1),
        ("Job", "batch/v1", "  parallelism: 2\n".to_owned(), 2),
    ] {
        let mut scene = Scene::new();
        assert_eq!(scene.save("w.yaml", workload(kind, version, &more)), "", "{kind}");
        let names: Vec<String> = scene.cluster.pods.keys().map(ToString::to_string).collect();
        let expected: Vec<String> = (0..count).map(|index| format!("shop/web-{index}")).collect();
        assert_eq!(names, expected, "{kind}");
        for pod in scene.cluster.pods.values() {
            assert_eq!(pod.labels["app"], "web");
            assert_eq!(pod.ports.first().unwrap().port, 8080);
        }
    }
}

#[test]
fn lists_are_their_items() {
    let mut scene = Scene::new();
    let text = "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a}\n  spec: {containers: []}\n\
                - apiVersion: v1\n  kind: Pod\n  metadata: {name: b}\n  spec: {containers: []}\n";
    assert_eq!(scene.save("l.yaml", text), "");
    assert_eq!(scene.cluster.pods.len(), 2);
    assert_eq!(scene.save("e.yaml", "apiVersion: v1\nkind: PodList\nitems: []\n"), "");
}

#[test]
fn directories_within_directories_count_and_hidden_ones_do_not() {
    let mut scene = Scene::new();
    scene.write("deep/er/a.yml", policy("a", "podSelector: {}"));
    scene.write(
        "b.json",
        "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"b\"}}",
    );
    scene.write(".git/c.yaml", policy("c", "podSelector: {}"));
    scene.write(".d.yaml", policy("d", "podSelector: {}"));
    scene.write("e.yaml~", policy("e", "podSelector: {}"));
    scene.write("f.txt", policy("f", "podSelector: {}"));
    assert!(scene.rescan().reports.is_empty());
    assert_eq!(scene.policies(), ["a"]);
    assert!(scene.cluster.namespaces.contains_key("b"));
}

#[test]
fn links_are_followed_but_not_in_circles_and_no_file_twice() {
    let mut scene = Scene::new();
    scene.write("real/a.yaml", policy("a", "podSelector: {}"));
    std::os::unix::fs::symlink(scene.path("."), scene.path("real/up")).unwrap();
    std::os::unix::fs::symlink(scene.path("real/a.yaml"), scene.path("z.yaml")).unwrap();
    std::os::unix::fs::symlink("nowhere", scene.path("dangling.yaml")).unwrap();
    assert_eq!(scene.rescan().reports, []);
    assert_eq!(scene.policies(), ["a"]);
}

#[test]
fn c4_a_directory_that_vanishes_takes_nothing_with_it() {
    let outer = tempfile::tempdir().unwrap();
    let inner = outer.path().join("manifests");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("a.yaml"), policy("a", "podSelector: {}")).unwrap();
    let mut manifests = Manifests::new(vec![inner.clone()]).unwrap();
    assert_eq!(manifests.rescan().changes.len(), 2);
    fs::rename(&inner, outer.path().join("away")).unwrap();
    let update = manifests.rescan();
    assert_eq!(update.changes, []);
    let said = update.reports[0].to_string();
    assert!(said.contains("can't be read") && said.contains("stays in effect"), "{said}");
    assert!(manifests.rescan().is_empty());
    fs::rename(outer.path().join("away"), &inner).unwrap();
    let update = manifests.rescan();
    assert_eq!(update.changes, []);
    assert!(update.reports[0].to_string().contains(MENDED));
    assert!(!exists(&outer.path().join("away")));
}

#[test]
fn a_file_that_is_too_large_is_refused_and_its_last_version_stays() {
    let mut scene = Scene::new();
    scene.save("a.yaml", policy("a", "podSelector: {}"));
    let said = scene.save("a.yaml", vec![b'#'; (16 << 20) + 1]);
    assert!(said.contains("larger than 16 MiB"), "{said}");
    assert_eq!(scene.policies(), ["a"]);
}

/// Whoever keeps remarks by file replaces all of a file's by what it is told last.
#[test]
fn a_new_remark_on_a_file_brings_all_of_them() {
    let mut scene = Scene::new();
    scene.save("b.yaml", [policy("p", "podSelector: {}"), policy("q", "bad: x")].join("---\n"));
    let update = {
        scene.write("a.yaml", policy("p", "podSelector: {}"));
        scene.rescan()
    };
    let said = scene.lines(&update.reports);
    assert!(said.contains("already declared") && said.contains("spec.bad"), "{said}");
}

#[test]
fn a_report_is_one_line() {
    let mut scene = Scene::new();
    let text = policy("p", "podSelector: {matchLabels: {\"a\\nERROR b\": \"c\\n\\e[31m\"}}");
    let said = scene.save("f.yaml", text);
    assert!(said.lines().all(|line| line.starts_with("f.yaml:")), "{said}");
    assert!(said.contains("`a\\nERROR b`") && said.contains("\\u{1b}"), "{said}");
}

#[test]
fn labels_that_no_object_can_have_are_errors() {
    let mut scene = Scene::new();
    let said = scene.save("f.yaml", policy("p", "podSelector: {matchLabels: {app.x/y: my app}}"));
    assert!(
        said.starts_with("f.yaml:6:40: error: spec.podSelector.matchLabels.app.x/y: "),
        "{said}"
    );
    let said = scene.save("f.yaml", pod("a", "-web"));
    assert!(said.starts_with("f.yaml:5:17: error: metadata.labels.app: "), "{said}");
}
