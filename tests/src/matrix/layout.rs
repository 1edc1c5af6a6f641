//! The layout of a matrix: rows, and the receivers' columns side by side in tables that fit a terminal.

use enforcer_core::policy::reference::Traffic;

use super::{Cell, Matrix, heading};
use crate::lab::{Door, Frontend, Party};

/// The width of a terminal in columns.
pub(super) const WIDTH: usize = 80;

/// A receiver and its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub to: Party,
    /// Its name, in one or several lines.
    pub name: Vec<String>,
    pub columns: Vec<Column>,
}

/// One kind of traffic to a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub traffic: Traffic,
    pub width: usize,
}

impl Group {
    /// The width of all columns, with a space between two.
    pub(super) fn columns_width(&self) -> usize {
        self.columns.iter().map(|it| it.width + 1).sum::<usize>().saturating_sub(1)
    }

    pub(super) fn width(&self) -> usize {
        let name = self.name.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        name.max(self.columns_width())
    }
}

/// The rows, and the tables below each other.
#[derive(Debug)]
pub(super) struct Layout {
    pub rows: Vec<Party>,
    pub labels: Vec<String>,
    /// One table if it fits, else several.
    pub tables: Vec<Vec<Group>>,
    /// Whether receivers have the numbers of their rows instead of names.
    pub numbered: bool,
    /// What stands between two receivers.
    pub separator: &'static str,
}

/// The usual separator, and a narrow one.
const SEPARATORS: [&str; 2] = [" │ ", "│ "];

impl Layout {
    /// `text` is the content of a cell.
    pub(super) fn new(matrix: &Matrix, text: impl Fn(&Party, &Party, Traffic) -> String) -> Self {
        let (rows, mut groups) = axes(matrix);
        let namespace = only_namespace(&rows);
        let labels: Vec<String> =
            rows.iter().map(|it| own_name(it, namespace.as_deref())).collect();
        for group in &mut groups {
            for column in &mut group.columns {
                let cells = rows.iter().map(|row| text(row, &group.to, column.traffic));
                let cells = cells.map(|it| it.chars().count()).max().unwrap_or(0);
                column.width = cells.max(heading(column.traffic).chars().count());
            }
            group.name = vec![column_name(&group.to, namespace.as_deref())];
        }
        let label = labels.iter().map(|it| it.chars().count()).max().unwrap_or(0);
        let label = label.max(super::render::CORNER.len());
        let wrapped: Vec<Group> = groups.iter().map(wrap).collect();
        let [usual, _] = SEPARATORS;
        let mut layout =
            Self { rows, labels, tables: Vec::new(), numbered: false, separator: usual };
        if layout.fit(label, &groups) || layout.fit(label, &wrapped) {
            return layout;
        }
        match layout.by_number(&wrapped) {
            Some(numbered) if layout.fit(label + 3, &numbered) => layout.number_rows(),
            _ => layout.tables = split(wrapped, label),
        }
        layout
    }

    /// Takes these columns as the only table if some separator makes them fit.
    fn fit(&mut self, label: usize, groups: &[Group]) -> bool {
        let found = SEPARATORS.into_iter().find(|it| width(groups, label, it) <= WIDTH);
        if let Some(separator) = found {
            self.separator = separator;
            self.tables = vec![groups.to_vec()];
        }
        found.is_some()
    }

    /// The receivers with their rows' numbers. `None`: no receiver has a row.
    fn by_number(&self, groups: &[Group]) -> Option<Vec<Group>> {
        let number = |to: &Party| self.rows.iter().position(|row| row == to).map(|it| it + 1);
        groups.iter().any(|it| number(&it.to).is_some()).then(|| {
            let named = |it: &Group| match number(&it.to) {
                Some(number) => Group { name: vec![number.to_string()], ..it.clone() },
                None => it.clone(),
            };
            groups.iter().map(named).collect()
        })
    }

    fn number_rows(&mut self) {
        self.numbered = true;
        let digits = self.rows.len().to_string().len();
        for (index, label) in self.labels.iter_mut().enumerate() {
            *label = format!("{:>digits$} {label}", index + 1);
        }
    }
}

/// Senders and receivers in the order of their first occurrence.
fn axes(matrix: &Matrix) -> (Vec<Party>, Vec<Group>) {
    let (mut rows, mut groups) = (Vec::new(), Vec::<Group>::new());
    for Cell { probe, .. } in &matrix.cells {
        if !rows.contains(&probe.from) {
            rows.push(probe.from.clone());
        }
        let index = groups.iter().position(|it| it.to == probe.to).unwrap_or_else(|| {
            groups.push(Group { to: probe.to.clone(), name: Vec::new(), columns: Vec::new() });
            groups.len() - 1
        });
        let Some(group) = groups.get_mut(index) else { continue };
        if group.columns.iter().all(|it| it.traffic != probe.traffic) {
            group.columns.push(Column { traffic: probe.traffic, width: 0 });
        }
    }
    (rows, groups)
}

/// The width of a table with a separator before each receiver.
fn width(groups: &[Group], label: usize, separator: &str) -> usize {
    label + groups.iter().map(|it| it.width() + separator.chars().count()).sum::<usize>()
}

/// Tables that fit, with one receiver each at least.
fn split(groups: Vec<Group>, label: usize) -> Vec<Vec<Group>> {
    let [separator, _] = SEPARATORS;
    let mut tables: Vec<Vec<Group>> = Vec::new();
    for group in groups {
        let own = group.width() + separator.chars().count();
        match tables.last_mut() {
            Some(table) if width(table, label, separator) + own <= WIDTH => table.push(group),
            _ => tables.push(vec![group]),
        }
    }
    tables
}

/// The group with its name in lines about as wide as its columns.
fn wrap(group: &Group) -> Group {
    let limit = group.columns_width();
    let mut lines: Vec<String> = Vec::new();
    for part in group.name.iter().flat_map(|it| it.split_inclusive(['-', '.', '/', ' '])) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + part.trim_end().chars().count() <= limit => {
                line.push_str(part);
            }
            _ => lines.push(part.to_owned()),
        }
    }
    let name = lines.into_iter().map(|it| it.trim_end().to_owned()).collect();
    Group { name, ..group.clone() }
}

/// The namespace of all pods, if they share one: then it is omitted.
fn only_namespace(rows: &[Party]) -> Option<String> {
    let mut namespaces = rows.iter().filter_map(|party| match party {
        Party::Pod(id) => Some(&id.namespace),
        _ => None,
    });
    let first = namespaces.next()?;
    namespaces.all(|other| other == first).then(|| first.to_string())
}

fn own_name(party: &Party, namespace: Option<&str>) -> String {
    match party {
        Party::Pod(id) if Some(id.namespace.as_str()) == namespace => id.name.to_string(),
        other => other.to_string(),
    }
}

fn column_name(party: &Party, namespace: Option<&str>) -> String {
    match party {
        Party::Service(frontend) => service_name(frontend),
        other => own_name(other, namespace),
    }
}

/// The Service's name, and the kind of the address.
fn service_name(frontend: &Frontend) -> String {
    let door = match frontend.door {
        Door::Cluster => "cluster".to_owned(),
        Door::Node(0) => "node".to_owned(),
        Door::Node(index) => format!("node{}", u16::from(index) + 1),
        Door::External => "external".to_owned(),
    };
    format!("{} {door}", frontend.service.name)
}
