use indoc::indoc;
use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;

/// The reports on one file, without the notice about what is in effect.
fn reports(text: &str) -> String {
    let (_, parsed) = file::parse(Path::new("a.yaml"), text.as_bytes());
    parsed.reports.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn policy(spec: &str) -> String {
    scene::policy("p", spec)
}

#[test]
fn unknown_fields() {
    let text = policy(indoc! {"
        podSelecter: {}
        ingress:
        - form:
          - podSelector: {}
          ports:
          - prot: 80
          zzz: 1
    "});
    assert_snapshot!(reports(&text), @"
    a.yaml:5:3: error: spec.podSelecter: unknown field (did you mean `podSelector`?)
    a.yaml:7:5: error: spec.ingress[0].form: unknown field (did you mean `from`?)
    a.yaml:10:7: error: spec.ingress[0].ports[0].prot: unknown field (did you mean `port`?)
    a.yaml:11:5: error: spec.ingress[0].zzz: unknown field
    ");
    let pod = indoc! {"
        apiVersion: v1
        kind: Pod
        metadata:
          name: a
          lables: {a: b}
        spec:
          containers:
          - name: x
            ports: [{containerport: 80}]
    "};
    assert_snapshot!(reports(pod), @"
    a.yaml:5:3: warning: metadata.lables: unknown field (did you mean `labels`?)
    a.yaml:9:13: error: spec.containers[0].ports[0].containerPort: 0 is not a port number; expected 1 to 65535
    a.yaml:9:14: warning: spec.containers[0].ports[0].containerport: unknown field (did you mean `containerPort`?)
    ");
}

#[test]
fn wrong_values() {
    assert_snapshot!(reports(&policy("podSelector:\n  matchLabels:\n    tier: 1\n")), @r#"a.yaml:7:13: error: spec.podSelector.matchLabels.tier: expected a string, found the number `1` (write it as "1")"#);
    assert_snapshot!(reports(&policy("podSelector:\n  matchLabels:\n    example.org/on: yes\n")), @r#"a.yaml:7:23: error: spec.podSelector.matchLabels.example.org/on: expected a string, found the boolean `true` (write it as "yes")"#);
    assert_snapshot!(reports(&policy("podSelector: {}\ningress:\n- ports:\n  - port: 1\n    endPort: '2'\n")), @"a.yaml:9:16: error: spec.ingress[0].ports[0].endPort: expected a whole number, found the string `2` (write it without quotes: 2)");
    assert_snapshot!(reports(&policy("podSelector: {}\ningress:\n  from: []\n")), @"a.yaml:6:3: error: spec.ingress: expected a list, found a mapping (start each entry with `- `)");
    assert_snapshot!(reports(&policy("- podSelector: {}\n")), @"a.yaml:4:1: error: spec: expected a mapping, found a list (remove the `- `)");
    assert_snapshot!(reports(&policy("podSelector: {}\ningress:\n- ports:\n  - port: 1.5\n")), @"a.yaml:8:13: error: spec.ingress[0].ports[0].port: expected a whole number or a string, found the number `1.5`");
    assert_snapshot!(reports(&policy("podSelector: {}\negress:\n- to:\n  - ipBlock: {except: [::/64]}\n")), @"a.yaml:8:7: error: spec.egress[0].to[0].ipBlock.cidr: missing: a block of addresses is needed (an address and a prefix length, such as 10.0.0.0/8 or fd00::/8)");
}

#[test]
fn problems_of_the_conversion_have_places() {
    let text = policy(indoc! {"
        podSelector: {}
        policyTypes: [Ingress, egress]
        ingress:
        - from:
          - {}
          - ipBlock:
              cidr: 10.0.0.300/8
          ports:
          - protocol: tcp
            port: 99999
    "});
    assert_snapshot!(reports(&text), @"
    a.yaml:6:26: error: spec.policyTypes[1]: unknown policy type `egress`; expected one of Ingress, Egress (did you mean `Egress`?)
    a.yaml:9:7: error: spec.ingress[0].from[0]: a peer needs a podSelector, a namespaceSelector or an ipBlock (to match every pod, write `namespaceSelector: {}`)
    a.yaml:11:15: error: spec.ingress[0].from[1].ipBlock.cidr: `10.0.0.300/8` is not an address block (an address and a prefix length, such as 10.0.0.0/8 or fd00::/8)
    a.yaml:13:17: error: spec.ingress[0].ports[0].protocol: unknown protocol `tcp`; expected one of TCP, UDP, SCTP (did you mean `TCP`?)
    a.yaml:14:13: error: spec.ingress[0].ports[0].port: 99999 is not a port number; expected 1 to 65535
    ");
}

#[test]
fn documents_that_are_none() {
    assert_snapshot!(reports("- a\n"), @"a.yaml:1:1: error: expected a Kubernetes object: a mapping with apiVersion and kind");
    assert_snapshot!(reports("metadata: {name: a}\n"), @"a.yaml:1:1: error: kind: missing: every object needs an apiVersion and a kind, as words");
    assert_snapshot!(reports("kind: NetworkPolicy\n"), @"a.yaml:1:1: error: apiVersion: missing: every object needs an apiVersion and a kind, as words (add `apiVersion: networking.k8s.io/v1`)");
    assert_snapshot!(reports("kind: NetworkPolicy\napiVersion: extensions/v1beta1\nmetadata: {name: a}\nspec: {}\n"), @"a.yaml:2:13: error: apiVersion: `extensions/v1beta1` is not a supported version of NetworkPolicy (use networking.k8s.io/v1)");
    assert_snapshot!(reports("kind: NetworkPolicy\napiVersion: crd.projectcalico.org/v1\n---\nkind: Secret\napiVersion: v1\n"), @"
    a.yaml:1:7: warning: kind: NetworkPolicy (crd.projectcalico.org/v1) is NOT enforced: only NetworkPolicy is (write it as networking.k8s.io/v1, kind NetworkPolicy)
    a.yaml:4:7: notice: kind: not needed for network policy, ignored: Secret (v1)
    ");
    assert_snapshot!(reports("kind: networkpolicy\napiVersion: networking.k8s.io/v1\nmetadata: {name: a}\nspec: {}\n"), @"a.yaml:1:7: error: kind: networking.k8s.io/v1 has no kind `networkpolicy` (did you mean `NetworkPolicy`?)");
    assert_snapshot!(reports("{}\n"), @"a.yaml:1:1: error: kind: missing: every object needs an apiVersion and a kind, as words");
    assert_snapshot!(reports("kind: Pod\napiVersion: v1\nspec: {containers: []}\n"), @"a.yaml:1:1: error: metadata.name: missing: an object needs a name");
    for empty in ["", "\n", "# nothing\n", "---\n---\n", "---\n# a\n---\n~\n...\n", "\u{feff}"] {
        assert_eq!(reports(empty), "", "{empty:?}");
    }
}

#[test]
fn broken_yaml() {
    assert_snapshot!(reports("kind: Pod\nkind: Pod\napiVersion: v1\nmetadata: {name: a}\n"), @"a.yaml:2:1: warning: the key `kind` is already on line 1; the last one counts (keep one of the two)");
    assert_snapshot!(reports("a:\n\tb: 1\n"), @"a.yaml:2:1: error: not valid YAML: a tab in the indentation (YAML indents with spaces, never with tabs)");
    assert_snapshot!(reports("a: [1, 2\n"), @"a.yaml:1:4: error: not valid YAML: unclosed bracket '['");
    assert_snapshot!(reports("a: b: c\n"), @"a.yaml:1:5: error: not valid YAML: mapping values are not allowed in this context (put quotes around a value with `: ` in it, or indent this line as those beside it)");
    assert_snapshot!(reports("a: *b\n"), @"a.yaml:1:4: error: not valid YAML: alias references unknown anchor (put quotes around it if it is text)");
    assert_snapshot!(reports("a: &a [*a]\n"), @"a.yaml:1:8: error: the alias is inside of its own anchor");
    assert_snapshot!(reports("? [a]\n: b\n"), @"a.yaml:1:3: error: a key must be a word");
    assert_snapshot!(reports("<<: {a: 1}\na: 2\nb: {<<: [{}, null]}\n"), @"a.yaml:3:5: error: `<<` needs a mapping, or a list of mappings");
    assert_snapshot!(reports("- &a {b: 1, b: 2}\n- *a\n"), @"
    a.yaml:1:1: error: expected a Kubernetes object: a mapping with apiVersion and kind
    a.yaml:1:13: warning: the key `b` is already on line 1; the last one counts (keep one of the two)
    ");
    assert_snapshot!(reports("a: .inf\n"), @"a.yaml:1:4: error: not a finite number: JSON does not have it (put quotes around it if it is text)");
    assert_snapshot!(reports("~: a\n"), @"a.yaml:1:1: error: a key must be a word");
    assert_snapshot!(reports(": \n? "), @"a.yaml:1:1: error: a key must be a word");
    assert_snapshot!(reports("a: \"b\n"), @"a.yaml:1:4: error: not valid YAML: unclosed quote");
    assert_snapshot!(reports("a: b\u{0}\n"), @"a.yaml:1:5: error: the control character U+0000 can't be in YAML");
    let (_, parsed) = file::parse(Path::new("a.yaml"), b"a: 1\nb: \xff\n");
    assert_snapshot!(parsed.reports[0], @"a.yaml:2:4: error: not UTF-8 text (save it as UTF-8)");
}

#[test]
fn one_bad_document_hides_no_other() {
    let text = "a: [1\n---\nkind: Pod\napiVersion: v1\nmetadata: {name: a}\n---\nb: }\n---\nc: 1\n";
    assert_snapshot!(reports(text), @"
    a.yaml:1:4: error: not valid YAML: unclosed bracket '['
    a.yaml:7:4: error: not valid YAML: misplaced bracket
    a.yaml:9:1: error: kind: missing: every object needs an apiVersion and a kind, as words
    ");
    let (_, parsed) = file::parse(Path::new("a"), text.as_bytes());
    assert_eq!(parsed.objects.len(), 1);
}

#[test]
fn places_count_characters_and_any_line_break() {
    let text = policy("podSelector: {}\n# ä\npolicyTypes: [\"ä\", x]");
    let unix = reports(&text);
    assert!(unix.contains("a.yaml:7:22: error: spec.policyTypes[1]"), "{unix}");
    assert_eq!(reports(&text.replace('\n', "\r\n")), unix);
    assert_eq!(reports(&format!("\u{feff}{text}")), unix);
}

#[test]
fn a_pod_is_read_although_values_lack_quotes() {
    let text = indoc! {"
        apiVersion: v1
        kind: Pod
        metadata: {name: p, namespace: n, labels: {example.org/on: yes, tier: 01, a: b}}
        spec: {nodeName: n, containers: [{name: c, image: 1}]}
        status: {podIP: 10.0.0.1}
    "};
    assert_snapshot!(reports(text), @r#"
    a.yaml:3:32: warning: metadata.namespace: expected a string, found the boolean `false`, which Kubernetes refuses; read as text (write it as "n")
    a.yaml:3:60: warning: metadata.labels.example.org/on: expected a string, found the boolean `true`, which Kubernetes refuses; read as text (write it as "yes")
    a.yaml:3:71: warning: metadata.labels.tier: expected a string, found the number `1`, which Kubernetes refuses; read as text (write it as "01")
    a.yaml:4:18: warning: spec.nodeName: expected a string, found the boolean `false`, which Kubernetes refuses; read as text (write it as "n")
    a.yaml:4:51: warning: spec.containers[0].image: expected a string, found the number `1`, which Kubernetes refuses; read as text (write it as "1")
    "#);
    let (_, parsed) = file::parse(Path::new("a.yaml"), text.as_bytes());
    let [object::Item::Pod(pod)] = &parsed.objects[0].items[..] else { panic!("{parsed:?}") };
    assert_eq!((pod.id.namespace.as_str(), pod.node.as_deref()), ("n", Some("n")));
    assert_eq!(&pod.labels["example.org/on"][..], "yes");
    assert_eq!(&pod.labels["tier"][..], "01");
}

#[test]
fn a_policy_whose_namespace_lacks_quotes_isolates_there() {
    let text = indoc! {"
        apiVersion: networking.k8s.io/v1
        kind: NetworkPolicy
        metadata: {name: 1, namespace: n}
        spec: {podSelector: {matchLabels: {app: web}}}
    "};
    assert_snapshot!(reports(text), @r#"
    a.yaml:3:18: error: metadata.name: expected a string, found the number `1` (write it as "1")
    a.yaml:3:32: error: metadata.namespace: expected a string, found the boolean `false` (write it as "n")
    "#);
    let (_, parsed) = file::parse(Path::new("a.yaml"), text.as_bytes());
    assert!(parsed.objects.is_empty());
    let [object::Item::Policy(policy)] = &parsed.closed[0].items[..] else { panic!("{parsed:?}") };
    assert_eq!(policy.id.to_string(), "n/1");
}

#[test]
fn items_of_lists() {
    let text = indoc! {"
        apiVersion: v1
        kind: List
        items:
        - {apiVersion: v1, kind: Namespace, metadata: {name: one}}
        - {apiVersion: v1, kind: Pod, metadata: {name: 1}}
    "};
    assert_snapshot!(reports(text), @r#"a.yaml:5:48: warning: items[1].metadata.name: expected a string, found the number `1`, which Kubernetes refuses; read as text (write it as "1")"#);
    let text = "{\"apiVersion\": \"v1\", \"kind\": \"PodList\",\t\"items\": [{\"metadata\": {\"nam\": \"a\"}}]}";
    assert_snapshot!(reports(text), @"
    a.yaml:1:52: error: items[0].metadata.name: missing: an object needs a name
    a.yaml:1:65: warning: items[0].metadata.nam: unknown field (did you mean `name`?)
    ");
}

#[test]
fn anchors_and_merge_keys() {
    let text = policy(indoc! {"
        podSelector: &all {}
        ingress:
        - &rule
          from: [{podSelector: *all}]
        - <<: *rule
          ports: [{port: 80}]
    "});
    let (_, parsed) = file::parse(Path::new("a"), text.as_bytes());
    assert_eq!(parsed.reports, []);
    let [object::Item::Policy(policy)] = parsed.objects[0].items.as_slice() else { panic!() };
    let rules = policy.ingress.as_ref().unwrap();
    assert_eq!(rules[0].peers, rules[1].peers);
    assert_eq!((rules[0].ports.len(), rules[1].ports.len()), (0, 1));
}

/// As `kubectl` merges: the last entry counts, wherever it comes from.
#[test]
fn merged_entries_replace_those_before_them() {
    let pod = |labels: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels:\n{labels}spec: {{containers: []}}\n"
        )
    };
    for (labels, value, reports) in [
        ("    <<: {a: merged}\n    a: own\n", "own", 0),
        ("    a: own\n    <<: {a: merged}\n", "merged", 1),
        ("    <<: [{a: first}, {a: second}]\n", "first", 0),
        ("    a: one\n    a: two\n", "two", 1),
    ] {
        let (_, parsed) = file::parse(Path::new("a"), pod(labels).as_bytes());
        let [object::Item::Pod(pod)] = parsed.objects[0].items.as_slice() else { panic!() };
        assert_eq!((pod.labels["a"].as_str(), parsed.reports.len()), (value, reports), "{labels}");
    }
}

#[test]
fn alias_bombs_and_depth_are_bounded() {
    let mut bomb = String::from("a0: &a0 [x, x]\n");
    for it in 1..60 {
        bomb += &format!("a{it}: &a{it} [*a{0}, *a{0}]\n", it - 1);
    }
    assert!(reports(&bomb).contains("values, aliases expanded"));
    let deep = format!("a: {}", "[".repeat(10_000));
    assert!(reports(&deep).contains("error"));
    let mut deep = String::from("a0: &a0 [x]\n");
    for it in 1..200 {
        deep += &format!("a{it}: &a{it} [*a{}]\n", it - 1);
    }
    assert!(reports(&deep).contains("levels deep"));
    let most = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert!(reports(&most).contains("expected a Kubernetes object"));
}

/// Plain scalars as labels: `kubectl` takes only the second ones for strings.
#[test]
fn scalars_are_what_kubectl_reads() {
    let read = |scalar: &str| {
        let text =
            format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels: {{a: {scalar}}}\n");
        reports(&text)
            .split_once("found ")
            .map(|(_, found)| found.split(" (").next().unwrap().to_owned())
    };
    for (scalar, found) in [
        ("y", "the boolean `true`"),
        ("N", "the boolean `false`"),
        ("1_000", "the number `1000`"),
        ("yes", "the boolean `true`"),
        ("OFF", "the boolean `false`"),
        ("80", "the number `80`"),
        ("-1", "the number `-1`"),
        ("0x10", "the number `16`"),
        ("0644", "the number `420`"),
        ("0", "the number `0`"),
        ("08", "the number `8`"),
        ("1.5", "the number `1.5`"),
        ("1e3", "the number `1000`"),
        ("99999999999999999999", "the number `1e+20`"),
    ] {
        let expected = format!("{found}, which Kubernetes refuses; read as text");
        assert_eq!(read(scalar), Some(expected), "{scalar}");
    }
    for scalar in [
        "",
        "~",
        "10.0.0.1",
        "inf",
        "0x",
        "1e400",
        "tRue",
        "nUll",
        "!!str 80",
        "&a !!str 80",
        "!!str &a 80",
        "'80'",
        "\"yes\"",
        ">-\n   80",
        "|-\n   yes",
    ] {
        assert_eq!(read(scalar), None, "{scalar}");
    }
}

#[test]
fn reports_as_json_and_with_an_excerpt() {
    let (_, parsed) = file::parse(Path::new("a.yaml"), policy("podSelecter: {}").as_bytes());
    let report = &parsed.reports[0];
    assert_snapshot!(serde_json::to_string(report).unwrap(), @r#"{"file":"a.yaml","line":5,"column":3,"path":"spec.podSelecter","severity":"error","message":"unknown field","help":"did you mean `podSelector`?"}"#);
    let mut text = String::new();
    let theme = miette::GraphicalTheme::unicode_nocolor();
    miette::GraphicalReportHandler::new_themed(theme)
        .render_report(&mut text, &report.excerpt())
        .unwrap();
    assert_snapshot!(text, @"
     × unknown field
      ╭─[a.yaml:5:3]
    4 │ spec:
    5 │   podSelecter: {}
      ·   ─────┬─────
      ·        ╰── spec.podSelecter
      ╰────
     help: did you mean `podSelector`?
    ");
}

/// Text that is more like manifests than random bytes.
fn yamlish() -> impl Strategy<Value = String> {
    let words = "a·: ·- ·\n·  ·[·]·{·}·,·&a ·*a·<<: ·---\n·...\n·'·\"·|\n·>-\n·? ·!!str ·!·%YAML 1.2\n·#·\t·\r·\
                 \u{85}·ä·\u{2028}·kind: Pod\n·apiVersion: v1\n·kind: List\n·items:\n·spec:\n·\
                 metadata: {name: a}\n·80·null·~·\\u·0x·@·`";
    let word = prop::sample::select(words.split('·').collect::<Vec<_>>());
    prop::collection::vec(word, 0..60).prop_map(|it| it.concat())
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        file::parse(Path::new("a"), &bytes);
    }

    #[test]
    fn arbitrary_yaml_never_panics(text in yamlish()) {
        let (text, parsed) = file::parse(Path::new("a"), text.as_bytes());
        for report in parsed.reports {
            let mut shown = String::new();
            miette::GraphicalReportHandler::new().render_report(&mut shown, &report.excerpt()).unwrap();
            prop_assert!(report.line >= 1 && report.line <= text.lines().count());
        }
    }
}

/// What a new user reads about frequent mistakes: what was expected, and what to do.
#[test]
fn mistakes_come_with_advice() {
    for (spec, advice) in [
        ("policyTypes: Ingress", "write it as an entry of a list: [Ingress]"),
        ("podSelector {}", "write `:` and a blank after each key"),
        ("podSelector:{}", "a blank must follow the `:` of a key"),
        ("ingress: [{ports: [80]}]", "write it as `port: 80`"),
        ("egress: [{to: [{ipBlock: {cidr: [10.0.0.0/8]}}]}]", "remove the brackets or the `- `"),
        ("podSelector: {matchExpressions: [{key: a, operator: In}]}", "add `values: [VALUE]`"),
        ("podSelector: {matchLabels: {a: *b}}", "put quotes around it if it is text"),
    ] {
        let found = reports(&scene::policy("p", spec));
        assert!(found.contains(advice), "{spec}: {found}");
    }
    let good = scene::policy("p", "podSelector: {}");
    for (text, advice) in [
        (good.replace("spec:", "podSelector: {}\nspec:"), "move it below `spec`"),
        (good.replace("spec:", "name: a\nspec:"), "move it below `metadata`"),
        (good.replace("kind: NetworkPolicy\n", ""), "add `kind: NetworkPolicy`"),
        (good.replace("name: p", "name: p, creationTimestamp: today"), "2026-01-31T12:00:00Z"),
        (good.replace("name: p", "generateName: Web-"), "`Web-` is not a generateName"),
        (good.replace("name: p", "generateName: p-"), "accepts no generateName in its place"),
        (good.replace("  podSelector", " a: b\n  podSelector"), "indent this line as"),
        ("{\"kind\": \"Pod\" \"apiVersion\": \"v1\"}".to_owned(), "as JSON: expected `,` or `}`"),
    ] {
        let found = reports(&text);
        assert!(found.contains(advice), "{text}: {found}");
    }
}
