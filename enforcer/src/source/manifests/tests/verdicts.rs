//! Verdicts of the API server on new objects.
//!
//! Rules: strict decoding (`sigs.k8s.io/json`), `ValidateNetworkPolicy` (kubernetes/kubernetes,
//! `pkg/apis/networking/validation/validation.go`), `ValidateObjectMeta` (`apimachinery`), and the conversion
//! from YAML by `kubectl` (`sigs.k8s.io/yaml`, `go.yaml.in/yaml/v2`). The reader was compared with a server of
//! release 1.36 on other odd files.

use std::path::Path;

use super::super::file;
use super::scene::policy;
use crate::source::remark::Severity;

/// Whether the API server would accept the objects.
pub(super) fn accepts(text: &str) -> bool {
    let (_, _, parsed) = file::analyse(Path::new("a.yaml"), text.as_bytes(), true);
    parsed.reports.into_iter().all(|it| it.for_new_object().severity != Severity::Error)
}

fn expect_specs(accepted: bool, specs: &[&str]) {
    for spec in specs {
        assert_eq!(accepts(&policy("p", spec)), accepted, "{spec}");
    }
}

pub(super) fn expect_within(accepted: bool, before: &str, inner: &[&str], after: &str) {
    for inner in inner {
        let spec = format!("podSelector: {{}}\n{before}{inner}{after}");
        assert_eq!(accepts(&policy("p", &spec)), accepted, "{inner}");
    }
}

#[test]
fn specifications() {
    expect_specs(
        true,
        &[
            "podSelector: {}",
            "policyTypes: [Ingress, Egress]",
            "policyTypes: [Egress, Egress]",
            "ingress: null\negress: []",
            "ingress: [null]",
            "ingress: [{}, {from: null, ports: null}]",
            "egress: [{to: [], ports: []}]",
            "podSelector: {matchLabels: null, matchExpressions: null}",
            "podSelector: {matchLabels: {}, matchExpressions: [{key: a, operator: Exists}]}",
            "podSelector: {matchExpressions: [{key: a, operator: In, values: [null]}]}",
            "podSelector: {matchExpressions: [{key: a, operator: NotIn, values: [b, b]}]}",
        ],
    );
    expect_specs(
        false,
        &[
            "policyTypes: [Ingress, Egress, Ingress]",
            "policyTypes: [null]",
            "policyTypes: [INGRESS]",
            "policyTypes: Ingress",
            "podSelector: {matchExpressions: [null]}",
            "podSelector: {matchExpressions: [{key: a, operator: In, values: []}]}",
            "podSelector: {matchExpressions: [{key: a, operator: DoesNotExist, values: [b]}]}",
            "podSelector: {matchExpressions: [{key: a, operator: Equals, values: [b]}]}",
            "podSelector: {matchExpressions: [{key: a, operator: In, values: [1]}]}",
            "podSelector: {matchlabels: {a: b}}",
            "PodSelector: {}",
            "ingress: [{From: []}]",
            "ingress: [{from: [null]}]",
            "ingress: [{from: [{podSelector: null, namespaceSelector: null, ipBlock: null}]}]",
            "ingress: [{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}]",
            "ingress: [{from: {}}]",
            "ingress: {}",
            "egress: [[]]",
            "egress: [{from: null}]",
        ],
    );
}

#[test]
fn scalars_of_labels() {
    let (before, after) = ("ingress: [{from: [{podSelector: {matchLabels: {k: ", "}}}]}]");
    expect_within(
        true,
        before,
        &[
            "",
            "~",
            "null",
            "'5'",
            "!!str y",
            "&a x",
            "&a !!str 1",
            "v1.2",
            "a_b",
            "1.2.3",
            "0x",
            "x-1",
            "2024-01-01",
            "1e999",
        ],
        after,
    );
    expect_within(
        false,
        before,
        &[
            "y", "N", "On", "off", "5", "0b1", "0o7", "-1", "+.5", "1.", "1_0", ".nan", "-.Inf",
            "a b", "a.", "-a", "[]", "{}", "*none", "'-'",
        ],
        after,
    );
}

#[test]
fn keys_of_labels() {
    let (before, after) = ("ingress: [{from: [{podSelector: {matchLabels: {", ": v}}}]}]");
    expect_within(true, before, &["k", "yes", "1", "1.5", "a.b/c", "A_b"], after);
    expect_within(false, before, &["~", "null", "/a", "a/", "A/b", "a/b/c", "a b", "''"], after);
}

