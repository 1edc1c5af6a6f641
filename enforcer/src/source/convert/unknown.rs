//! Fields of policies that this program does not know.
//!
//! A newer Kubernetes can have fields that narrow an entry: without them it would allow more than its
//! author wrote. So what an unknown field belongs to allows nothing, and the policy isolates as before.
//! Kubernetes adds fields so that a program which ignores them allows less (`endPort`, KEP-2079, calls
//! that its fail-closed requirement), but nothing ensures it.

use serde_json::{Value, json};

use super::Problem;
use super::closed::types;

/// The fields of a part of a policy that the conversion reads.
#[derive(Debug)]
enum Known {
    /// Anything: a value, or a mapping with free keys.
    Any,
    /// These fields.
    Fields(&'static [(&'static str, Self)]),
    /// A list of such entries.
    Each(&'static Self),
}

const SELECTOR: Known = Known::Fields(&[
    ("matchLabels", Known::Any),
    (
        "matchExpressions",
        Known::Each(&Known::Fields(&[
            ("key", Known::Any),
            ("operator", Known::Any),
            ("values", Known::Any),
        ])),
    ),
]);

const PEER: Known = Known::Fields(&[
    ("podSelector", SELECTOR),
    ("namespaceSelector", SELECTOR),
    ("ipBlock", Known::Fields(&[("cidr", Known::Any), ("except", Known::Any)])),
]);

const PORT: Known =
    Known::Fields(&[("port", Known::Any), ("endPort", Known::Any), ("protocol", Known::Any)]);

const SPEC: Known = Known::Fields(&[
    ("podSelector", Known::Any),
    ("ingress", Known::Any),
    ("egress", Known::Any),
    ("policyTypes", Known::Any),
]);

/// The directions, with the list of peers in their rules.
pub(super) const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

/// Removes unknown fields from a policy's specification, with what they belong to: an entry of `from`,
/// `to` or `ports`, or the rule. A rule whose list loses all entries goes, too, for an empty list would match
/// everything (semantics R1). Next to `spec.podSelector`, or in it, they concern the whole policy:
/// it selects as much as it could, and allows nothing.
pub fn without_unknown(policy: &mut Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(Value::Object(spec)) = policy.get_mut("spec") else { return problems };
    let before = types(&Value::Object(spec.clone()));
    let in_spec = report(spec.iter(), &SPEC, "spec", ALL, &mut problems);
    let selector = spec.get("podSelector").unwrap_or(&Value::Null);
    let in_selector = report_in(selector, &SELECTOR, "spec.podSelector", ALL, &mut problems);
    if in_selector {
        spec.insert("podSelector".to_owned(), json!({}));
    }
    for (direction, peers) in DIRECTIONS {
        let Some(rules) = spec.get_mut(direction) else { continue };
        let path = format!("spec.{direction}");
        retain(rules, &path, |rule, path| {
            without_unknown_entries(rule, peers, path, &mut problems)
        });
        if in_spec || in_selector {
            *rules = json!([]);
        }
    }
    if in_spec {
        spec.retain(|name, _| SPEC.field(name).is_some());
        spec.insert("policyTypes".to_owned(), json!(["Ingress", "Egress"]));
    } else if let Some(before) = before
        && !problems.is_empty()
    {
        // The default follows from rules that may be gone (semantics S3).
        spec.insert("policyTypes".to_owned(), before.into());
    }
    problems
}

const ALL: &str = "the policy isolates what it could select and allows nothing";

/// Returns whether the rule still allows something.
fn without_unknown_entries(
    rule: &mut Value,
    peers: &str,
    path: &str,
    problems: &mut Vec<Problem>,
) -> bool {
    let Value::Object(rule) = rule else { return true };
    let lists = [(peers, &PEER), ("ports", &PORT)];
    let others = rule.iter().filter(|(name, _)| lists.iter().all(|it| it.0 != name.as_str()));
    let nothing = Known::Fields(&[]);
    let mut allows = !report(others, &nothing, path, "the rule allows nothing", problems);
    for (name, known) in lists {
        let Some(list) = rule.get_mut(name) else { continue };
        let had_entries = list.as_array().is_some_and(|it| !it.is_empty());
        retain(list, &format!("{path}.{name}"), |entry, path| {
            !report_in(entry, known, path, "the entry allows nothing", problems)
        });
        allows &= !had_entries || list.as_array().is_none_or(|it| !it.is_empty());
    }
    allows
}

/// Keeps some entries of a list. Other values stay as they are: the conversion reports them.
pub(super) fn retain(list: &mut Value, path: &str, mut keep: impl FnMut(&mut Value, &str) -> bool) {
    if let Value::Array(list) = list {
        let mut index = 0..;
        list.retain_mut(|entry| {
            let index = index.next().unwrap_or_default();
            keep(entry, &format!("{path}[{index}]"))
        });
    }
}

/// Reports the unknown fields within a value. Returns whether there are any.
fn report_in(
    value: &Value,
    known: &Known,
    path: &str,
    effect: &str,
    problems: &mut Vec<Problem>,
) -> bool {
    match (value, known) {
        (Value::Object(fields), Known::Fields(_)) => {
            report(fields.iter(), known, path, effect, problems)
        }
        (Value::Array(list), Known::Each(known)) => {
            let mut found = false;
            for (index, entry) in list.iter().enumerate() {
                found |= report_in(entry, known, &format!("{path}[{index}]"), effect, problems);
            }
            found
        }
        _ => false,
    }
}

