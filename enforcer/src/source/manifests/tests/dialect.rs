//! Verdicts that depend on how `kubectl` reads YAML and JSON, each compared with its own decoder.

use super::scene::policy;
use super::verdicts::{accepts, expect_within};

#[test]
fn scanning() {
    let good = policy("p", "podSelector: {}");
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    for text in [
        with("podSelector: {}", "podSelector: {\n\t}"),
        with("podSelector: {}", "podSelector:\t{}\t# comment"),
        with("podSelector: {}", "podSelector: {}#comment"),
        with("podSelector: {}", "? podSelector\n  : {}"),
        good.replace('\n', "\u{85}"),
        good.replace('\n', "\u{2028}"),
        format!("{good}---# comment\n{good}"),
        format!("{good}---\n\u{feff}{good}"),
        format!("{good}...\na: [\n"),
        format!("{good}%YAML 1.1\n"),
    ] {
        assert!(accepts(&text), "{text:?}");
    }
    for text in [
        with("spec:", "\t\nspec:"),
        with("spec:", "\t# comment\nspec:"),
        with("podSelector: {}", "podSelector: {}\n  policyTypes:\n  -\tIngress"),
        with("podSelector: {}", "podSelector: {matchLabels\n    : {}}"),
        with("podSelector: {}", "podSelector: &a.b {}"),
        format!("--- {{}}\n{good}"),
        format!("{good}--- !a\n{good}"),
        format!("...\n{good}"),
        format!("%YAML 1.1\n---\n{good}"),
    ] {
        assert!(!accepts(&text), "{text:?}");
    }
}

#[test]
fn tags() {
    let label = |value: &str| format!("podSelector:\n  matchLabels:\n    k: {value}");
    for value in [
        "!!str 5",
        "!!str >-\n      5",
        ">-\n      5",
        "|-\n      true",
        "!local 5",
        "! 5",
        "!!binary aGk=",
        "!!binary |\n      aGk=",
        "!!timestamp 2001-01-01",
        "!!map",
        "!!str",
        "!!null",
    ] {
        assert!(accepts(&policy("p", &label(value))), "{value}");
    }
    // A comment is no tag, and ends none.
    for value in [
        "!!str # c\n      5",
        "!!str # c\n     # d\n      5",
        "!!str\n      &a 5",
        "&a\n      !!str 5",
        "!!str # !!int\n      5",
    ] {
        assert!(accepts(&policy("p", &label(value))), "{value}");
    }
    for value in
        ["# !!str\n      5", "# !<tag:yaml.org,2002:str>\n      5", "\n      # !!str\n      5"]
    {
        assert!(!accepts(&policy("p", &label(value))), "{value}");
    }
    for value in [
        "!!int 5",
        "!!int x",
        "!!null x",
        "!!bool x",
        "!!float x",
        "!!timestamp x",
        "!!binary x",
        "!a!b c",
    ] {
        assert!(!accepts(&policy("p", &label(value))), "{value}");
    }
    expect_within(true, "ingress: !!str ", &["[]", "!!set [{}]"], "");
    expect_within(
        true,
        "ingress: [{ports: [{port: ",
        &["!!int 80", "!!int '80'", "!!float 80"],
        "}]}]",
    );
    expect_within(
        false,
        "ingress: [{ports: [{port: ",
        &["!!int 80.0", "!!str 80", "!!float .inf"],
        "}]}]",
    );
    for key in ["!!int '5'", "!!bool yes", "!!timestamp 2001-01-01", "!!str 5"] {
        let spec = format!("podSelector:\n  matchLabels:\n    {key}: v");
        assert!(accepts(&policy("p", &spec)), "{key}");
    }
    assert!(!accepts(&policy("p", "ingress: [{ports: [{\"port\":!!str 80}]}]")));
    assert!(!accepts(&policy("p", "podSelector: {matchLabels: {a:}}")));
    assert!(!accepts(&policy("p", "podSelector:\n  matchLabels:\n    !!null x: v")));
    assert!(accepts(&policy("p", "podSelector:\n  matchLabels: {!!merge <<: {a: b}}")));
    assert!(!accepts(&policy("p", "podSelector:\n  matchLabels: {'<<': {a: b}}")));
}

#[test]
fn lists_are_what_has_items() {
    let item =
        "{metadata: {name: p}, apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {}}";
    let bad = item.replace("spec: {}", "spec: []");
    for head in ["kind: Lst\napiVersion: v1", "kind: Anything", "kind: List\napiVersion: other/v9"]
    {
        assert!(accepts(&format!("{head}\nitems: [{item}]\n")), "{head}");
        assert!(!accepts(&format!("{head}\nitems: [{bad}]\n")), "{head}");
    }
    assert!(!accepts(&format!("apiVersion: v1\nitems: [{item}]\n")));
}

#[test]
fn json() {
    let json = |metadata: &str, spec: &str| {
        format!(
            r#"{{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {metadata}, "spec": {spec}}}"#
        )
    };
    let good = json(r#"{"name": "p"}"#, "{}");
    let named = r#"{"name": "p", "annotations": {"a": "b"}}"#;
    for text in [
        good.clone(),
        format!("{good}{good}\n{good}"),
        format!("{good} ---\n{good}"),
        format!("{good} # comment\n"),
        format!("{good}\n\u{feff}"),
        format!("{good}\n---\n{good}"),
        json(named, "{}").replace("\"b\"", "\"\u{feff}\u{2028}\""),
        json(r#"{"name": null, "name": "p"}"#, "{}"),
        json(r#"{"name": "p"}"#, r#"{"ingress": 1, "ingress": []}"#),
    ] {
        assert!(accepts(&text), "{text}");
    }
    for text in [
        format!("{good} x"),
        format!("{good}\n...\n{good}"),
        // Nothing but JSON follows several values (`YAMLOrJSONDecoder`, `count > 1`).
        format!("{good}{good}\n---\n{good}"),
        format!("{good}{good}\n# comment\n"),
        format!("{good}\u{85}"),
        format!("{good}\u{feff}"),
        format!("\u{feff}\u{feff}{good}"),
        json(r#"{"name": 1, "name": "p"}"#, "{}"),
        json(r#"{"name": "p", "labels": [], "labels": {}}"#, "{}"),
        json(named, r#"{"ingress": [{"ports": [{"port": 1e400}]}]}"#),
        json(r#"{"generateName": "\u2028-"}"#, "{}"),
    ] {
        assert!(!accepts(&text), "{text}");
    }
}