#[test]
fn ports() {
    let (before, after) = ("ingress: [{ports: [{", "}]}]");
    expect_within(
        true,
        before,
        &[
            "",
            "port: 80",
            "port: 80.0",
            "port: 8e1",
            "port: 0x50",
            "port: 080",
            "port: 1_000",
            "port: ~",
            "port: http",
            "port: a1",
            "port: 1, endPort: 1",
            "port: 1, endPort: 9.0",
            "protocol: SCTP",
            "protocol: ~",
        ],
        after,
    );
    expect_within(
        false,
        before,
        &[
            "port: 0",
            "port: 65536",
            "port: -1",
            "port: 80.5",
            "port: '80'",
            "port: true",
            "port: HTTP",
            "port: a--b",
            "port: a_b",
            "port: toolongaportname",
            "port: 80-90",
            "port: '80,81'",
            "port: []",
            "port: 9999999999",
            "port: 9, endPort: 8",
            "port: 9, endPort: 65536",
            "endPort: 8",
            "port: http, endPort: 8",
            "port: 1, endport: 2",
            "protocol: udp",
            "protocol: ICMP",
            "protocol: ''",
            "protocol: ANY",
        ],
        after,
    );
}

#[test]
fn blocks() {
    let (before, after) = ("egress: [{to: [{ipBlock: {", "}}]}]");
    expect_within(
        true,
        before,
        &[
            "cidr: 0.0.0.0/0",
            "cidr: '::/0'",
            "cidr: 10.0.0.1/32",
            "cidr: 'FD00::/8'",
            "cidr: '::1.2.3.0/120'",
            "cidr: 10.0.0.0/8, except: ~",
            "cidr: 10.0.0.0/8, except: [10.0.0.0/9, 10.128.0.0/9]",
            "cidr: 'fd00::/8', except: ['fd00::/9']",
        ],
        after,
    );
    expect_within(
        false,
        before,
        &[
            "",
            "cidr: ~",
            "cidr: ''",
            "cidr: 10.0.0.0",
            "cidr: 10.0.0.1/31",
            "cidr: 10.0.0.0/33",
            "cidr: 10.0.0/8",
            "cidr: 010.0.0.0/8",
            "cidr: 10.0.0.0/08",
            "cidr: 10.0.0.0/+8",
            "cidr: 10.0.0.0/255.0.0.0",
            "cidr: 'fd00::1/64'",
            "cidr: '::ffff:10.0.0.0/104'",
            "cidr: '::ffff:0:0/96'",
            "cidr: 'fe80::%1/64'",
            "cidr: ' 10.0.0.0/8'",
            "cidr: 10",
            "cidr: 10.0.0.0/8, except: [10.0.0.0/8]",
            "cidr: 10.0.0.0/8, except: [10.0.0.0/7]",
            "cidr: 10.0.0.0/8, except: [11.0.0.0/16]",
            "cidr: 10.0.0.0/8, except: ['fd00::/9']",
            "cidr: 10.0.0.0/8, except: [10.1.1.1/16]",
            "cidr: 10.0.0.0/8, except: [10.1.1.1]",
            "cidr: 10.0.0.0/8, except: [~]",
            "cidr: 10.0.0.0/8, except: 10.1.0.0/16",
            "cidr: 10.0.0.0/8, Except: []",
            "except: [10.1.0.0/16]",
        ],
        after,
    );
}

#[test]
fn metadata() {
    let accepts = |meta: &str| accepts(&policy("p", "podSelector: {}").replace("{name: p}", meta));
    for meta in [
        "{name: p, namespace: ~}",
        "{name: '1', namespace: n-1}",
        "{name: a.b}",
        "{name: p, creationTimestamp: null, generation: 1, resourceVersion: '1', uid: u}",
        "{name: p, labels: {a: ~}, annotations: {Example.org/a: ~}}",
        "{name: p, finalizers: [example.org/a]}",
        "{name: p, generateName: P-}",
        "{name: !x 5, labels: {a: !<tag:yaml.org,2002:str> 5}}",
    ] {
        assert!(accepts(meta), "{meta}");
    }
    for meta in [
        "~",
        "{}",
        "{name: ~}",
        "{name: 1}",
        "{name: y}",
        "{name: P}",
        "{name: a_b}",
        "{name: .a}",
        "{name: p, namespace: a.b}",
        "{name: p, namespace: N}",
        "{name: p, labels: {a: 1}}",
        "{name: p, labels: {a b: c}}",
        "{name: p, annotations: {a: true}}",
        "{name: p, annotations: {a/b/c: d}}",
        "{name: p, generation: -1}",
        "{name: p, ownerReferences: [{}]}",
        "{name: p, ownerReferences: [{apiVersion: v1, kind: Pod, name: x, uid: ~}]}",
        "{name: p, finalizers: [a]}",
        "{name: p, finalizers: [~]}",
        "{name: p, lables: {}}",
        "{name: p, creationTimestamp: yesterday}",
        "{name: p, generateName: PQ-}",
        "{name: p, generateName: a.}",
        "{name: p, ownerReferences: [{apiVersion: a/b/c, kind: Pod, name: x, uid: u}]}",
        "{name: p, generation: !a }",
        "{name: p, labels: !a }",
    ] {
        assert!(!accepts(meta), "{meta}");
    }
}

