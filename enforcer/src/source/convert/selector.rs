//! Label selectors.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::{Problem, field, labels};
use enforcer_core::model::{Requirement, Selector};

const OPERATORS: [&str; 4] = ["In", "NotIn", "Exists", "DoesNotExist"];

/// A label selector (semantics R3). After an error the result lacks the bad requirement and must
/// not take effect.
pub fn selector(object: &LabelSelector, path: &str, problems: &mut Vec<Problem>) -> Selector {
    let pairs = object.match_labels.clone().unwrap_or_default();
    labels::check(&pairs, &format!("{path}.matchLabels"), problems);
    let mut requirements: Vec<Requirement> = of_labels(&pairs).collect();
    let expressions = object.match_expressions.as_deref().unwrap_or_default();
    for (index, expression) in expressions.iter().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        requirements.extend(requirement(expression, &path, problems));
    }
    Selector { requirements: requirements.into_iter().collect() }
}

/// A selector of exactly these labels.
pub(super) fn from_labels(labels: &BTreeMap<String, String>) -> Selector {
    Selector { requirements: of_labels(labels).collect() }
}

fn of_labels(labels: &BTreeMap<String, String>) -> impl Iterator<Item = Requirement> {
    labels.iter().map(|(key, value)| Requirement::In(key.clone(), [value.clone()].into()))
}

fn requirement(
    expression: &LabelSelectorRequirement,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Option<Requirement> {
    let LabelSelectorRequirement { key, operator, values } = expression;
    let key = key.clone();
    if key.is_empty() {
        problems.push(Problem::error(format!("{path}.key"), "missing: a label key is needed"));
    } else {
        labels::check_key(&key, &format!("{path}.key"), problems);
    }
    for (index, value) in values.iter().flatten().enumerate() {
        labels::check_value(value, &format!("{path}.values[{index}]"), problems);
    }
    let values: std::collections::BTreeSet<_> = values.iter().flatten().cloned().collect();
    let wants_values = match operator.as_str() {
        "In" | "NotIn" => true,
        "Exists" | "DoesNotExist" => false,
        other => {
            let path = format!("{path}.operator");
            problems.push(field::unknown_word(&path, other, "operator", &OPERATORS));
            return None;
        }
    };
    if wants_values == values.is_empty() {
        let (message, help) = if wants_values {
            (
                format!("operator {operator} needs at least one value"),
                "add `values: [VALUE]`, or use Exists or DoesNotExist for any value",
            )
        } else {
            let message = format!("operator {operator} takes no values");
            (message, "remove `values`, or use In or NotIn")
        };
        problems.push(Problem::error(format!("{path}.values"), message).help(help));
        return None;
    }
    Some(match operator.as_str() {
        "In" => Requirement::In(key, values.into()),
        "NotIn" => Requirement::NotIn(key, values.into()),
        "Exists" => Requirement::Exists(key),
        _ => Requirement::DoesNotExist(key),
    })
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals read best as plain arguments")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn convert(object: Value) -> (Selector, Vec<String>) {
        let mut problems = Vec::new();
        let selector = selector(&serde_json::from_value(object).unwrap(), "s", &mut problems);
        (selector, problems.iter().map(ToString::to_string).collect())
    }

    fn bad(expression: Value) -> String {
        let (_, problems) = convert(json!({"matchExpressions": [expression]}));
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].clone()
    }

    #[test]
    fn r3_labels_and_all_operators() {
        let (selector, problems) = convert(json!({
            "matchLabels": {"a": "1"},
            "matchExpressions": [
                {"key": "b", "operator": "In", "values": ["x", "y"]},
                {"key": "c", "operator": "NotIn", "values": ["z"]},
                {"key": "d", "operator": "Exists"},
                {"key": "e", "operator": "DoesNotExist", "values": []},
            ],
        }));
        assert!(problems.is_empty(), "{problems:?}");
        let set = |values: &[&str]| values.iter().map(ToString::to_string).collect();
        let expected = [
            Requirement::In("a".into(), set(&["1"])),
            Requirement::In("b".into(), set(&["x", "y"])),
            Requirement::NotIn("c".into(), set(&["z"])),
            Requirement::Exists("d".into()),
            Requirement::DoesNotExist("e".into()),
        ];
        assert_eq!(selector.requirements, expected.into_iter().collect());
    }

    #[test]
    fn empty_matches_all() {
        assert_eq!(convert(json!({})), (Selector::default(), vec![]));
    }

    #[test]
    fn values_where_they_belong() {
        for operator in ["In", "NotIn"] {
            assert_eq!(
                bad(json!({"key": "k", "operator": operator})),
                format!(
                    "s.matchExpressions[0].values: operator {operator} needs at least one value (add `values: \
                     [VALUE]`, or use Exists or DoesNotExist for any value)"
                )
            );
        }
        for operator in ["Exists", "DoesNotExist"] {
            assert_eq!(
                bad(json!({"key": "k", "operator": operator, "values": ["v"]})),
                format!(
                    "s.matchExpressions[0].values: operator {operator} takes no values (remove `values`, or use \
                     In or NotIn)"
                )
            );
        }
    }

    #[test]
    fn unknown_operator_and_missing_key() {
        let problem = bad(json!({"key": "k", "operator": "notin", "values": ["v"]}));
        assert!(problem.starts_with("s.matchExpressions[0].operator: unknown operator `notin`"));
        assert!(problem.ends_with("(did you mean `NotIn`?)"), "{problem}");
        let problem = bad(json!({"key": "", "operator": "Exists"}));
        assert!(problem.starts_with("s.matchExpressions[0].key: missing"), "{problem}");
    }
}
