//! Kubernetes objects → model, with every problem named by its field path.
//!
//! Pure and total: every object yields either a value or at least one error, and all problems of
//! an object are found at once.

mod block;
mod field;
mod labels;
mod namespace;
mod pod;
mod policy;
mod port;
mod problem;
mod selector;
mod service;
mod workload;

pub use namespace::namespace;
pub use pod::pod;
pub use policy::{closed_policy, policy};
pub use problem::Problem;
pub use selector::selector;
pub use service::service;
pub use workload::pod_template;

use super::remark::Severity;

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted<T> {
    /// The object as the model sees it; `None` exactly if some problem is an error.
    pub value: Option<T>,
    /// Everything found wrong, in the order of the fields' checks.
    pub problems: Vec<Problem>,
}

impl<T> Converted<T> {
    /// Withholds the value if there is an error: half an object must never take effect.
    fn new(value: T, problems: Vec<Problem>) -> Self {
        let failed = problems.iter().any(|problem| problem.severity == Severity::Error);
        Self { value: (!failed).then_some(value), problems }
    }

    /// Makes something else of the value.
    #[must_use]
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Converted<U> {
        Converted { value: self.value.map(make), problems: self.problems }
    }

    /// Puts `prefix.` before every problem's path: for objects embedded in others.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        for problem in &mut self.problems {
            problem.path = format!("{prefix}.{}", problem.path);
        }
        self
    }
}
