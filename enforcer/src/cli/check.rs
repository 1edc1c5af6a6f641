//! `enforcer check`: the mistakes in manifests.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use anyhow::Context;
use miette::{GraphicalReportHandler, GraphicalTheme};

use super::format::Format;
use crate::source::Severity;
use crate::source::manifests::{Manifests, Report};

/// Prints all findings on manifests. Returns whether there are no errors.
///
/// # Errors
/// If a folder is missing, or if writing fails.
pub fn check(dirs: &[PathBuf], format: Format, out: &mut impl io::Write) -> anyhow::Result<bool> {
    let update = Manifests::new(dirs.to_vec())?.rescan();
    for report in &update.reports {
        print(report, format, out).context("writing the reports")?;
    }
    Ok(update.reports.iter().all(|it| it.severity != Severity::Error))
}

fn print(report: &Report, format: Format, out: &mut impl io::Write) -> anyhow::Result<()> {
    match format {
        Format::Json => writeln!(out, "{}", serde_json::to_string(report)?)?,
        Format::Text if io::stdout().is_terminal() => {
            let theme = match std::env::var_os("NO_COLOR") {
                Some(_) => GraphicalTheme::unicode_nocolor(),
                None => GraphicalTheme::unicode(),
            };
            let mut text = String::new();
            GraphicalReportHandler::new_themed(theme)
                .render_report(&mut text, &report.excerpt())?;
            writeln!(out, "{text}")?;
        }
        Format::Text => writeln!(out, "{report}")?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str, format: Format) -> (bool, String) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        std::fs::write(&file, text).unwrap();
        let mut out = Vec::new();
        let good = check(&[file], format, &mut out).unwrap();
        (good, String::from_utf8(out).unwrap())
    }

    #[test]
    fn only_errors_make_the_check_fail() {
        assert_eq!(checked("# nothing\n", Format::Json), (true, String::new()));
        let (good, out) = checked("kind: Secret\napiVersion: v1\n", Format::Json);
        assert!(good && out.contains("ignored: Secret"), "{out}");
        let (good, out) = checked("a: [", Format::Json);
        assert!(!good);
        for line in out.lines() {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(json["line"].is_u64() && json["severity"].is_string());
        }
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        assert!(check(&["/does/not/exist".into()], Format::Text, &mut Vec::new()).is_err());
    }
}
