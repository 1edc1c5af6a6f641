//! The problems of the source's files or objects.

use std::collections::BTreeMap;

use crate::source::{Remarks, Severity};
use enforcer_core::model::PolicyId;

/// The present problems of the source's files or objects.
#[derive(Debug, Default)]
pub(super) struct Problems(BTreeMap<String, Problem>);

#[derive(Debug)]
struct Problem {
    policy: Option<PolicyId>,
    errors: Vec<String>,
    warnings: Vec<String>,
}

impl Problems {
    /// Logs new remarks, and keeps errors and warnings.
    pub(super) fn take(&mut self, remarks: Vec<Remarks>) {
        for Remarks { about, policy, list } in remarks {
            let mut problem = Problem { policy, errors: Vec::new(), warnings: Vec::new() };
            for remark in list {
                match remark.severity {
                    Severity::Error => {
                        tracing::error!("{}", remark.text);
                        problem.errors.push(remark.text);
                    }
                    Severity::Warning => {
                        tracing::warn!("{}", remark.text);
                        problem.warnings.push(remark.text);
                    }
                    Severity::Notice => tracing::info!("{}", remark.text),
                }
            }
            if problem.errors.is_empty() && problem.warnings.is_empty() {
                self.0.remove(&about);
            } else {
                self.0.insert(about, problem);
            }
        }
    }

    /// All errors, one sentence each.
    pub(super) fn errors(&self) -> Vec<String> {
        self.0.values().flat_map(|it| &it.errors).cloned().collect()
    }

    /// The errors and warnings of each policy of the API server, on one line.
    pub(super) fn of_policies(&self) -> impl Iterator<Item = (&PolicyId, String)> {
        self.0.values().filter_map(|it| {
            let all: Vec<&str> = it.errors.iter().chain(&it.warnings).map(String::as_str).collect();
            Some((it.policy.as_ref()?, all.join("; ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Remark;

    #[test]
    fn later_remarks_replace_earlier_ones() {
        let remark = |severity, text: &str| Remark { severity, text: text.to_owned() };
        let policy = PolicyId::new("a", "p");
        let remarks = |policy: Option<&PolicyId>, list: Vec<Remark>| {
            vec![Remarks { about: "it".to_owned(), policy: policy.cloned(), list }]
        };
        let mut problems = Problems::default();
        let list = vec![remark(Severity::Warning, "odd"), remark(Severity::Error, "bad")];
        problems.take(remarks(Some(&policy), list));
        assert_eq!(problems.errors(), ["bad"]);
        let reported: Vec<_> = problems.of_policies().collect();
        assert_eq!(reported, [(&policy, "bad; odd".to_owned())]);
        problems.take(remarks(None, vec![remark(Severity::Error, "worse")]));
        assert_eq!((problems.errors(), problems.of_policies().count()), (vec!["worse".into()], 0));
        problems.take(remarks(None, vec![remark(Severity::Notice, "fixed")]));
        assert!(problems.errors().is_empty());
    }
}
