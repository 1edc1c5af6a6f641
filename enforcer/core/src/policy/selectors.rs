//! Matches many selectors against many label sets without testing every pair.

use std::collections::HashMap;

use crate::interner::Interner;
use crate::model::{Labels, Requirement, Selector};

/// A selector in a [`SelectorTable`].
pub(super) type SelectorId = usize;

/// Distinct selectors, each once.
pub(super) type SelectorTable<'a> = Interner<&'a Selector>;

/// The part of labels that selectors distinguish: for each key that some selector names, the
/// number of its value if some selector names that, too. Labels of one class match the same
/// selectors.
pub(super) type LabelClass = Vec<(usize, Option<usize>)>;

#[derive(Debug, Default)]
struct Key<'a> {
    number: usize,
    /// The values that selectors name, with their numbers and the selectors filed under them.
    values: HashMap<&'a str, (usize, Vec<SelectorId>)>,
}

/// The selectors of a [`SelectorTable`], by the values that they require.
#[derive(Debug)]
pub(super) struct SelectorIndex<'a> {
    selectors: Vec<&'a Selector>,
    keys: HashMap<&'a str, Key<'a>>,
    /// Selectors that do not require any value.
    unfiled: Vec<SelectorId>,
}

impl<'a> SelectorIndex<'a> {
    pub(super) fn new(table: SelectorTable<'a>) -> Self {
        let selectors = table.into_values();
        let mut index = Self { selectors, keys: HashMap::new(), unfiled: Vec::new() };
        for id in 0..index.selectors.len() {
            index.add(id);
        }
        index
    }

    /// Adds the keys and values of the selector, and files it under the values of one `In`.
    fn add(&mut self, id: SelectorId) {
        let selector = self.selectors[id];
        let mut filed = false;
        for requirement in &selector.requirements {
            let (key, values) = match requirement {
                Requirement::In(key, values) | Requirement::NotIn(key, values) => {
                    (key, Some(values))
                }
                Requirement::Exists(key) | Requirement::DoesNotExist(key) => (key, None),
            };
            let number = self.keys.len();
            let key = self.keys.entry(key).or_insert_with(|| Key { number, ..Key::default() });
            let file_here = !filed && matches!(requirement, Requirement::In(..));
            filed |= file_here;
            for value in values.into_iter().flatten() {
                let number = key.values.len();
                let (_, here) = key.values.entry(value).or_insert_with(|| (number, Vec::new()));
                if file_here {
                    here.push(id);
                }
            }
        }
        if !filed {
            self.unfiled.push(id);
        }
    }

    /// The class of these labels.
    pub(super) fn class(&self, labels: &Labels) -> LabelClass {
        labels
            .iter()
            .filter_map(|(key, value)| {
                let key = self.keys.get(key.as_str())?;
                Some((key.number, key.values.get(value.as_str()).map(|(number, _)| *number)))
            })
            .collect()
    }

    /// The selectors that match these labels, in order.
    pub(super) fn matching(&self, labels: &Labels) -> Vec<SelectorId> {
        let filed = labels.iter().filter_map(|(key, value)| {
            let (_, here) = self.keys.get(key.as_str())?.values.get(value.as_str())?;
            Some(here)
        });
        let mut matching: Vec<SelectorId> = filed
            .flatten()
            .chain(&self.unfiled)
            .copied()
            .filter(|id| self.selectors[*id].matches(labels))
            .collect();
        matching.sort_unstable();
        matching
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SharedSet;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn values(values: &[&str]) -> SharedSet<String> {
        values.iter().map(|it| (*it).to_owned()).collect()
    }

    fn selectors() -> Vec<Selector> {
        let app = || "app".to_owned();
        let tier = || "tier".to_owned();
        [
            vec![],
            vec![Requirement::In(app(), values(&["a", "b"]))],
            vec![
                Requirement::In(app(), values(&["a"])),
                Requirement::NotIn(tier(), values(&["x"])),
            ],
            vec![Requirement::NotIn(app(), values(&["a"]))],
            vec![Requirement::Exists(tier())],
            vec![Requirement::DoesNotExist(tier())],
            vec![Requirement::In(app(), values(&[]))],
            vec![Requirement::In(app(), values(&["a"])), Requirement::In(tier(), values(&["y"]))],
            vec![Requirement::In(app(), values(&["a"])), Requirement::In(app(), values(&["b"]))],
        ]
        .into_iter()
        .map(|requirements| Selector { requirements: requirements.into_iter().collect() })
        .collect()
    }

    #[test]
    fn r3_the_index_finds_exactly_the_selectors_that_match() {
        let selectors = selectors();
        let mut table = SelectorTable::default();
        let ids: Vec<_> = selectors.iter().map(|it| table.intern(it)).collect();
        assert_eq!(ids, (0..selectors.len()).collect::<Vec<_>>());
        let index = SelectorIndex::new(table);
        for app in [None, Some("a"), Some("b"), Some("c")] {
            for tier in [None, Some("x"), Some("y"), Some("z")] {
                let pairs: Vec<_> = app
                    .map(|it| ("app", it))
                    .into_iter()
                    .chain(tier.map(|it| ("tier", it)))
                    .chain([("other", "o")])
                    .collect();
                let labels = labels(&pairs);
                let expected: Vec<_> =
                    ids.iter().copied().filter(|id| selectors[*id].matches(&labels)).collect();
                assert_eq!(index.matching(&labels), expected, "{pairs:?}");
            }
        }
    }

    #[test]
    fn labels_that_no_selector_distinguishes_are_one_class() {
        let selectors = selectors();
        let mut table = SelectorTable::default();
        for selector in &selectors {
            table.intern(selector);
        }
        let index = SelectorIndex::new(table);
        let class = |pairs: &[_]| index.class(&labels(pairs));
        assert_eq!(class(&[("app", "c"), ("pod-name", "1")]), class(&[("app", "d")]));
        assert_ne!(class(&[("app", "c")]), class(&[]));
        assert_ne!(class(&[("app", "a")]), class(&[("app", "b")]));
        assert_ne!(class(&[("app", "a")]), class(&[("tier", "x")]));
    }
}
