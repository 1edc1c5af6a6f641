//! Each lint, tried: its finding has a corrected snippet, and a comment silences it unless it is an error.

use super::*;

/// A lint, the specification of a policy in the namespace `shop`, and what is beside it.
type Case = (&'static str, &'static str, &'static [&'static str]);

const WEB: &str = "kind: Pod
apiVersion: v1
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
status: {podIP: 10.244.0.7}
";
const DNS: &str = "kind: Pod
apiVersion: v1
metadata: {name: dns, namespace: shop, labels: {app: dns}}
spec: {containers: [{name: c, ports: [{containerPort: 53, protocol: UDP}]}]}
";
const SERVICE: &str = "kind: Service
apiVersion: v1
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, clusterIP: 10.0.5.5, ports: [{port: 80, targetPort: 8080}]}
";
const BALANCED: &str = "kind: Service
apiVersion: v1
metadata: {name: web, namespace: shop}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
";
const DUAL: &str = "kind: Service
apiVersion: v1
metadata: {name: web, namespace: shop}
spec: {ipFamilyPolicy: RequireDualStack, ports: [{port: 80}]}
";
const WEBHOOK: &str = "kind: ValidatingWebhookConfiguration
apiVersion: admissionregistration.k8s.io/v1
metadata: {name: w}
webhooks: [{name: a.b.c, clientConfig: {service: {namespace: shop, name: web, port: 80}}}]
";

const CASES: [Case; 30] = [
    ("misplaced-peers", "podSelector: {}\ningress:\n- to:\n  - podSelector: {}", &[]),
    (
        "ports-in-peer",
        "podSelector: {}\ningress:\n- from:\n  - podSelector: {}\n    ports: [{port: 80}]",
        &[],
    ),
    ("bare-labels", "podSelector:\n  app: web", &[]),
    (
        "bare-labels",
        "podSelector: {}\ningress:\n- from:\n  - namespaceSelector:\n      name: x",
        &[],
    ),
    ("action", "podSelector: {}\ningress:\n- action: Deny\n  from:\n  - podSelector: {}", &[]),
    ("action", "podSelector: {}\naction: Allow", &[]),
    ("host-name", "podSelector: {}\negress:\n- to:\n  - fqdn: example.org", &[]),
    ("port-range", "podSelector: {}\ningress:\n- ports:\n  - port: 8000-9000", &[]),
    ("port-range", "podSelector: {}\ningress:\n- ports:\n  - port: '80,443'", &[]),
    ("protocol", "podSelector: {}\ningress:\n- ports:\n  - protocol: ICMP", &[]),
    (
        "split-peer",
        "podSelector: {}\ningress:\n- from:\n  - namespaceSelector: {matchLabels: {a: b}}\n  - podSelector: {matchLabels: {a: b}}",
        &[],
    ),
    (
        "split-rule",
        "podSelector: {}\ningress:\n- from:\n  - podSelector: {matchLabels: {a: b}}\n- ports:\n  - port: 80",
        &[],
    ),
    ("empty-means-all", "podSelector: {}\ningress:\n- from:\n  ports:\n  - port: 80", &[]),
    ("empty-means-all", "podSelector: {}\negress:\n- to: []", &[]),
    ("empty-means-all", "podSelector: {}\ningress:\n-", &[]),
    ("missing-pod-selector", "ingress: []", &[]),
    ("missing-pod-selector", "podSelector:\ningress: []", &[]),
    (
        "namespace-name",
        "podSelector: {}\ningress:\n- from:\n  - namespaceSelector:\n      matchLabels:\n        name: x",
        &[],
    ),
    ("duplicate", "podSelector: {}\ningress:\n- ports:\n  - port: 80\n  - port: 80", &[]),
    (
        "one-family",
        "podSelector: {}\ningress:\n- from:\n  - ipBlock:\n      cidr: 0.0.0.0/0",
        &[DUAL],
    ),
    ("matches-nothing", "podSelector: {matchLabels: {app: wbe}}\ningress: []", &[WEB]),
    (
        "matches-nothing",
        "podSelector: {}\ningress:\n- from:\n  - podSelector: {matchLabels: {app: wbe}}",
        &[WEB],
    ),
    ("port-name", "podSelector: {}\ningress:\n- ports:\n  - port: htp", &[WEB]),
    ("service-port", "podSelector: {}\ningress:\n- ports:\n  - port: 80", &[WEB, SERVICE]),
    ("port-protocol", "podSelector: {}\ningress:\n- ports:\n  - port: 53", &[DNS]),
    (
        "service-address",
        "podSelector: {}\negress:\n- to:\n  - ipBlock:\n      cidr: 10.0.5.5/32",
        &[SERVICE],
    ),
    (
        "service-address",
        "podSelector: {}\ningress:\n- from:\n  - ipBlock:\n      cidr: 10.244.0.7/32",
        &[WEB],
    ),
    (
        "egress-without-dns",
        "podSelector: {}\npolicyTypes: [Egress]\negress:\n- to:\n  - podSelector: {matchLabels: {app: web}}",
        &[WEB],
    ),
    (
        "load-balancer-probes",
        "podSelector: {}\ningress:\n- from:\n  - ipBlock: {cidr: 203.0.113.0/24}",
        &[WEB, BALANCED],
    ),
    (
        "webhook",
        "podSelector: {matchLabels: {app: web}}\ningress:\n- from:\n  - podSelector: {matchLabels: {app: dns}}",
        &[WEB, DNS, SERVICE, WEBHOOK],
    ),
];

