//! Entries of policies with values that this program does not understand.
//!
//! The API server accepted them, so it may know an operator or a protocol that this program does not. What
//! such an entry allows is unknown, so it allows nothing (semantics R9); the rest of the policy counts. The
//! last version without such a value would allow what its author may have removed.

use k8s_openapi::api::networking::v1::{NetworkPolicyPeer, NetworkPolicyPort};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::closed::types;
use super::unknown::{DIRECTIONS, retain};
use super::{Problem, policy, port};
use crate::source::remark::Severity;
use crate::source::typed;

/// Removes the entries of `from`, `to` and `ports` with errors, and rules whose lists lose all entries: an
/// empty list would match everything (semantics R1). Other errors stay: they concern the whole policy.
pub fn without_bad_entries(policy: &mut Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(spec) = policy.get_mut("spec") else { return problems };
    let before = types(spec);
    for (direction, peers) in DIRECTIONS {
        let Some(rules) = spec.get_mut(direction) else { continue };
        retain(rules, &format!("spec.{direction}"), |rule, path| {
            let lists = [peers, "ports"];
            let kept = lists.map(|list| keep_good(rule, list, path, &mut problems));
            kept == [true, true]
        });
    }
    if let (Value::Object(spec), Some(before)) = (spec, before)
        && !problems.is_empty()
    {
        // The default follows from rules that may be gone (semantics S3).
        spec.insert("policyTypes".to_owned(), before.into());
    }
    problems
}

/// Returns whether the list still has entries, if it had any.
fn keep_good(rule: &mut Value, name: &str, path: &str, problems: &mut Vec<Problem>) -> bool {
    let Some(list) = rule.get_mut(name) else { return true };
    let before = list.as_array().map_or(0, Vec::len);
    retain(list, &format!("{path}.{name}"), |entry, path| {
        let found = errors(entry, name, path);
        let is_good = found.is_empty();
        problems.extend(found);
        is_good
    });
    before == 0 || list.as_array().is_some_and(|it| !it.is_empty())
}

fn errors(entry: &Value, list: &str, path: &str) -> Vec<Problem> {
    let mut problems = match list {
        "ports" => read(entry, path, |it: &NetworkPolicyPort, problems| {
            port::rule(it, path, problems);
        }),
        _ => read(entry, path, |it: &NetworkPolicyPeer, problems| {
            policy::peer(it, path, problems);
        }),
    };
    problems.retain(|it| it.severity == Severity::Error);
    for problem in &mut problems {
        problem.message.push_str(": the entry allows nothing");
    }
    problems
}

fn read<T: DeserializeOwned>(
    entry: &Value,
    path: &str,
    convert: impl FnOnce(&T, &mut Vec<Problem>),
) -> Vec<Problem> {
    let mut problems = Vec::new();
    match typed::read::<T>(entry).0 {
        Ok(object) => convert(&object, &mut problems),
        Err(misfit) => {
            let dot = if misfit.path.is_empty() { "" } else { "." };
            problems.push(Problem::error(format!("{path}{dot}{}", misfit.path), misfit.message));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good(spec: &Value) -> (Value, Vec<String>) {
        let mut policy = json!({ "spec": spec });
        let problems = without_bad_entries(&mut policy);
        (policy["spec"].take(), problems.into_iter().map(|it| it.path).collect())
    }

    #[test]
    fn r9_an_entry_with_errors_goes_and_no_list_becomes_empty() {
        let selector = |operator| json!({"matchExpressions": [{"key": "k", "operator": operator}]});
        let [fine, odd] = ["Exists", "Near"].map(|it| json!({"podSelector": selector(it)}));
        let types = json!(["Ingress", "Egress"]);
        let (left, paths) = good(&json!({
            "podSelector": {},
            "ingress": [
                {"from": [odd, fine]},
                {"from": [odd], "ports": [{"port": 1}]},
                {"ports": [{"port": "far too long a name"}, {"port": 2}]},
                {"from": [], "ports": [{"port": true}]},
                {"from": [{"ipBlock": {"cidr": "10.0.0.0/33"}}]},
                {},
            ],
            "egress": [{"to": [odd]}],
        }));
        let expected = json!({
            "podSelector": {},
            "ingress": [{"from": [fine]}, {"ports": [{"port": 2}]}, {}],
            "egress": [],
            "policyTypes": types,
        });
        assert_eq!(left, expected);
        let operator = "podSelector.matchExpressions[0].operator";
        assert_eq!(
            paths,
            [
                format!("spec.ingress[0].from[0].{operator}"),
                format!("spec.ingress[1].from[0].{operator}"),
                "spec.ingress[2].ports[0].port".to_owned(),
                "spec.ingress[3].ports[0].port".to_owned(),
                "spec.ingress[4].from[0].ipBlock.cidr".to_owned(),
                format!("spec.egress[0].to[0].{operator}"),
            ]
        );
    }

    #[test]
    fn other_errors_stay() {
        for spec in [
            json!(5),
            json!({"ingress": 1}),
            json!({"podSelector": {"matchLabels": 1}, "policyTypes": ["Forward"], "ingress": [1, {"from": 2}]}),
        ] {
            assert_eq!(good(&spec), (spec, Vec::new()));
        }
    }
}
