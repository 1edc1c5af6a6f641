//! `enforcer check`: the mistakes in manifests.

mod formats;

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};
use miette::{GraphicalReportHandler, GraphicalTheme};

use crate::check::{self, Findings, Summary};
use crate::lint;
use crate::source::manifests::Report;

/// The examples and exit codes of `check`.
pub const HELP: &str = "Examples:
  enforcer check ./policies
  enforcer check --strict policy.yaml
  helm template ./chart | enforcer check -
  kubectl get networkpolicies -A -o yaml | enforcer check -
  enforcer check --output sarif ./policies > check.sarif
  enforcer check --explain split-peer

Exit codes:
  0  no errors; with --strict, no warnings either
  1  errors: the API server would refuse something, or a file can't be read
  2  a path does not exist, or the arguments are wrong";

/// The arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Files or directories of Kubernetes manifests; `-` is standard input. In directories, files that end in
    /// .yaml, .yml or .json are read.
    #[arg(required_unless_present = "explain", value_name = "PATH")]
    pub manifests: Vec<PathBuf>,
    /// Fail on warnings, too.
    #[arg(long)]
    pub strict: bool,
    /// Output format; text has excerpts of the files on a terminal, json one object per line, sarif one
    /// document for code scanning, github the commands that annotate a pull request.
    #[arg(long, value_enum, default_value_t)]
    pub output: CheckFormat,
    /// Explain a lint instead, by the name in brackets after its findings.
    #[arg(long, value_name = "LINT", conflicts_with = "manifests")]
    pub explain: Option<String>,
}

/// The output format of `check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum CheckFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
    /// A SARIF 2.1.0 document.
    Sarif,
    /// Commands of GitHub Actions.
    Github,
}

/// Prints all findings on manifests, or the explanation of a lint. Returns whether the check succeeded.
///
/// # Errors
/// A path is missing, no lint has the name, or writing fails.
pub fn run(arguments: &CheckArgs, out: &mut impl io::Write) -> anyhow::Result<bool> {
    if let Some(name) = &arguments.explain {
        let names = || lint::NAMES.join(", ");
        let text = lint::explanation(name)
            .with_context(|| format!("no lint is called `{name}`; there are {}", names()))?;
        writeln!(out, "{name}\n\n{text}").context("writing the explanation")?;
        return Ok(true);
    }
    let findings = check::check(&arguments.manifests)?;
    match print(&findings, arguments.output, out) {
        // The reader, such as `head`, has seen enough.
        Err(error) if is_closed(&error) => {}
        printed => printed.context("writing the findings")?,
    }
    let Summary { errors, warnings, .. } = findings.summary;
    Ok(errors == 0 && !(arguments.strict && warnings > 0))
}

fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|it| it.kind() == io::ErrorKind::BrokenPipe)
}

fn print(findings: &Findings, format: CheckFormat, out: &mut impl io::Write) -> anyhow::Result<()> {
    match format {
        CheckFormat::Json => formats::json(findings, out),
        CheckFormat::Sarif => formats::sarif(findings, out),
        CheckFormat::Github => formats::github(findings, out),
        CheckFormat::Text => {
            let excerpts = io::stdout().is_terminal();
            for report in &findings.reports {
                if excerpts && !report.is_beyond_excerpts() {
                    excerpt(report, out)?;
                } else {
                    line(report, out)?;
                }
            }
            Ok(writeln!(out, "{}", sentence(&findings.summary))?)
        }
    }
}

fn excerpt(report: &Report, out: &mut impl io::Write) -> anyhow::Result<()> {
    let theme = match std::env::var_os("NO_COLOR") {
        Some(_) => GraphicalTheme::unicode_nocolor(),
        None => GraphicalTheme::unicode(),
    };
    let mut text = String::new();
    GraphicalReportHandler::new_themed(theme).render_report(&mut text, &report.excerpt())?;
    Ok(writeln!(out, "{text}")?)
}

/// A report on one line, and how to write it instead on further ones.
fn line(report: &Report, out: &mut impl io::Write) -> anyhow::Result<()> {
    writeln!(out, "{report}")?;
    for line in report.snippet.iter().flat_map(|it| it.lines()) {
        writeln!(out, "    {line}")?;
    }
    Ok(())
}

