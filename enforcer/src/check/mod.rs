//! The judgement on manifests: mistakes, lints, and what is missing.
//!
//! Here belongs which files are read, and which findings they have. Output belongs to [`crate::cli`],
//! what a mistake is to [`crate::source::manifests`] and [`crate::lint`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::lint::{self, Estate, Silence};
use crate::source::Severity;
use crate::source::manifests::{self, Declared, Input, Inspection, ManifestError, Report};

/// The findings on some files.
#[derive(Debug, Default)]
pub struct Findings {
    /// By file and line.
    pub reports: Vec<Report>,
    /// What they are about.
    pub summary: Summary,
}

/// What was checked, and how many findings there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// Files that were read, standard input included.
    pub files: usize,
    /// Objects in them, of any kind.
    pub objects: usize,
    /// Network policies among the objects.
    pub policies: usize,
    /// Findings that the API server refuses, or that keep files from being read.
    pub errors: usize,
    /// Findings on what is accepted, but probably not meant.
    pub warnings: usize,
    /// Further remarks.
    pub notices: usize,
    /// Findings of lints that comments silence.
    pub silenced: usize,
}

/// Checks the manifests at and below some paths; `-` is standard input.
///
/// # Errors
/// A path is missing.
pub fn check(paths: &[PathBuf]) -> Result<Findings, ManifestError> {
    let inputs = Input::open_all(paths.to_vec())?;
    let (inspections, mut reports) = read(&inputs);
    let (cluster, conflicts) = manifests::cluster(&inspections);
    let declared: Vec<Declared<'_>> = inspections.iter().flat_map(Inspection::declared).collect();
    reports.extend(inspections.iter().flat_map(Inspection::reports).cloned());
    let estate = Estate::new(&declared, &cluster);
    let silenced = lints(&inspections, &declared, &estate, conflicts, &mut reports);
    let mut summary = Summary { files: inspections.len(), silenced, ..Summary::default() };
    summary.objects = declared.len();
    summary.policies = declared.iter().filter(|it| it.is_policy()).count();
    reports.extend(nothing(&inputs, &summary, &reports));
    reports.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    let reports = one_template(reports);
    let count = |severity| reports.iter().filter(|it| it.severity == severity).count();
    summary.errors = count(Severity::Error);
    summary.warnings = count(Severity::Warning);
    summary.notices = count(Severity::Notice);
    Ok(Findings { reports, summary })
}

/// Reads the files; also returns the reports on what can't be read.
fn read(inputs: &[Input]) -> (Vec<Inspection>, Vec<Report>) {
    let mut inspections = Vec::new();
    let mut searched = Vec::new();
    for input in inputs {
        match input {
            Input::Path(path) => searched.push(path.clone()),
            Input::Text { name, bytes } => inspections.push(Inspection::new(name, bytes)),
        }
    }
    let found = manifests::search(&searched);
    for path in found.files.iter().filter(|it| !belongs_to_chart(it) || searched.contains(it)) {
        inspections.push(match std::fs::read(path) {
            Ok(bytes) => Inspection::new(path, &bytes),
            Err(error) => Inspection::unreadable(path, &error),
        });
    }
    (inspections, found.reports)
}

/// Whether a file belongs to a Helm chart, but is no manifest: `Chart.yaml`, the values beside it, and
/// what is below `files`, which templates include.
fn belongs_to_chart(path: &Path) -> bool {
    let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
    let beside = path.parent().is_some_and(|it| it.join("Chart.yaml").is_file());
    let is_content = |it: &Path| {
        it.file_name().is_some_and(|it| it == "files")
            && it.parent().is_some_and(|it| it.join("Chart.yaml").is_file())
    };
    (beside && (name == "Chart.yaml" || name.starts_with("values")))
        || path.ancestors().skip(1).any(is_content)
}

/// Adds the findings of lints, without those that comments silence. Returns their number.
fn lints(
    inspections: &[Inspection],
    declared: &[Declared<'_>],
    estate: &Estate<'_>,
    conflicts: Vec<Report>,
    reports: &mut Vec<Report>,
) -> usize {
    let policies: Vec<&Declared<'_>> = declared.iter().filter(|it| it.is_policy()).collect();
    let mut found = conflicts;
    for it in &mut found {
        it.lint = Some(lint::DUPLICATE);
    }
    let mut explained = BTreeSet::new();
    for finding in lint::run(estate) {
        let Some(policy) = policies.get(finding.subject) else { continue };
        let at = |path: &str| {
            let is_error = finding.severity == Severity::Error;
            policy.report(path, is_error, finding.severity, &finding.message)
        };
        let key = |it: Report| (it.file, it.line, it.path);
        let mut report = at(&finding.path);
        let covered = finding.covers.iter().chain(std::iter::once(&finding.path));
        if finding.severity == Severity::Error {
            explained.extend(covered.map(|it| key(at(it))));
        }
        report.lint = Some(finding.lint);
        report.snippet = finding.snippet;
        found.push(report);
    }
    // The lint explains what the plain error only names.
    reports.retain(|it| !explained.contains(&(it.file.clone(), it.line, it.path.clone())));
    let mut silenced = 0;
    for inspection in inspections {
        let silence = Silence::new(inspection.lines());
        for (line, name) in lint::unknown_names(inspection.lines()) {
            reports.push(inspection.warning(line, &format!("no lint is called `{name}`")));
        }
        let (mine, others) = found.into_iter().partition(|it: &Report| inspection.is_about(it));
        found = others;
        for report in mine {
            let is_silent = |name| silence.covers(name, report.line);
            if report.severity != Severity::Error && report.lint.is_some_and(is_silent) {
                silenced += 1;
            } else {
                reports.push(report);
            }
        }
    }
    silenced
}

/// The report on an input without objects, which `kubectl` refuses, or without policies.
fn nothing(inputs: &[Input], summary: &Summary, reports: &[Report]) -> Option<Report> {
    let about = inputs.first()?.name();
    if reports.iter().any(|it| it.severity == Severity::Error) {
        return None;
    }
    let report = |severity, message| Some(manifests::remark(about, severity, message));
    match (summary.objects, summary.policies) {
        (0, _) => report(Severity::Error, "no objects in the given files"),
        (_, 0) => report(Severity::Warning, "no NetworkPolicy in the given files"),
        _ => None,
    }
}

/// Of the reports on templates, only the first one, with their number.
fn one_template(reports: Vec<Report>) -> Vec<Report> {
    let count = reports.iter().filter(|it| it.is_about_template()).count();
    let mut first = true;
    let keep = |mut report: Report| {
        if !report.is_about_template() {
            return Some(report);
        }
        if !std::mem::take(&mut first) {
            return None;
        }
        if count > 1 {
            report.message =
                format!("{}; {} further files are templates, too", report.message, count - 1);
        }
        Some(report)
    };
    reports.into_iter().filter_map(keep).collect()
}

#[cfg(test)]
mod tests;
