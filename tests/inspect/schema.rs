//! `docs/json.md` describes every field of the documents that commands print.

use std::collections::BTreeSet;

use clap::Parser as _;
use enforcer::cli::{Cli, Command, check};
use enforcer_tests::documents::document;
use serde_json::{Deserializer, Value};

use super::plugin::Desk;
use super::words;

/// The section on documents of a kind, and those that it refers to.
fn sections(kind: &str) -> &'static [&'static str] {
    match kind {
        "finding" | "summary" => &["check"],
        "explain" => &["explain"],
        "trace" => &["trace", "explain"],
        "describe" => &["describe"],
        "diff" => &["diff"],
        "drop" => &["drops", "explain"],
        "flow" | "flows" => &["flows", "explain"],
        "audit" => &["audit", "flows", "explain"],
        "top" => &["top"],
        "cluster-status" => &["cluster-status"],
        "problems" => &["problems"],
        other => panic!("docs/json.md has no section on {other}"),
    }
}

/// The words in backquotes of a section.
fn described(schema: &str, section: &str) -> BTreeSet<String> {
    let (_, rest) = schema.split_once(&format!("\n## {section}\n")).unwrap();
    let text = rest.split("\n## ").next().unwrap();
    let quoted = text.split('`').skip(1).step_by(2);
    let words = quoted.flat_map(|it| it.split(|it: char| !it.is_alphanumeric() && it != '_'));
    words.map(str::to_owned).collect()
}

fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                found.insert(key.clone());
                // Not versioned: the agent's own status.
                if key != "status" {
                    keys(value, found);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|it| keys(it, found)),
        _ => {}
    }
}

fn verify(schema: &str, text: &str, kinds: &mut BTreeSet<String>) {
    for value in Deserializer::from_str(text).into_iter::<Value>() {
        let value = value.unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(value["version"], 1, "{value}");
        let kind = value["kind"].as_str().unwrap().to_owned();
        let mut known: BTreeSet<String> = ["version".to_owned(), "kind".to_owned()].into();
        known.extend(sections(&kind).iter().flat_map(|it| described(schema, it)));
        let mut found = BTreeSet::new();
        keys(&value, &mut found);
        let missing: Vec<_> = found.difference(&known).collect();
        assert!(missing.is_empty(), "docs/json.md on {kind} lacks {missing:?}");
        kinds.insert(kind);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_is_described() {
    let schema = document("docs/json.md").unwrap();
    let mut kinds = BTreeSet::new();
    for line in [
        "explain ops/prometheus shop/sts/db:9187 --all",
        "explain shop/deploy/web shop/sts/db:5432",
        "explain ops/prometheus shop/sts/db:9187 --what-if inspect/audited",
        "describe",
        "describe shop",
        "describe shop/db-0",
        "describe ops/prometheus --what-if inspect/audited",
    ] {
        let (text, code) = words(&format!("{line} --manifests inspect/shop --output json")).await;
        assert_ne!(code, 2, "{line}: {text}");
        verify(&schema, &text, &mut kinds);
    }
    let (text, _) = words("diff inspect/shop inspect/changed --output json").await;
    verify(&schema, &text, &mut kinds);
    let desk = Desk::new();
    for line in ["status", "problems", "drops", "flows", "audit", "top --count 1 --interval 1"]
        .map(str::to_owned)
        .into_iter()
        .chain([
            "explain apps/client-x backend/api-z:8080".to_owned(),
            "trace apps/client-x backend/api-z:8080".to_owned(),
            "describe backend".to_owned(),
        ])
    {
        let text = desk.run(&format!("{line} --output json")).await;
        let (_, text) = text.split_once('\n').unwrap();
        verify(&schema, text.split("exit code ").next().unwrap(), &mut kinds);
    }
    let arguments = ["enforcer", "check", "--output", "json", "inspect/shop", "../deploy/tutorial"];
    let Command::Check(arguments) = Cli::try_parse_from(arguments).unwrap().command else {
        panic!("not check");
    };
    let mut out = Vec::new();
    check::run(&arguments, &mut out).unwrap();
    verify(&schema, &String::from_utf8(out).unwrap(), &mut kinds);
    assert!(kinds.len() >= 11, "{kinds:?}");
}
