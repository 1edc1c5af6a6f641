//! Which version of a file is in effect.

use std::net::IpAddr;

use insta::assert_snapshot;

use super::scene::{Scene, pod, policy};
use super::*;
use enforcer_core::model::PodId;

const FIXED: &str = ":1:1: notice: fixed";

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
        // The other document was changed as well: all of the last good version stays.
        [policy("p", "egress: [{}]"), policy("q", "bad: x")].join("---\n"),
    ] {
        let reports = scene.save("a.yaml", broken);
        assert!(reports.ends_with("notice: its last good version stays in effect\n"), "{reports}");
        assert_eq!(scene.cluster, before);
        assert!(scene.rescan().is_empty());
    }
    // Other files are still read.
    scene.save("other.yaml", policy("o2", "podSelector: {}"));
    assert_eq!(scene.policies(), ["o2", "p", "q"]);
    assert_eq!(scene.save("a.yaml", two("egress: [{}]")), format!("a.yaml{FIXED}\n"));
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
    let reports = scene.save("a.yaml", policy("p", "podSelector: {}"));
    assert_snapshot!(reports, @"b.yaml:3:18: error: metadata.name: NetworkPolicy default/p is already declared at a.yaml:3; that one counts (keep one of the two)");
    assert!(scene.policy("p").unwrap().egress.is_none());
    assert!(scene.rescan().is_empty());
    scene.remove("a.yaml");
    let update = scene.rescan();
    assert_eq!(scene.lines(&update.reports), format!("b.yaml{FIXED}\n"));
    assert!(scene.policy("p").unwrap().egress.is_some());
}

#[test]
fn a_status_document_has_priority_over_the_pods_own() {
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
    let reports = update.reports[0].to_string();
    assert!(reports.contains("can't be read") && reports.contains("stays in effect"), "{reports}");
    assert!(manifests.rescan().is_empty());
    fs::rename(outer.path().join("away"), &inner).unwrap();
    let update = manifests.rescan();
    assert_eq!(update.changes, []);
    assert!(update.reports[0].to_string().contains(FIXED));
    assert!(!outer.path().join("away").exists());
}

#[test]
fn a_file_that_is_too_large_keeps_its_last_version() {
    let mut scene = Scene::new();
    scene.save("a.yaml", policy("a", "podSelector: {}"));
    let reports = scene.save("a.yaml", vec![b'#'; (16 << 20) + 1]);
    assert!(reports.contains("larger than 16 MiB"), "{reports}");
    assert_eq!(scene.policies(), ["a"]);
}

/// The remarks on a file replace its earlier ones, so they have to be all of them.
#[test]
fn a_new_remark_on_a_file_brings_all_of_them() {
    let mut scene = Scene::new();
    scene.save("b.yaml", [policy("p", "podSelector: {}"), policy("q", "bad: x")].join("---\n"));
    let update = {
        scene.write("a.yaml", policy("p", "podSelector: {}"));
        scene.rescan()
    };
    let reports = scene.lines(&update.reports);
    assert!(reports.contains("already declared") && reports.contains("spec.bad"), "{reports}");
}

#[test]
fn a_report_is_one_line() {
    let mut scene = Scene::new();
    let text = policy("p", "podSelector: {matchLabels: {\"a\\nERROR b\": \"c\\n\\e[31m\"}}");
    let reports = scene.save("f.yaml", text);
    assert!(reports.lines().all(|line| line.starts_with("f.yaml:")), "{reports}");
    assert!(reports.contains("`a\\nERROR b`") && reports.contains("\\u{1b}"), "{reports}");
}

#[test]
fn labels_that_no_object_can_have_are_errors() {
    let mut scene = Scene::new();
    let reports =
        scene.save("f.yaml", policy("p", "podSelector: {matchLabels: {app.x/y: my app}}"));
    assert!(
        reports.starts_with("f.yaml:5:40: error: spec.podSelector.matchLabels.app.x/y: "),
        "{reports}"
    );
    let reports = scene.save("f.yaml", pod("a", "-web"));
    assert!(reports.starts_with("f.yaml:5:17: error: metadata.labels.app: "), "{reports}");
}
