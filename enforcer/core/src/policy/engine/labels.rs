//! Which selectors match which label sets: each pair is evaluated once.

use std::collections::HashMap;
use std::sync::Arc;

use super::slab::{Column, Number, Slab};
use crate::model::{Labels, Requirement, Selector, SharedSet};

/// Numbers filed under a label's key and value.
#[derive(Debug, Default)]
struct Filed(HashMap<String, HashMap<String, Vec<Number>>>);

impl Filed {
    fn add(&mut self, key: &str, value: &str, number: Number) {
        if !self.0.contains_key(key) {
            self.0.insert(key.to_owned(), HashMap::new());
        }
        let Some(values) = self.0.get_mut(key) else { return };
        match values.get_mut(value) {
            Some(numbers) => numbers.push(number),
            None => drop(values.insert(value.to_owned(), vec![number])),
        }
    }

    fn remove(&mut self, key: &str, value: &str, number: Number) {
        let Some(values) = self.0.get_mut(key) else { return };
        let Some(numbers) = values.get_mut(value) else { return };
        numbers.retain(|it| *it != number);
        if numbers.is_empty() {
            values.remove(value);
        }
        if values.is_empty() {
            self.0.remove(key);
        }
    }

    fn get(&self, key: &str, value: &str) -> &[Number] {
        self.0.get(key).and_then(|values| values.get(value)).map_or(&[], Vec::as_slice)
    }
}

/// Selectors and label sets, each once, and the pairs that match.
#[derive(Debug, Default)]
pub(super) struct LabelIndex {
    selectors: Slab<Selector>,
    sets: Slab<Labels>,
    /// By label set: the selectors that match it, sorted.
    matching: Column<Vec<Number>>,
    /// By selector: the label sets that it matches.
    matched: Column<Vec<Number>>,
    /// Selectors by the values of the first requirement that needs one of some values.
    filed: Filed,
    /// The other selectors.
    unfiled: Vec<Number>,
    /// Label sets by their labels.
    labels: Filed,
}

impl LabelIndex {
    /// The number of a label set, with one more use.
    pub(super) fn take_set(&mut self, labels: &Labels) -> Number {
        if let Some(number) = self.sets.number(labels) {
            self.sets.retain(number);
            return number;
        }
        let number = self.sets.take(labels.clone());
        let filed = labels.iter().flat_map(|(key, value)| self.filed.get(key, value));
        let mut matching: Vec<Number> = filed
            .chain(&self.unfiled)
            .copied()
            .filter(|it| self.selectors.get(*it).is_some_and(|it| it.matches(labels)))
            .collect();
        matching.sort_unstable();
        for &selector in &matching {
            self.matched.at(selector).push(number);
        }
        *self.matching.at(number) = matching;
        for (key, value) in labels.iter() {
            self.labels.add(key, value, number);
        }
        number
    }

    pub(super) fn release_set(&mut self, set: Number) {
        self.sets.release(set);
    }

    /// The number of a selector, with one more use.
    pub(super) fn take_selector(&mut self, selector: &Selector) -> Number {
        if let Some(number) = self.selectors.number(selector) {
            self.selectors.retain(number);
            return number;
        }
        let number = self.selectors.take(selector.clone());
        let matched: Vec<Number> = match required(selector) {
            Some((key, values)) => {
                let sets = values.iter().flat_map(|value| self.labels.get(key, value)).copied();
                sets.filter(|it| self.sets.get(*it).is_some_and(|it| selector.matches(it)))
                    .collect()
            }
            None => {
                let sets = self.sets.iter().filter(|(_, labels)| selector.matches(labels));
                sets.map(|(number, _)| number).collect()
            }
        };
        for &set in &matched {
            let matching = self.matching.at(set);
            let at = matching.partition_point(|it| *it < number);
            matching.insert(at, number);
        }
        *self.matched.at(number) = matched;
        match required(selector) {
            Some((key, values)) => values.iter().for_each(|it| self.filed.add(key, it, number)),
            None => self.unfiled.push(number),
        }
        number
    }

    pub(super) fn release_selector(&mut self, selector: Number) {
        self.selectors.release(selector);
    }

    /// The selectors that match a label set, sorted.
    pub(super) fn matching(&self, set: Number) -> &[Number] {
        self.matching.get(set).map_or(&[], Vec::as_slice)
    }

    /// The label sets that a selector matches.
    pub(super) fn matched(&self, selector: Number) -> &[Number] {
        self.matched.get(selector).map_or(&[], Vec::as_slice)
    }

    /// Forgets selectors and label sets without uses.
    pub(super) fn collect(&mut self) {
        for (number, selector) in self.selectors.collect().gone {
            for set in self.matched.take(number) {
                self.matching.at(set).retain(|it| *it != number);
            }
            self.unfile(number, &selector);
        }
        for (number, labels) in self.sets.collect().gone {
            for selector in self.matching.take(number) {
                self.matched.at(selector).retain(|it| *it != number);
            }
            for (key, value) in labels.iter() {
                self.labels.remove(key, value, number);
            }
        }
    }

    fn unfile(&mut self, number: Number, selector: &Arc<Selector>) {
        match required(selector) {
            Some((key, values)) => values.iter().for_each(|it| self.filed.remove(key, it, number)),
            None => self.unfiled.retain(|it| *it != number),
        }
    }
}

/// The first requirement that needs one of some values.
pub(super) fn required(selector: &Selector) -> Option<(&String, &SharedSet<String>)> {
    selector.requirements.iter().find_map(|requirement| match requirement {
        Requirement::In(key, values) => Some((key, values)),
        _ => None,
    })
}
