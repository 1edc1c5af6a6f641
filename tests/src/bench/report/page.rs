//! The page: text, plots and tables of one document.

use super::chart::{escape, short};
use super::sections;
use super::table::table;
use crate::bench::document::Document;

const STYLE: &str = include_str!("style.css");

/// Patterns of bars, so that series differ without colour.
const PATTERNS: &str = "<svg width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>\
<pattern id=\"stripes\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
patternTransform=\"rotate(45)\"><rect width=\"3\" height=\"6\" style=\"fill:var(--b)\"/></pattern>\
<pattern id=\"dots\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\"><circle cx=\"2.5\" cy=\"2.5\" \
r=\"1.6\" style=\"fill:var(--c)\"/></pattern>\
<pattern id=\"cross\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\"><path d=\"M0 0L6 6M6 0L0 6\" \
style=\"stroke:var(--d)\"/></pattern></defs></svg>";

/// The complete page. It fetches nothing.
pub(super) fn render(document: &Document) -> String {
    let mut body = introduction(document);
    body.push_str(&sections::packets(document));
    body.push_str(&sections::costs(document));
    body.push_str(&sections::traffic(document));
    body.push_str(&sections::floods(document));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>What enforcer costs</title>\n<style>\n{STYLE}</style></head>\n\
         <body>{PATTERNS}\n{body}</body></html>\n"
    )
}

fn introduction(document: &Document) -> String {
    let machine = &document.machine;
    let mut text = format!(
        "<h1>What enforcer costs</h1>\n<p>Measured on {} with Linux {} ({} CPUs, {}, {} MiB of memory). \
         <code>cargo xtask bench --report docs/performance</code> repeats it and writes this page; \
         <a href=\"report.json\">report.json</a> has all figures, and \
         <a href=\"../performance.md\">performance.md</a> says what was tried.</p>\n",
        escape(&document.date),
        escape(&machine.kernel),
        machine.cpus,
        escape(&machine.cpu),
        machine.memory_mib,
    );
    // Later parts have the earlier ones' load.
    let first = document.parts.first();
    let busy = first.is_some_and(|part| part.load_before > 0.25 * f64::from(machine.cpus));
    if busy {
        text.push_str(
            "<p><strong>The machine had other work while this was measured</strong> (see the load \
             averages): times and rates are worse and less steady than on a quiet one.</p>\n",
        );
    }
    let rows = document.parts.iter().map(|part| {
        vec![
            part.name.clone(),
            short(part.seconds),
            format!("{:.2}", part.load_before),
            format!("{:.2}", part.load_after),
        ]
    });
    text.push_str(&table(
        "How long each part took, and the load average (one minute) before and after it",
        &["part", "seconds", "load before", "load after"],
        rows,
    ));
    text
}