/// The same for fields. `null` is no value.
fn report<'v>(
    fields: impl Iterator<Item = (&'v String, &'v Value)>,
    known: &Known,
    path: &str,
    effect: &str,
    problems: &mut Vec<Problem>,
) -> bool {
    let mut found = false;
    for (name, value) in fields.filter(|(_, value)| !value.is_null()) {
        let path = format!("{path}.{name}");
        match known.field(name) {
            Some(known) => found |= report_in(value, known, &path, effect, problems),
            None => {
                let message = format!("unknown field, which may narrow what is allowed: {effect}");
                let help = "remove it, or use a version of enforcer that knows it";
                problems.push(Problem::error(path, message).help(help));
                found = true;
            }
        }
    }
    found
}

impl Known {
    fn field(&self, name: &str) -> Option<&Self> {
        let Self::Fields(fields) = self else { return None };
        fields.iter().find(|it| it.0 == name).map(|it| &it.1)
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals read best as plain arguments")]
mod tests {
    use super::*;

    /// What is left of a specification, and the paths of the problems.
    fn known(spec: Value) -> (Value, Vec<String>) {
        let mut policy = json!({ "spec": spec });
        let problems = without_unknown(&mut policy);
        (policy["spec"].take(), problems.into_iter().map(|it| it.path).collect())
    }

    fn expect(spec: Value, left: Value, paths: &[&str]) {
        let shown = spec.to_string();
        let (found, problems) = known(spec);
        assert_eq!(
            (found, problems.iter().map(|it| &**it).collect()),
            (left, paths.to_vec()),
            "{shown}"
        );
    }

    fn ingress(rule: Value) -> Value {
        json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [rule]})
    }

    #[test]
    fn what_is_known_stays_as_it_is() {
        let selector = json!({
            "matchLabels": {"any": "key"},
            "matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}],
        });
        let spec = json!({
            "podSelector": selector,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{}, {"from": [], "ports": []}, {
                "from": [{"podSelector": selector, "namespaceSelector": selector}],
                "ports": [{"port": 80, "endPort": 90, "protocol": "TCP"}],
            }],
            "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}],
        });
        expect(spec.clone(), spec, &[]);
        // What does not fit its type is the conversion's.
        for odd in
            [json!(5), json!([]), json!({"ingress": 1}), json!({"ingress": [1, {"from": {}}]})]
        {
            expect(odd.clone(), odd, &[]);
        }
        let unset = ingress(json!({"from": [{"podSelector": {}, "futureField": null}]}));
        expect(unset.clone(), unset, &[]);
    }

    #[test]
    fn an_unknown_field_closes_its_entry() {
        let [good, bad] = [json!({"podSelector": {}}), json!({"podSelector": {}, "node": "own"})];
        expect(
            ingress(json!({"from": [bad, good]})),
            ingress(json!({"from": [good]})),
            &["spec.ingress[0].from[0].node"],
        );
        let block = json!({"ipBlock": {"cidr": "0.0.0.0/0", "only": ["10.0.0.0/8"]}});
        let selector = json!({"namespaceSelector": {"matchExpressions": [
            {"key": "k", "operator": "Exists"},
            {"key": "k", "operator": "Exists", "unless": "x"},
        ]}});
        expect(
            ingress(json!({"from": [block, good, selector], "ports": [{"port": 1}]})),
            ingress(json!({"from": [good], "ports": [{"port": 1}]})),
            &[
                "spec.ingress[0].from[0].ipBlock.only",
                "spec.ingress[0].from[2].namespaceSelector.matchExpressions[1].unless",
            ],
        );
        expect(
            ingress(json!({"ports": [{"port": 1, "exceptPorts": [2]}, {"port": 3}]})),
            ingress(json!({"ports": [{"port": 3}]})),
            &["spec.ingress[0].ports[0].exceptPorts"],
        );
    }

    #[test]
    fn r1_no_list_becomes_empty() {
        let closed = json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": []});
        for (rule, path) in [
            (json!({"from": [{"podSelector": {}, "x": 1}], "ports": [{"port": 1}]}), "from[0].x"),
            (json!({"from": [{"podSelector": {}}], "ports": [{"x": 1}]}), "ports[0].x"),
            (json!({"x": {}}), "x"),
            (json!({"from": [{"podSelector": {}}], "x": false}), "x"),
            // The other direction's list is not known here.
            (json!({"to": [{"podSelector": {}}]}), "to"),
        ] {
            expect(ingress(rule), closed.clone(), &[&format!("spec.ingress[0].{path}")]);
        }
    }

    #[test]
    fn s3_the_default_of_the_types_follows_from_what_was_written() {
        expect(
            json!({"podSelector": {}, "egress": [{"x": 1}]}),
            json!({"podSelector": {}, "egress": [], "policyTypes": ["Ingress", "Egress"]}),
            &["spec.egress[0].x"],
        );
        expect(
            json!({"podSelector": {}, "ingress": [{"x": 1}, {}]}),
            json!({"podSelector": {}, "ingress": [{}], "policyTypes": ["Ingress"]}),
            &["spec.ingress[0].x"],
        );
    }

    #[test]
    fn r9_what_concerns_the_whole_policy_closes_it() {
        let web = json!({"matchLabels": {"app": "web"}});
        expect(
            json!({"podSelector": web, "ingress": [{}], "policyTypes": ["Ingress"], "tier": 1}),
            json!({"podSelector": web, "ingress": [], "policyTypes": ["Ingress", "Egress"]}),
            &["spec.tier"],
        );
        expect(
            json!({"podSelector": {"matchLabels": {"app": "web"}, "matchNames": []}, "egress": [{}]}),
            json!({"podSelector": {}, "egress": [], "policyTypes": ["Ingress", "Egress"]}),
            &["spec.podSelector.matchNames"],
        );
    }
}
