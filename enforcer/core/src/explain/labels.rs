//! The changes to labels that make a selector match.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Labels, Name, Requirement, Selector, SharedSet};

/// The value that a label must have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// One of these values; never empty.
    OneOf(BTreeSet<String>),
    /// Any value, for example this one, except for those.
    Any {
        /// A value that fits.
        example: String,
        /// The values that do not.
        except: BTreeSet<String>,
    },
    /// The label must be absent.
    Absent,
}

/// A change of one label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelFix {
    /// The label's key.
    pub key: String,
    /// The present value.
    pub present: Option<String>,
    /// The required one.
    pub want: Want,
}

impl LabelFix {
    /// The value to set; `None`: remove the label.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        match &self.want {
            Want::OneOf(values) => values.first().map(String::as_str),
            Want::Any { example, .. } => Some(example),
            Want::Absent => None,
        }
    }
}

/// The requirements of a selector on one key.
#[derive(Debug, Default)]
struct Need<'a> {
    /// All must contain the value.
    within: Vec<&'a SharedSet<String>>,
    not: BTreeSet<String>,
    exists: bool,
    absent: bool,
}

/// The fewest changes of labels after which the selector matches them; empty if it does already.
/// `None`: no labels match it.
#[must_use]
pub fn fixes(selector: &Selector, labels: &Labels) -> Option<Vec<LabelFix>> {
    let mut needs: BTreeMap<&str, Need<'_>> = BTreeMap::new();
    for requirement in &selector.requirements {
        match requirement {
            Requirement::In(key, values) => needs.entry(key).or_default().within.push(values),
            Requirement::NotIn(key, values) => {
                needs.entry(key).or_default().not.extend(values.iter().cloned());
            }
            Requirement::Exists(key) => needs.entry(key).or_default().exists = true,
            Requirement::DoesNotExist(key) => needs.entry(key).or_default().absent = true,
        }
    }
    let mut fixes = Vec::new();
    for (key, need) in needs {
        let present = labels.get(key);
        if !need.holds(present) {
            let want = need.want(present.is_some())?;
            fixes.push(LabelFix {
                key: key.to_owned(),
                present: present.map(ToString::to_string),
                want,
            });
        }
    }
    Some(fixes)
}

impl Need<'_> {
    fn holds(&self, value: Option<&Name>) -> bool {
        match value {
            None => self.may_be_absent(),
            Some(value) => self.fits(value),
        }
    }

    fn may_be_absent(&self) -> bool {
        self.within.is_empty() && !self.exists
    }

    fn fits(&self, value: &str) -> bool {
        !self.absent
            && !self.not.contains(value)
            && self.within.iter().all(|values| values.contains(value))
    }

    /// The value that is required instead of one that does not fit; `None`: none fits.
    fn want(&self, present: bool) -> Option<Want> {
        if let Some(values) = self.within.first() {
            let fit: BTreeSet<String> =
                values.iter().filter(|value| self.fits(value)).cloned().collect();
            return (!fit.is_empty()).then_some(Want::OneOf(fit));
        }
        if present && self.may_be_absent() {
            return Some(Want::Absent);
        }
        if self.absent {
            return None;
        }
        let names =
            std::iter::once("any".to_owned()).chain((0_u32..).map(|it| format!("any-{it}")));
        let example = names.into_iter().find(|it| !self.not.contains(it))?;
        Some(Want::Any { example, except: self.not.clone() })
    }
}
