//! Label selectors (semantics R3).

use super::labels::Labels;
use super::shared_set::SharedSet;

/// One requirement of a selector. `matchLabels` entries are [`Requirement::In`] with one value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Requirement {
    /// The key is present and its value is one of these.
    In(String, SharedSet<String>),
    /// The key is absent, or its value is none of these.
    NotIn(String, SharedSet<String>),
    /// The key is present.
    Exists(String),
    /// The key is absent.
    DoesNotExist(String),
}

/// A label selector. Without requirements it matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Selector {
    /// All must hold.
    pub requirements: SharedSet<Requirement>,
}

impl Requirement {
    /// Whether labels satisfy the requirement.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        match self {
            Self::In(key, values) => {
                labels.get(key).is_some_and(|value| values.contains(value.as_str()))
            }
            Self::NotIn(key, values) => {
                labels.get(key).is_none_or(|value| !values.contains(value.as_str()))
            }
            Self::Exists(key) => labels.contains_key(key),
            Self::DoesNotExist(key) => !labels.contains_key(key),
        }
    }
}

impl Selector {
    /// Whether labels satisfy every requirement.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(labels))
    }
}
