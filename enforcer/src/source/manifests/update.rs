//! What a scan of the manifests changed.

use std::time::Instant;

use super::report::Report;
use crate::source::remark::{Remark, Remarks};
use crate::source::update;
use enforcer_core::model::Change;

/// The differences to the scan before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// Changes to the cluster; apply them in this order.
    pub changes: Vec<Change>,
    /// New remarks on the files.
    pub reports: Vec<Report>,
    /// When the first of the file events arrived that led to it; `None` if none did.
    pub received_at: Option<Instant>,
}

impl Update {
    /// Whether nothing is different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.reports.is_empty()
    }
}

impl From<Update> for update::Update {
    /// Complete: the first update of manifests has all of them.
    fn from(Update { changes, reports, received_at }: Update) -> Self {
        let mut remarks: Vec<Remarks> = Vec::new();
        for report in reports {
            let about = report.file.display().to_string();
            let remark = Remark { severity: report.severity, text: report.to_string() };
            match remarks.iter_mut().find(|it| it.about == about) {
                Some(known) => known.list.push(remark),
                None => remarks.push(Remarks { about, policy: None, list: vec![remark] }),
            }
        }
        Self { changes, remarks, complete: true, concerns_node: true, received_at }
    }
}
