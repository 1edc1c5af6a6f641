//! The text below the table: its signs, and the unexpected results in words.

use std::fmt::Write;

use super::{Cell, Matrix, heading};
use crate::lab::Family;
use crate::probe::Outcome;

/// The most unexpected results that are listed.
const SHOWN: usize = 8;

/// Explains the signs in use, and lists the unexpected results.
pub(crate) fn legend(matrix: &Matrix, before: Option<&Matrix>) -> String {
    let has = |wanted: fn(&Outcome) -> bool| matrix.cells.iter().any(|it| wanted(&it.measured));
    let mut words = vec!["✓ answered", "✗ no answer"];
    if has(|outcome| *outcome == Outcome::Refused) {
        words.push("⊘ refused");
    }
    if has(|outcome| matches!(outcome, Outcome::Error(_))) {
        words.push("? failed");
    }
    if before.is_some() {
        words.push("before→after");
    }
    words.push("IPv4 and IPv6 agree unless marked 4/6");
    let complaints = complaints(matrix);
    if !complaints.is_empty() {
        words.push("! contradicts the policies");
    }
    let mut text = words.join("   ");
    for complaint in complaints.iter().take(SHOWN) {
        let _ = write!(text, "\n  ! {complaint}");
    }
    if let Some(more) = complaints.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        let _ = write!(text, "\n  ! and {more} more");
    }
    text
}

/// One line for each unexpected result, shared by the families if they agree.
fn complaints(matrix: &Matrix) -> Vec<String> {
    let mut lines: Vec<(Vec<Family>, String)> = Vec::new();
    for cell in matrix.cells.iter().filter(|cell| !cell.as_expected()) {
        let text = complaint(cell);
        match lines.iter_mut().find(|(_, line)| *line == text) {
            Some((families, _)) => families.push(cell.probe.family),
            None => lines.push((vec![cell.probe.family], text)),
        }
    }
    let families = |families: Vec<Family>| {
        families.iter().map(ToString::to_string).collect::<Vec<_>>().join("+")
    };
    lines.into_iter().map(|(which, text)| format!("{} {text}", families(which))).collect()
}

fn complaint(cell: &Cell) -> String {
    let probe = &cell.probe;
    let expected = if cell.expected { "should answer" } else { "should not answer" };
    let measured = match &cell.measured {
        Outcome::Open => "answered".to_owned(),
        Outcome::TimedOut => "did not answer".to_owned(),
        Outcome::Refused => "refused".to_owned(),
        Outcome::Error(text) => format!("failed: {text}"),
    };
    let what = heading(probe.traffic);
    format!("{} → {} {what}: {expected}, {measured}", probe.from, probe.to)
}
