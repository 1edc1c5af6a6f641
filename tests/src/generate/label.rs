//! Labels and selectors: few keys and values, every operator.

use std::collections::BTreeSet;

use enforcer_core::model::{Labels, NAMESPACE_NAME_LABEL, Requirement, Selector};
use proptest::collection::{btree_map, btree_set};
use proptest::prop_oneof;
use proptest::sample::select;
use proptest::strategy::Strategy;

/// The namespaces of pods and policies, declared or not.
pub(super) const NAMESPACES: [&str; 3] = ["blue", "green", "red"];
const KEYS: [&str; 3] = ["app", "role", "zone"];
const VALUES: [&str; 3] = ["a", "b", "c"];
/// A key and value that occurs only in selectors.
const UNUSED: &str = "unused";

fn one_of(names: &[&'static str]) -> impl Strategy<Value = String> + use<> {
    select(names.to_vec()).prop_map(str::to_owned)
}

pub(super) fn labels() -> impl Strategy<Value = Labels> {
    btree_map(one_of(&KEYS), one_of(&VALUES), 0..=KEYS.len())
        .prop_map(|labels| labels.into_iter().collect())
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![9 => one_of(&KEYS), 1 => one_of(&[UNUSED])]
}

fn values() -> impl Strategy<Value = BTreeSet<String>> {
    btree_set(prop_oneof![9 => one_of(&VALUES), 1 => one_of(&[UNUSED])], 1..=2)
}

fn requirement() -> impl Strategy<Value = Requirement> {
    prop_oneof![
        3 => (key(), values()).prop_map(|(key, values)| Requirement::In(key, values.into())),
        2 => (key(), values()).prop_map(|(key, values)| Requirement::NotIn(key, values.into())),
        1 => key().prop_map(Requirement::Exists),
        1 => key().prop_map(Requirement::DoesNotExist),
    ]
}

/// A selector with up to two requirements; without any, it matches everything.
pub(super) fn selector() -> impl Strategy<Value = Selector> {
    btree_set(requirement(), 0..=2)
        .prop_map(|requirements| Selector { requirements: requirements.into() })
}

/// A selector of namespaces: by labels like those of pods, or by name.
pub(super) fn namespace_selector() -> impl Strategy<Value = Selector> {
    let by_name = btree_set(one_of(&NAMESPACES), 1..=2).prop_map(|names| Selector {
        requirements: [Requirement::In(NAMESPACE_NAME_LABEL.to_owned(), names.into())].into(),
    });
    prop_oneof![2 => selector(), 1 => by_name]
}