fn written(spec: &str, beside: &[&str]) -> String {
    let spec: String = spec.lines().map(|it| format!("  {it}\n")).collect();
    let policy = POLICY.replace("name: p", "name: p, namespace: shop");
    let policy = policy.replace("  podSelector: {}\n", &spec);
    std::iter::once(policy.as_str()).chain(beside.iter().copied()).collect::<Vec<_>>().join("---\n")
}

/// The findings of a lint on a text.
fn findings(text: &str, lint: &str) -> Vec<Report> {
    let folder = Folder::new(&[("a.yaml", text)]);
    let found = check(&[folder.path("a.yaml")]).unwrap().reports;
    found.into_iter().filter(|it| it.lint == Some(lint)).collect()
}

#[test]
fn every_lint_was_tried() {
    let tried: BTreeSet<&str> = CASES.iter().map(|(lint, ..)| *lint).collect();
    let rest: Vec<&str> = lint::NAMES.into_iter().filter(|it| !tried.contains(it)).collect();
    // About metadata, below.
    assert_eq!(rest, ["resource-version"]);
}

#[test]
fn every_finding_has_a_snippet_and_honours_its_comment() {
    let metadata = POLICY.replace("name: p", "name: p, resourceVersion: '5'");
    let texts = CASES.iter().map(|(lint, spec, beside)| (*lint, written(spec, beside)));
    for (lint, text) in texts.chain([("resource-version", metadata)]) {
        let found = findings(&text, lint);
        let [report] = found.as_slice() else { panic!("{lint}: {found:?}\n{text}") };
        let snippet = report.snippet.as_deref().unwrap_or_default();
        assert!(!snippet.is_empty() && snippet != "null", "{lint}: {report}");
        let lines: Vec<&str> = text.lines().collect();
        let (before, after) = lines.split_at(report.line - 1);
        let comment = format!("# enforcer:ignore {lint} -- meant");
        let silenced = [before, &[comment.as_str()], after].concat().join("\n") + "\n";
        let is_error = report.severity == Severity::Error;
        assert_eq!(findings(&silenced, lint).len(), usize::from(is_error), "{lint}: {report}");
        let everywhere = format!("# enforcer:ignore-file {lint}\n{text}");
        assert_eq!(findings(&everywhere, lint).len(), usize::from(is_error), "{lint}");
    }
}
