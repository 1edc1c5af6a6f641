//! What every source sends to the agent's loop.

use std::time::Instant;

use super::manifests::{self, Severity};
use enforcer_core::model::{Change, PolicyId};

/// What a source has learned since the last time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// To the cluster; apply them in this order.
    pub changes: Vec<Change>,
    /// New remarks.
    pub remarks: Vec<Remarks>,
    /// Whether the source has shown everything at least once, this update included. Before that
    /// nothing may be enforced (semantics C4).
    pub complete: bool,
    /// When the first news of it came, before any waiting for more; `None`: at no known time.
    pub heard: Option<Instant>,
}

/// All that there is to say at present about one file or object; replaces what was said of it
/// before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remarks {
    /// The file, or kind, namespace and name of the object.
    pub about: String,
    /// The policy, where it is about one that the API server knows.
    pub policy: Option<PolicyId>,
    /// What there is to say.
    pub list: Vec<Remark>,
}

/// Something to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// How bad it is.
    pub severity: Severity,
    /// One sentence, with the place and what to do about it.
    pub text: String,
}

impl From<manifests::Update> for Update {
    /// The first update of manifests has all of them.
    fn from(update: manifests::Update) -> Self {
        let mut remarks: Vec<Remarks> = Vec::new();
        for report in update.reports {
            let (severity, text) = (report.severity, report.to_string());
            let about = report.file.display().to_string();
            let remark = Remark { severity, text };
            match remarks.iter_mut().find(|it| it.about == about) {
                Some(known) => known.list.push(remark),
                None => remarks.push(Remarks { about, policy: None, list: vec![remark] }),
            }
        }
        Self { changes: update.changes, remarks, complete: true, heard: update.heard }
    }
}
