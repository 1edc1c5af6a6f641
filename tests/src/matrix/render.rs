//! Renders a matrix as a table.

use comfy_table::{Cell as TableCell, CellAlignment, Color, Table, presets};
use enforcer_core::policy::reference::Traffic;

use super::legend::legend;
use super::{Cell, Matrix, heading};
use crate::lab::{Door, Family, Frontend, Party};
use crate::probe::Outcome;

/// The style of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether to use colours.
    pub color: bool,
}

type Column = (Party, Traffic);

/// Renders a matrix. Results that differ from those in `before` are shown with the earlier one.
pub fn render(matrix: &Matrix, before: Option<&Matrix>, style: Style) -> String {
    let axes = Axes::new(matrix);
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(axes.headings());
    for from in &axes.rows {
        let mut line = vec![TableCell::new(axes.row_label(from))];
        for (to, traffic) in &axes.columns {
            line.push(table_cell(&group(matrix, from, to, *traffic), before, style));
        }
        table.add_row(line);
    }
    for index in 1..=axes.columns.len() {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Center);
            column.set_padding((1, 0));
        }
    }
    if style.color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    format!("{table}\n{}", legend(matrix, before))
}

struct Axes {
    rows: Vec<Party>,
    columns: Vec<Column>,
    /// The namespace of all pods, if they share one: then it is omitted.
    namespace: Option<String>,
    /// Whether columns have numbers instead of names, which would make the table too wide.
    numbered: bool,
}

/// The width of a terminal in columns: wider tables get numbers.
const WIDTH: usize = 80;

impl Axes {
    /// Rows and columns in the order of their first occurrence.
    fn new(matrix: &Matrix) -> Self {
        let (mut rows, mut columns) = (Vec::new(), Vec::new());
        for Cell { probe, .. } in &matrix.cells {
            if !rows.contains(&probe.from) {
                rows.push(probe.from.clone());
            }
            let column = (probe.to.clone(), probe.traffic);
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        let namespace = only_namespace(&rows);
        let mut axes = Self { rows, columns, namespace, numbered: false };
        axes.numbered = axes.width() > WIDTH;
        axes
    }

    fn width(&self) -> usize {
        let widest = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        let rows = self.rows.iter().map(|row| widest(&self.row_label(row))).max().unwrap_or(0);
        self.headings().iter().skip(1).map(|text| widest(text) + 1).sum::<usize>() + rows
    }

    fn headings(&self) -> Vec<String> {
        let columns = self.columns.iter().map(|(to, traffic)| {
            let name = if self.numbered { self.number(to) } else { self.column_label(to) };
            format!("{name}\n{}", heading(*traffic))
        });
        ["from \\ to".to_owned()].into_iter().chain(columns).collect()
    }

    fn number(&self, party: &Party) -> String {
        let index = self.rows.iter().position(|row| row == party);
        index.map_or_else(|| self.column_label(party), |index| (index + 1).to_string())
    }

    fn row_label(&self, party: &Party) -> String {
        let name = self.own_name(party).map_or_else(|| party.to_string(), str::to_owned);
        if self.numbered { format!("{} {name}", self.number(party)) } else { name }
    }

    /// Namespace and name in separate lines, so that columns stay narrow.
    fn column_label(&self, party: &Party) -> String {
        match party {
            Party::Pod(id) => match self.own_name(party) {
                Some(name) => name.to_owned(),
                None => format!("{}/\n{}", id.namespace, id.name),
            },
            Party::Node => "the\nnode".to_owned(),
            Party::OtherNode(index) => format!("node\n{}", u16::from(*index) + 1),
            Party::Outside(name) => format!("outside\n{name}"),
            Party::Service(frontend) => service_label(frontend),
        }
    }

    fn own_name<'a>(&self, party: &'a Party) -> Option<&'a str> {
        match party {
            Party::Pod(id) if Some(id.namespace.as_str()) == self.namespace.as_deref() => {
                Some(&id.name)
            }
            _ => None,
        }
    }
}

/// The Service's name, and the kind of the address.
fn service_label(frontend: &Frontend) -> String {
    let door = match frontend.door {
        Door::Cluster => "cluster".to_owned(),
        Door::Node(0) => "node".to_owned(),
        Door::Node(index) => format!("node{}", u16::from(index) + 1),
        Door::External => "external".to_owned(),
    };
    format!("{}\n{door}", frontend.service.name)
}

fn only_namespace(rows: &[Party]) -> Option<String> {
    let mut namespaces = rows.iter().filter_map(|party| match party {
        Party::Pod(id) => Some(&id.namespace),
        _ => None,
    });
    let first = namespaces.next()?;
    namespaces.all(|other| other == first).then(|| first.to_string())
}

/// The cells of one connection, IPv4 first.
fn group<'a>(matrix: &'a Matrix, from: &Party, to: &Party, traffic: Traffic) -> Vec<&'a Cell> {
    let same = |cell: &&Cell| {
        cell.probe.from == *from && cell.probe.to == *to && cell.probe.traffic == traffic
    };
    matrix.cells.iter().filter(same).collect()
}

fn table_cell(cells: &[&Cell], before: Option<&Matrix>, style: Style) -> TableCell {
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
    let cell = TableCell::new(text);
    if !style.color {
        return cell;
    }
    let open = cells.iter().all(|cell| cell.measured == Outcome::Open);
    cell.fg(if wrong {
        Color::Red
    } else if open {
        Color::Green
    } else {
        Color::DarkGrey
    })
}

/// One sign if both families agree, or else one for each.
fn signs(cells: &[&Cell]) -> String {
    let sign = |cell: &&Cell| match &cell.measured {
        Outcome::Open => '✓',
        Outcome::TimedOut => '✗',
        Outcome::Refused => '⊘',
        Outcome::Error(_) => '?',
    };
    match cells {
        [] => "-".to_owned(),
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