#[test]
fn tags_and_blocks_make_strings() {
    let at = |value: &str| format!("podSelector: {{}}\ningress: [{{ports: [{{port: {value}}}]}}]");
    let good = ["!!float 80", "!!int 80", "!!int '80'", "!x http", "!!str http"];
    expect_specs(true, &good.map(at).each_ref().map(String::as_str));
    let bad = ["!x 80", "!x", "!!str 80", "!<tag:yaml.org,2002:str> 80"];
    expect_specs(false, &bad.map(at).each_ref().map(String::as_str));
    let blocks = |field: &str| {
        policy("p", "podSelector: {}").replace("{name: p}", &format!("\n  name: p\n  {field}: |"))
    };
    assert!(accepts(&blocks("uid")));
    for field in ["labels", "annotations", "finalizers", "generation", "creationTimestamp"] {
        assert!(!accepts(&blocks(field)), "{field}");
    }
    expect_specs(false, &["podSelector: {matchLabels: {9223372036854775808: a}}"]);
}

#[test]
fn documents() {
    let good = policy("p", "podSelector: {}");
    let json = r#"{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p"}, "spec": {}}"#.to_owned();
    for text in [
        format!("---\n---\n{good}...\n"),
        format!("{good}kind: NetworkPolicy\n"),
        json.clone(),
        format!("{json}{json}"),
        format!(" {json}\n\t{json}\n"),
        format!("{json}\n---\n{good}"),
        format!("{good}# c:\\x \u{e9}\n"),
        good.replace("{}", "{\t}"),
        good.replace("podSelector: {}", "podSelector: &a {}\n  ingress: [{from: [{podSelector: *a}]}]"),
        good.replace("spec:", "spec: null\nx-y: &a {}").replace("x-y: &a {}\n  podSelector: {}\n", ""),
        "apiVersion: v1\nkind: List\nitems: []\n".to_owned(),
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicyList\nitems:\n- metadata: {name: p}\n".to_owned(),
        format!("apiVersion: v1\nkind: NetworkPolicyList\nitems:\n- {}", good.trim_end().replace('\n', "\n  ")),
    ] {
        assert!(accepts(&text), "{text}");
    }
    for text in [
        "hello\n".to_owned(),
        "- a\n".to_owned(),
        "{}\n".to_owned(),
        "apiVersion: v1\nkind: List\nitems: null\n".to_owned(),
        "apiVersion: v1\nkind: List\n".to_owned(),
        "apiVersion: v1\nkind: List\nitems: [null]\n".to_owned(),
        format!("{good}foo: 1\n"),
        format!("{good}foo: null\n"),
        format!("{good}status: {{}}\n"),
        format!("{good}status: null\n"),
        format!("{good}status: {{conditions: []}}\n"),
        good.replace("networking.k8s.io/v1", "a/b"),
        format!("{json} x"),
        format!("{json}{}", json.replace("spec", "spek")),
        format!("{good}Kind: NetworkPolicy\n"),
        format!("%YAML 1.1\n---\n{good}"),
        format!("%YAML 1.2\n---\n{good}"),
        format!("%TAG ! tag:x,2000:\n---\n{good}"),
        "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: List, items: []}]\n".to_owned(),
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicyList\nitems: [{kind: NetworkPolicy, metadata: {name: p}}]\n".to_owned(),
        good.replace("  pod", "\tpod"),
        good.replace("kind: NetworkPolicy", "kind: networkpolicy"),
        good.replace("kind: NetworkPolicy", "kind: NetPol"),
        good.replace("networking.k8s.io/v1", "v1"),
        good.replace("networking.k8s.io/v1", "networking.k8s.io/v1beta1"),
        good.replace("networking.k8s.io/v1", "networking.k8s.io"),
        good.replace("apiVersion: networking.k8s.io/v1\n", ""),
        good.replace("{name: p}", "{name: p}\n<<: ~"),
        good.replace("podSelector: {}", "podSelector: *x"),
    ] {
        assert!(!accepts(&text), "{text}");
    }
}
