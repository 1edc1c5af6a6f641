//! Renders a matrix as tables.

use std::fmt::Write as _;

use enforcer_core::policy::reference::Traffic;
use owo_colors::{OwoColorize as _, Style as Paint};

use super::layout::{Group, Layout};
use super::legend::legend;
use super::{Cell, Matrix, heading};
use crate::lab::{Family, Party};
use crate::probe::Outcome;

/// The style of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether to use colours.
    pub color: bool,
}

/// The heading of the senders' column.
pub(super) const CORNER: &str = "from \\ to";

/// The sign of a receiver that the sender can't be tried with.
pub(super) const NONE: &str = "-";

/// Renders a matrix. Results that differ from those in `before` are shown with the earlier one.
pub fn render(matrix: &Matrix, before: Option<&Matrix>, style: Style) -> String {
    let content = |from: &Party, to: &Party, traffic: Traffic| {
        Content::new(&group(matrix, from, to, traffic), before)
    };
    let layout = Layout::new(matrix, |from, to, traffic| content(from, to, traffic).text);
    let mut text = String::new();
    for (index, groups) in layout.tables.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        header(&mut text, &layout, groups);
        for (row, label) in layout.rows.iter().zip(&layout.labels) {
            let _ = write!(text, "{label:<width$}", width = label_width(&layout));
            for group in groups {
                text.push_str(layout.separator);
                let mut line = String::new();
                for column in &group.columns {
                    let cell = content(row, &group.to, column.traffic);
                    let gap = if line.is_empty() { "" } else { " " };
                    let _ = write!(line, "{gap}{}", cell.shown(column.width, style));
                }
                text.push_str(&padded(&line, group.columns_width(), group.width()));
            }
            end_line(&mut text);
        }
    }
    text.push_str(&legend(matrix, before, layout.numbered));
    text
}

fn label_width(layout: &Layout) -> usize {
    let widths = layout.labels.iter().map(|it| it.chars().count());
    widths.max().unwrap_or(0).max(CORNER.len())
}

/// The receivers' names, the ports, and a rule.
fn header(text: &mut String, layout: &Layout, groups: &[Group]) {
    let width = label_width(layout);
    let height = groups.iter().map(|it| it.name.len()).max().unwrap_or(0);
    for line in 0..height {
        let _ = write!(text, "{:width$}", "");
        for group in groups {
            // Names end at the same line, just above the ports.
            let index = (line + group.name.len()).checked_sub(height);
            let name = index.and_then(|it| group.name.get(it)).map_or("", String::as_str);
            text.push_str(layout.separator);
            text.push_str(&padded(name, name.chars().count(), group.width()));
        }
        end_line(text);
    }
    let _ = write!(text, "{CORNER:width$}");
    for group in groups {
        let ports =
            group.columns.iter().map(|it| format!("{:^w$}", heading(it.traffic), w = it.width));
        let ports = ports.collect::<Vec<_>>().join(" ");
        text.push_str(layout.separator);
        text.push_str(&padded(&ports, group.columns_width(), group.width()));
    }
    end_line(text);
    text.push_str(&"─".repeat(width));
    for group in groups {
        text.push_str(&layout.separator.replace(' ', "─").replace('│', "┼"));
        text.push_str(&"─".repeat(group.width()));
    }
    text.push('\n');
}

/// Centres a text whose visible width is `own`.
fn padded(text: &str, own: usize, width: usize) -> String {
    let rest = width.saturating_sub(own);
    let left = rest / 2;
    format!("{:left$}{text}{:right$}", "", "", right = rest - left)
}

fn end_line(text: &mut String) {
    text.truncate(text.trim_end_matches(' ').len());
    text.push('\n');
}

/// The cells of one connection, IPv4 first.
fn group<'a>(matrix: &'a Matrix, from: &Party, to: &Party, traffic: Traffic) -> Vec<&'a Cell> {
    let same = |cell: &&Cell| {
        cell.probe.from == *from && cell.probe.to == *to && cell.probe.traffic == traffic
    };
    matrix.cells.iter().filter(same).collect()
}

/// The content of a cell.
struct Content {
    text: String,
    paint: Paint,
}

impl Content {
    fn new(cells: &[&Cell], before: Option<&Matrix>) -> Self {
        let earlier: Vec<&Cell> =
            cells.iter().filter_map(|cell| before.and_then(|it| it.find(&cell.probe))).collect();
        let changed = earlier.iter().zip(cells).any(|(old, new)| old.measured != new.measured);
        let wrong = cells.iter().any(|cell| !cell.as_expected());
        let mut text = signs(cells);
        if changed {
            text = format!("{}→{text}", signs(&earlier));
        }
        if wrong {
            text.push('!');
        }
        let open = !cells.is_empty() && cells.iter().all(|cell| cell.measured == Outcome::Open);
        let paint = Paint::new();
        let paint = if wrong {
            paint.red()
        } else if open {
            paint.green()
        } else {
            paint.dimmed()
        };
        // Reversed: changes stand out without colours, too.
        Self { text, paint: if changed { paint.bold().reversed() } else { paint } }
    }

    /// The text, centred; only the text itself is painted.
    fn shown(&self, width: usize, style: Style) -> String {
        let text = &self.text;
        let shown = if style.color { text.style(self.paint).to_string() } else { text.clone() };
        padded(&shown, text.chars().count(), width)
    }
}

/// One sign if both families agree, or else one for each.
fn signs(cells: &[&Cell]) -> String {
    match cells {
        [] => NONE.to_owned(),
        [first, rest @ ..] if rest.iter().all(|it| sign(it) == sign(first)) => {
            sign(first).to_string()
        }
        _ => cells
            .iter()
            .map(|cell| {
                let family = if cell.probe.family == Family::V4 { 4 } else { 6 };
                format!("{family}{}", sign(cell))
            })
            .collect(),
    }
}

fn sign(cell: &Cell) -> char {
    match &cell.measured {
        Outcome::Open if cell.unguarded => '○',
        Outcome::Open => '✓',
        Outcome::TimedOut => '✗',
        Outcome::Refused => '⊘',
        Outcome::Error(_) => '?',
    }
}
