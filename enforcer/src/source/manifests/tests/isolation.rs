//! Policies that never were without errors isolate what they select (semantics R9).

use super::scene::{Scene, policy};
use enforcer_core::model::{Policy, Selector};

const WEB: &str = "podSelector: {matchLabels: {app: web}}";

/// Whether a policy isolates `app: web` for ingress and allows nothing.
fn is_closed(policy: Option<&Policy>) -> bool {
    let Some(policy) = policy else { return false };
    policy.ingress == Some(Vec::new()) && policy.subjects.requirements.len() == 1
}

#[test]
fn r9_a_policy_that_never_was_valid_isolates_what_it_selects() {
    for bad in [
        format!("{WEB}\ningress: [{{from: [{{}}]}}]"),
        format!("{WEB}\ningress: [{{from: 1}}]"),
        format!("{WEB}\ningress: [{{ports: [{{port: 0}}]}}]"),
        format!("{WEB}\ningress: [{{form: []}}]"),
        format!("{WEB}\ningress: [{{from: [{{ipBlock: {{cidr: 10.0.0.1/8}}}}]}}]"),
    ] {
        let mut scene = Scene::new();
        let reports = scene.save("a.yaml", policy("p", &bad));
        assert!(reports.contains("1 policy with errors isolates"), "{reports}");
        assert!(is_closed(scene.policy("p")), "{bad}: {:?}", scene.policy("p"));
    }
}

#[test]
fn r9_a_policy_under_a_wrong_kind_isolates_too() {
    for (from, to) in [
        ("NetworkPolicy", "Networkpolicy"),
        ("networking.k8s.io/v1", "v1"),
        ("networking.k8s.io/v1", "networking.k8s.io/v1beta1"),
    ] {
        let mut scene = Scene::new();
        scene.save("a.yaml", policy("p", WEB).replace(from, to));
        assert!(is_closed(scene.policy("p")), "{to}");
    }
}

#[test]
fn r9_a_policy_that_kubectl_refuses_for_its_yaml_isolates_too() {
    for (from, to) in [
        ("spec:", "\t\nspec:"),
        ("{name: p}", "{name: p, labels: {a: !!int x}}"),
        ("{name: p}", "{name: p, labels: {a: .inf}}"),
        ("{name: p}", "{name: p, labels: {<<: a}}"),
    ] {
        let mut scene = Scene::new();
        scene.save("a.yaml", policy("p", WEB).replace(from, to));
        assert!(is_closed(scene.policy("p")), "{to}");
    }
    let mut scene = Scene::new();
    let text = [policy("p", WEB), policy("ignored", "podSelector: {}")].join("...\n");
    let reports = scene.save("a.yaml", text);
    assert!(reports.contains("kubectl ignores what follows"), "{reports}");
    assert_eq!(scene.policies(), ["ignored", "p"]);
}

#[test]
fn r9_a_policy_without_a_name_isolates_too() {
    let mut scene = Scene::new();
    scene.save("a.yaml", policy("~", WEB));
    assert_eq!(scene.policies(), ["(a.yaml:3)"]);
}

#[test]
fn r9_a_policy_that_is_new_in_a_file_with_errors_isolates() {
    let mut scene = Scene::new();
    scene.save("a.yaml", policy("old", "podSelector: {}"));
    let documents = |bad: &str| {
        [policy("old", "egress: [{}]"), policy("new", bad), policy("good", WEB)].join("---\n")
    };
    scene.save("a.yaml", documents(&format!("{WEB}\nbad: x")));
    assert_eq!(scene.policies(), ["good", "new", "old"]);
    // An unknown field may be a misspelt direction.
    assert!(scene.policy("new").unwrap().egress == Some(Vec::new()));
    assert!(scene.policy("old").unwrap().egress.is_none(), "its last good version");
    scene.save("a.yaml", documents(WEB));
    assert_eq!(scene.policy("new").unwrap().egress, None);
    assert!(scene.policy("old").unwrap().egress.is_some());
}

#[test]
fn r9_the_last_good_version_counts_in_a_file_that_never_was_good() {
    let mut scene = Scene::new();
    let documents = |p: &str| [policy("p", p), policy("q", "bad: x")].join("---\n");
    scene.save("a.yaml", documents(&format!("{WEB}\ningress: [{{}}]")));
    assert_eq!(scene.policy("p").unwrap().ingress.as_ref().unwrap().len(), 1);
    scene.save("a.yaml", documents(&format!("{WEB}\ningress: [{{from: [{{}}]}}]")));
    assert_eq!(scene.policy("p").unwrap().ingress.as_ref().unwrap().len(), 1);
    assert_eq!(scene.policy("q").unwrap().subjects, Selector::default());
}

#[test]
fn a_status_discards_nothing() {
    let mut scene = Scene::new();
    let text = format!("{}status: {{}}\n", policy("p", "podSelector: {}\ningress: [{}]"));
    let reports = scene.save("a.yaml", text);
    assert_eq!(reports.lines().count(), 1, "{reports}");
    assert!(
        reports.contains("warning: status: ") && !reports.contains("did you mean"),
        "{reports}"
    );
    assert_eq!(scene.policy("p").unwrap().ingress.as_ref().unwrap().len(), 1);
}