/// The summary as a sentence.
fn sentence(summary: &Summary) -> String {
    let count = |number: usize, what: &str, many: &str| match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {many}"),
    };
    let Summary { files, policies, errors, warnings, silenced, .. } = *summary;
    let mut text = format!(
        "{}, {}: {}, {}",
        count(files, "file", "files"),
        count(policies, "policy", "policies"),
        count(errors, "error", "errors"),
        count(warnings, "warning", "warnings"),
    );
    if silenced > 0 {
        text += &format!(", {silenced} silenced");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const WARNING: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {ingress: []}\n";

    fn checked(text: &str, output: CheckFormat, strict: bool) -> (bool, String) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        std::fs::write(&file, text).unwrap();
        let mut out = Vec::new();
        let arguments = CheckArgs { manifests: vec![file], strict, output, explain: None };
        let good = run(&arguments, &mut out).unwrap();
        let base = format!("{}/", dir.path().display());
        (good, String::from_utf8(out).unwrap().replace(&base, ""))
    }

    #[test]
    fn only_errors_make_the_check_fail_unless_it_is_strict() {
        assert!(checked(WARNING, CheckFormat::Text, false).0);
        assert!(!checked(WARNING, CheckFormat::Text, true).0);
        assert!(
            checked(&WARNING.replace("ingress: []", "podSelector: {}"), CheckFormat::Text, true).0
        );
        assert!(!checked("a: [", CheckFormat::Text, false).0);
        assert!(!checked("# nothing\n", CheckFormat::Text, false).0);
    }

    #[test]
    fn text_ends_with_a_summary() {
        insta::assert_snapshot!(checked(WARNING, CheckFormat::Text, false).1, @"
        a.yaml:4:1: warning: spec.podSelector: without `podSelector` the policy selects every pod of its namespace [missing-pod-selector]
            podSelector: {}
        1 file, 1 policy: 0 errors, 1 warning
        ");
    }

    #[test]
    fn json_is_one_object_per_line() {
        let (_, out) = checked(WARNING, CheckFormat::Json, false);
        insta::assert_snapshot!(out, @r#"
        {"version":1,"kind":"finding","file":"a.yaml","line":4,"column":1,"path":"spec.podSelector","severity":"warning","message":"without `podSelector` the policy selects every pod of its namespace","help":null,"lint":"missing-pod-selector","snippet":"podSelector: {}"}
        {"version":1,"kind":"summary","files":1,"objects":1,"policies":1,"errors":0,"warnings":1,"notices":0,"silenced":0}
        "#);
    }

    #[test]
    fn github_annotates_lines() {
        let (_, out) = checked(WARNING, CheckFormat::Github, false);
        insta::assert_snapshot!(out, @"
        ::warning file=a.yaml,line=4,col=1,title=missing-pod-selector::spec.podSelector: without `podSelector` the policy selects every pod of its namespace%0Awrite:%0ApodSelector: {}
        ");
    }

    #[test]
    fn sarif_has_rules_and_places() {
        let (_, out) = checked(WARNING, CheckFormat::Sarif, false);
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(json["version"], "2.1.0");
        let run = &json["runs"][0];
        assert_eq!(run["tool"]["driver"]["name"], "enforcer");
        let result = &run["results"][0];
        assert_eq!(result["ruleId"], "missing-pod-selector");
        let rule = &run["tool"]["driver"]["rules"]
            [usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
        assert_eq!(rule["id"], "missing-pod-selector");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["region"], serde_json::json!({"startLine": 4, "startColumn": 1}));
        assert_eq!(place["artifactLocation"]["uri"], "a.yaml");
        assert_eq!(result["level"], "warning");
    }

    #[test]
    fn a_reader_that_leaves_is_no_error() {
        struct Closed;
        impl io::Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        std::fs::write(file.path(), "a: [").unwrap();
        let manifests = vec![file.path().to_owned()];
        let output = CheckFormat::Text;
        let arguments = CheckArgs { manifests, strict: false, output, explain: None };
        assert!(!run(&arguments, &mut Closed).unwrap());
    }

    #[test]
    fn lints_are_explained() {
        let arguments = |name: &str| CheckArgs {
            manifests: Vec::new(),
            strict: false,
            output: CheckFormat::Text,
            explain: Some(name.to_owned()),
        };
        let mut out = Vec::new();
        assert!(run(&arguments("split-peer"), &mut out).unwrap());
        assert!(
            String::from_utf8(out).unwrap().starts_with("split-peer\n\nA `namespaceSelector` and")
        );
        let error = run(&arguments("split"), &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("there are misplaced-peers, "), "{error}");
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let arguments = CheckArgs {
            manifests: vec!["/does/not/exist".into()],
            strict: false,
            output: CheckFormat::Text,
            explain: None,
        };
        assert!(run(&arguments, &mut Vec::new()).is_err());
    }
}
