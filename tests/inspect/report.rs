//! The data of `enforcer report`: the page's model, and what it says of each pair without a server.

use std::path::Path;

use enforcer::inspect::State;
use enforcer::page::{ActivityReport, Report, report};
use serde_json::Value;

/// The tags around a report's data.
const DATA: [&str; 2] = ["<script type=\"application/json\" id=\"report\">", "</script>"];

fn contents() -> Value {
    let text =
        [include_str!("../inspect/shop/app.yaml"), include_str!("../inspect/shop/policies.yaml")];
    let state = State::of_text(Path::new("shop.yaml"), &text.join("---\n")).unwrap();
    let state = state.with_addresses(None);
    let page = report(Report {
        state: &state,
        source: "shop.yaml".to_owned(),
        at: "2026-11-27T01:00:00Z".to_owned(),
        activity: ActivityReport::default(),
    });
    let page = page.unwrap();
    let (_, data) = page.split_once(DATA[0]).unwrap();
    serde_json::from_str(data.split_once(DATA[1]).unwrap().0).unwrap()
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

#[test]
fn the_model_of_a_report() {
    let contents = contents();
    insta::assert_snapshot!(pretty(&contents["model"]));
    assert_eq!(contents["unexplained"], 0);
    assert_eq!(contents["kind"], "report");
}

/// A line for each pair; each answer is the document of `explain`.
#[test]
fn the_answers_of_a_report() {
    let contents = contents();
    let mut lines = String::new();
    for (from, answers) in contents["explanations"].as_object().unwrap() {
        for (to, answer) in answers.as_object().unwrap() {
            let verdict = answer["verdict"].as_str().unwrap();
            lines += &format!("{from} → {to}: {verdict}\n");
        }
    }
    for name in contents["descriptions"].as_object().unwrap().keys() {
        lines += &format!("described: {name}\n");
    }
    insta::assert_snapshot!(lines);
}
