//! The text below the table: its signs, and the unexpected results in words.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::{Cell, Matrix, heading};
use crate::lab::Family;
use crate::probe::{Outcome, Probe};

/// The most unexpected results that are listed.
const SHOWN: usize = 8;

/// Explains the signs in use, and lists the unexpected results.
pub(crate) fn legend(matrix: &Matrix, before: Option<&Matrix>, numbered: bool) -> String {
    let complaints = complaints(matrix);
    let mut text = lines(&signs(matrix, before, numbered, !complaints.is_empty()));
    for complaint in complaints.iter().take(SHOWN) {
        let _ = write!(text, "\n  ! {complaint}");
    }
    if let Some(more) = complaints.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        let _ = write!(text, "\n  ! and {more} more");
    }
    text
}

/// The meaning of each sign in use.
fn signs(
    matrix: &Matrix,
    before: Option<&Matrix>,
    numbered: bool,
    contradicts: bool,
) -> Vec<&'static str> {
    let has = |wanted: fn(&Cell) -> bool| matrix.cells.iter().any(wanted);
    let all = [
        (true, "✓ answered"),
        (true, "✗ no answer"),
        (has(|it| it.measured == Outcome::Refused), "⊘ refused"),
        (has(|it| matches!(it.measured, Outcome::Error(_))), "? failed"),
        (has(passed_unguarded), "○ answered, but no agent guarded one of the ends yet"),
        (has_gaps(matrix), "- not tried: the sender has no route to this address"),
        (before.is_some_and(|it| changed(matrix, it)), "before→after"),
        (families_differ(matrix), "4 IPv4, 6 IPv6"),
        (!families_differ(matrix), "same for IPv4 and IPv6"),
        (numbered, "columns: the receiver in the row of that number"),
        (contradicts, "! contradicts the policies"),
    ];
    all.into_iter().filter(|(used, _)| *used).map(|(_, words)| words).collect()
}

/// Whether some result is another one than before.
fn changed(matrix: &Matrix, before: &Matrix) -> bool {
    let is_new = |it: &Cell| before.find(&it.probe).is_some_and(|old| old.measured != it.measured);
    matrix.cells.iter().any(is_new)
}

fn passed_unguarded(cell: &Cell) -> bool {
    cell.unguarded && cell.measured == Outcome::Open
}

/// Whether some sender was not tried with some receiver.
fn has_gaps(matrix: &Matrix) -> bool {
    let senders: BTreeSet<_> = matrix.cells.iter().map(|it| &it.probe.from).collect();
    let columns: BTreeSet<_> =
        matrix.cells.iter().map(|it| (&it.probe.to, heading(it.probe.traffic))).collect();
    let tried: BTreeSet<_> = matrix
        .cells
        .iter()
        .map(|it| (&it.probe.from, &it.probe.to, heading(it.probe.traffic)))
        .collect();
    tried.len() < senders.len() * columns.len()
}

fn families_differ(matrix: &Matrix) -> bool {
    let other = |cell: &Cell| {
        let probe = Probe { family: Family::V6, ..cell.probe.clone() };
        matrix.find(&probe).is_some_and(|it| it.measured != cell.measured)
    };
    matrix.cells.iter().filter(|it| it.probe.family == Family::V4).any(other)
}

/// The words in lines of the table's width at most.
fn lines(words: &[&str]) -> String {
    const GAP: &str = "   ";
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        let fits = |line: &String| {
            line.chars().count() + GAP.len() + word.chars().count() <= super::layout::WIDTH
        };
        match lines.last_mut().filter(|line| fits(line)) {
            Some(line) => {
                line.push_str(GAP);
                line.push_str(word);
            }
            None => lines.push((*word).to_owned()),
        }
    }
    lines.join("\n")
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
        Outcome::Open if cell.unguarded => "answered, but an end was not guarded".to_owned(),
        Outcome::Open => "answered".to_owned(),
        Outcome::TimedOut => "did not answer".to_owned(),
        Outcome::Refused => "refused".to_owned(),
        Outcome::Error(text) => format!("failed: {text}"),
    };
    let what = heading(probe.traffic);
    format!("{} → {} {what}: {expected}, {measured}", probe.from, probe.to)
}
