//! Namespaces.

use k8s_openapi::api::core::v1::Namespace;

use super::{Converted, Problem, field, labels};
use enforcer_core::model;

/// A namespace, with the label that names it (semantics R3).
#[must_use]
pub fn namespace(object: &Namespace) -> Converted<model::Namespace> {
    let (value, problems) = read(object);
    Converted::new(value, problems)
}

/// What can be read of a namespace that has errors: its labels as they are. `None` without a name.
#[must_use]
pub fn readable_namespace(object: &Namespace) -> Option<model::Namespace> {
    Some(read(object).0).filter(|it| !it.name.is_empty())
}

fn read(object: &Namespace) -> (model::Namespace, Vec<Problem>) {
    let mut problems = Vec::new();
    let name = field::name(&object.metadata, &mut problems);
    let own = object.metadata.labels.clone().unwrap_or_default();
    labels::check(&own, "metadata.labels", &mut problems);
    let audit = field::audit(&object.metadata, &mut problems);
    let deny_with = field::deny_with(&object.metadata, &mut problems);
    let namespace = model::Namespace::new(name, own.into_iter().collect());
    (model::Namespace { audit, deny_with, ..namespace }, problems)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn carries_its_name_as_a_label() {
        let object = json!({"metadata": {"name": "web", "labels": {"team": "a"}}});
        let value = namespace(&serde_json::from_value(object).unwrap()).value.unwrap();
        assert_eq!(value.name, "web");
        assert_eq!(value.labels["team"], "a");
        assert_eq!(value.labels[model::NAMESPACE_NAME_LABEL], "web");
    }

    #[test]
    fn two_words_set_what_denied_packets_get() {
        use model::DenyWith::{Drop, Reject};
        let words = [("drop", Some(Drop), 0), ("reject", Some(Reject), 0), ("Reject", None, 1)];
        for (word, deny_with, warnings) in words {
            let annotations = json!({model::DENY_WITH_ANNOTATION: word});
            let object = json!({"metadata": {"name": "web", "annotations": annotations}});
            let converted = namespace(&serde_json::from_value(object).unwrap());
            assert_eq!(converted.value.unwrap().deny_with, deny_with, "{word}");
            assert_eq!(converted.problems.len(), warnings, "{word}");
        }
    }

    #[test]
    fn needs_a_name() {
        let converted = namespace(&Namespace::default());
        assert_eq!(converted.value, None);
        assert_eq!(converted.problems[0].path, "metadata.name");
    }
}
