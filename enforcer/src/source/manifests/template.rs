//! Templates of Helm, which are no manifests before they are rendered.

use super::report::{Report, TEMPLATE};
use super::text::Text;
use crate::source::remark::Severity;

/// What begins an action of a template, after `{{` and blanks.
const ACTIONS: [&str; 14] = [
    ".",
    "$",
    "if ",
    "else",
    "end",
    "range ",
    "with ",
    "define ",
    "include ",
    "template ",
    "toYaml ",
    "tpl ",
    "/*",
    "block ",
];

/// The one report on a template, instead of the errors that its actions cause; `None`: it is none, or
/// its errors have other causes.
pub(super) fn report(text: &Text, reports: &[Report]) -> Option<Report> {
    let is_error = |it: &&Report| it.severity == Severity::Error;
    let first = reports.iter().find(is_error)?;
    let (start, line) = text.lines().find(|(_, line)| is_action(line))?;
    // Lines are looked at once: one may have megabytes, and thousands of reports.
    let mut lines: Vec<_> = reports.iter().filter(is_error).map(|it| it.line).collect();
    lines.dedup();
    let caused = || lines.iter().any(|it| text.line(it - 1).contains("{{"));
    let causes = reports.iter().filter(is_error).any(|it| it.path.is_empty()) || caused();
    let place = text.place(start + line.find("{{").unwrap_or_default(), 2);
    let help = "render it first: `helm template CHART | enforcer check -`".to_owned();
    let severity = first.severity;
    causes.then(|| Report::new(text, place, severity, TEMPLATE).help(Some(help)))
}

fn is_action(line: &str) -> bool {
    line.match_indices("{{").any(|(at, _)| {
        let rest = line.get(at + 2..).unwrap_or_default();
        let rest = rest.strip_prefix('-').unwrap_or(rest).trim_start();
        ACTIONS.iter().any(|it| rest.starts_with(it))
    })
}
