//! The results of all machines, as a table or as JSON.

use std::time::Duration;

use anyhow::Result;
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde::Serialize;

use super::console::{Report, Verified};
use crate::test::Counts;

/// The result of one kernel.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// Its name on the command line.
    series: String,
    /// `uname -r`, if it booted.
    kernel: Option<String>,
    boots: bool,
    loads: bool,
    verified: Vec<Verified>,
    hook: Option<String>,
    passed: u64,
    failed: u64,
    skipped: u64,
    errors: Vec<String>,
    success: bool,
    /// The machine's run time.
    seconds: f64,
}

impl Outcome {
    pub(super) fn new(series: String, report: &Report, took: Duration) -> Self {
        let Counts { passed, failed, skipped } = report.counts();
        Self {
            series,
            kernel: report.release.clone(),
            boots: report.release.is_some(),
            loads: report.loads,
            verified: report.verified.clone(),
            hook: report.hook.clone(),
            passed,
            failed,
            skipped,
            errors: report.errors.clone(),
            success: report.is_success(),
            seconds: (took.as_secs_f64() * 10.0).round() / 10.0,
        }
    }

    /// For a kernel that couldn't be booted.
    pub(super) fn failed(series: String, error: &anyhow::Error) -> Self {
        let report = Report { errors: vec![format!("{error:#}")], ..Report::default() };
        Self::new(series, &report, Duration::ZERO)
    }

    pub(super) fn is_success(&self) -> bool {
        self.success
    }

    pub(super) fn counts(&self) -> Counts {
        Counts { passed: self.passed, failed: self.failed, skipped: self.skipped }
    }

    /// The program that is most work for the verifier.
    fn instructions(&self) -> String {
        let reported = self.verified.iter().filter_map(|it| Some((it.instructions?, &it.program)));
        match reported.max() {
            Some((instructions, program)) => format!("{program} {instructions}"),
            None => "not reported".to_owned(),
        }
    }

    fn row(&self) -> Vec<String> {
        let yes = |it: bool| if it { "yes" } else { "NO" }.to_owned();
        let hook = match self.hook.as_deref() {
            Some("tcx") => "TCX",
            other => other.unwrap_or("-"),
        };
        vec![
            self.kernel.clone().unwrap_or_else(|| self.series.clone()),
            yes(self.boots),
            yes(self.loads),
            self.instructions(),
            hook.to_owned(),
            format!("{} / {} / {}", self.passed, self.failed, self.skipped),
            format!("{:.1}", self.seconds),
            if self.success { "ok" } else { "FAILED" }.to_owned(),
        ]
    }
}

/// For people.
pub(super) fn table(outcomes: &[Outcome]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header([
        "kernel",
        "boots",
        "loads",
        "most verified",
        "hook",
        "passed / failed / skipped",
        "seconds",
        "",
    ]);
    for outcome in outcomes {
        table.add_row(outcome.row());
    }
    table.to_string()
}

/// For scripts.
pub(super) fn json(outcomes: &[Outcome]) -> Result<String> {
    Ok(serde_json::to_string_pretty(outcomes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let console = [
            "@@vm kernel 6.12.1-x",
            "@@vm loaded",
            "@@vm verified from_pod 100",
            "@@vm verified to_pod 200",
            "@@vm hook tcx",
        ];
        Report::read(&console.map(str::to_owned))
    }

    #[test]
    fn both_outputs_have_the_results() {
        let outcome = Outcome::new("6.12".to_owned(), &report(), Duration::from_millis(12_345));
        assert!(!outcome.is_success(), "no tests, no end");
        let text = table(std::slice::from_ref(&outcome));
        for word in ["6.12.1-x", "to_pod 200", "TCX", "0 / 0 / 0", "12.3", "FAILED"] {
            assert!(text.contains(word), "{word} in {text}");
        }
        let value: serde_json::Value = serde_json::from_str(&json(&[outcome]).unwrap()).unwrap();
        assert_eq!(value[0]["kernel"], "6.12.1-x");
        assert_eq!(value[0]["verified"][1]["instructions"], 200);
        assert_eq!(value[0]["success"], false);
    }

    #[test]
    fn a_kernel_that_could_not_be_fetched_is_in_the_table() {
        let outcome = Outcome::failed("5.10".to_owned(), &anyhow::anyhow!("no network"));
        let text = table(std::slice::from_ref(&outcome));
        assert!(text.contains("5.10") && text.contains("NO"), "{text}");
        assert!(json(&[outcome]).unwrap().contains("no network"));
    }
}
