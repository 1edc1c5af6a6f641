//! Kubernetes objects → model, with every problem named by its field path.
//!
//! Pure and total: every object yields either a value or at least one error, and all problems of
//! an object are reported at once. Reading objects from files or a server does not belong here.

mod bad_entries;
mod block;
mod closed;
mod field;
mod labels;
mod metadata;
mod namespace;
mod pod;
mod policy;
mod port;
mod problem;
mod selector;
mod service;
mod unknown;
mod workload;

pub use bad_entries::without_bad_entries;
pub use closed::closed_policy_of;
pub use metadata::{Naming, metadata};
pub use namespace::{namespace, readable_namespace};
pub use pod::{MIRROR, pod, readable_pod};
pub use policy::{closed_policy, policy};
pub use problem::Problem;
pub use selector::selector;
pub use service::{readable_service, service};
pub use unknown::without_unknown;
pub use workload::pod_template;

use super::remark::Severity;

/// The result of a conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted<T> {
    /// The object in the model; `None` exactly if some problem is an error.
    pub value: Option<T>,
    /// All problems, in the order in which the fields are checked.
    pub problems: Vec<Problem>,
}

impl<T> Converted<T> {
    /// Withholds the value if there is an error: half an object must never take effect.
    fn new(value: T, problems: Vec<Problem>) -> Self {
        let failed = problems.iter().any(|problem| problem.severity == Severity::Error);
        Self { value: (!failed).then_some(value), problems }
    }

    /// Maps the value.
    #[must_use]
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Converted<U> {
        Converted { value: self.value.map(make), problems: self.problems }
    }

    /// The same for an object that the API server does not have yet: it would refuse it for each problem
    /// that it only tolerates in older objects.
    #[must_use]
    pub fn as_new(mut self) -> Self {
        for problem in &mut self.problems {
            if problem.only_old {
                problem.severity = Severity::Error;
                self.value = None;
            }
        }
        self
    }

    /// Puts `prefix.` before the path of every problem, for objects within others.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        for problem in &mut self.problems {
            problem.path = format!("{prefix}.{}", problem.path);
        }
        self
    }
}

#[cfg(test)]
impl<T> Converted<T> {
    /// The value, which has no problems.
    fn good(self) -> T {
        assert_eq!(self.problems, []);
        self.value.unwrap()
    }

    /// The paths of the problems.
    fn paths(&self) -> Vec<&str> {
        self.problems.iter().map(|it| it.path.as_str()).collect()
    }
}
