//! The committed bounds of costs: a Markdown file with two tables, and the comparison with it.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::cost::{Cost, Costs, SAMPLE, SHAPE};

/// Where the bounds are, from the repository's root.
pub const PATH: &str = "docs/performance/bounds.md";

/// The figures of a row, in the order of its columns.
type Row = Vec<u32>;

const PACKET_COLUMNS: [&str; 5] =
    ["instructions", "array look-ups", "other calls", "cache lines", "bytes"];
const PROGRAM_COLUMNS: [&str; 2] = ["instructions", "verified"];

/// A figure beyond its bound, or a bound that fits no figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The case or program.
    pub what: String,
    /// What is wrong, with figure and bound.
    pub problem: String,
    /// What to do.
    pub advice: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, problem, advice } = self;
        write!(f, "{what}: {problem}\n  {advice}")
    }
}

/// The rows of the file's tables by their first cells. Other text is ignored.
fn parse(text: &str) -> BTreeMap<String, Row> {
    text.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<(String, Row)> {
    let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
    let (name, figures) = cells.split_first()?;
    // A table's head has no numbers.
    let figures: Row = figures
        .iter()
        .filter(|it| !it.is_empty())
        .map(|it| it.replace(',', "").parse())
        .collect::<Result<_, _>>()
        .ok()?;
    (!figures.is_empty()).then(|| ((*name).to_owned(), figures))
}

fn name(cost: &Cost) -> String {
    format!("{}, IPv{}", cost.case, cost.family)
}

fn figures(cost: &Cost) -> Row {
    vec![cost.instructions, cost.array_lookups, cost.calls, cost.lines, cost.bytes]
}

/// Compares figures with the file's text.
#[must_use]
pub fn check(costs: &Costs, text: &str) -> Vec<Violation> {
    let mut bounds = parse(text);
    let mut found = Vec::new();
    for cost in &costs.packets {
        let why = || explain(cost);
        compare(&name(cost), &PACKET_COLUMNS, &figures(cost), &mut bounds, &why, &mut found);
    }
    for program in &costs.programs {
        // A kernel that does not report it keeps the bound.
        let row = [program.instructions, program.verified.unwrap_or(0)];
        let name = format!("program {}", program.program);
        let why = || "the object has more code for it".to_owned();
        compare(&name, &PROGRAM_COLUMNS, &row, &mut bounds, &why, &mut found);
    }
    found.extend(bounds.into_keys().map(|what| Violation {
        what,
        problem: "a bound, but no such case or program".to_owned(),
        advice: format!("remove the row from {PATH}, or write it again: {WRITE}"),
    }));
    found
}

/// Writes the file.
const WRITE: &str = "`cargo xtask bench --write-bounds`";

fn compare(
    what: &str,
    columns: &[&str],
    figures: &[u32],
    bounds: &mut BTreeMap<String, Row>,
    why: &dyn Fn() -> String,
    found: &mut Vec<Violation>,
) {
    let Some(row) = bounds.remove(what).filter(|row| row.len() == columns.len()) else {
        found.push(Violation {
            what: what.to_owned(),
            problem: format!("no bounds for {}", columns.join(", ")),
            advice: format!("a new case or program: add its row to {PATH} by {WRITE}"),
        });
        return;
    };
    for ((column, figure), bound) in columns.iter().zip(figures).zip(row) {
        if *figure > bound {
            found.push(Violation {
                what: what.to_owned(),
                problem: format!("{figure} {column}, the bound is {bound} ({})", why()),
                advice: format!(
                    "find what made it dearer (`git diff -- enforcer-ebpf`, `cargo xtask bench \
                     --packets` before and after); if it is worth its cost, give the reason in \
                     docs/performance.md and set the bound in {PATH} by {WRITE}"
                ),
            });
        }
    }
}

fn explain(cost: &Cost) -> String {
    let list = |of: Vec<(String, u32)>| {
        let each = of.into_iter().map(|(name, number)| format!("{number} {name}"));
        each.collect::<Vec<_>>().join(", ")
    };
    let calls = cost.calls_by_helper.iter().map(|(name, it)| (name.clone(), *it)).collect();
    let lines = cost.lines_by_table.iter().map(|(name, it)| (name.clone(), *it)).collect();
    format!("calls: {}; cache lines: {}", list(calls), list(lines))
}

/// The figure with some room for another compiler: a twentieth.
fn roomy(figure: u32) -> u32 {
    figure + figure.div_ceil(20)
}

/// The file's text for these figures.
#[must_use]
pub fn render(costs: &Costs) -> String {
    let mut text = introduction();
    head(&mut text, "packet", &PACKET_COLUMNS);
    for cost in &costs.packets {
        let exact = [cost.array_lookups, cost.calls, cost.lines];
        let mut row = vec![roomy(cost.instructions)];
        row.extend(exact);
        row.push(roomy(cost.bytes));
        line(&mut text, &name(cost), &row);
    }
    text.push('\n');
    head(&mut text, "program", &PROGRAM_COLUMNS);
    for program in &costs.programs {
        let verified = program.verified.map_or(0, roomy);
        let name = format!("program {}", program.program);
        line(&mut text, &name, &[roomy(program.instructions), verified]);
    }
    text
}

fn introduction() -> String {
    let (policies, peers) = (SHAPE.policies, SHAPE.peers);
    format!(
        "# Bounds\n\n\
         What a packet may cost apart from time. `cargo xtask bench --check` compares with it, and so \
         do the tests (`tests/cost`). A row has the most that one of {SAMPLE} different packets of the \
         case may take, with {policies} policies and {peers} peers.\n\n\
         - *instructions*: executed instructions of the compiled object, with those of the functions that \
         it calls. The kernel replaces a few of them by others when it loads the programs.\n\
         - *array look-ups*: calls of `bpf_map_lookup_elem` on arrays. The kernel makes six to nine \
         instructions of each, without a call.\n\
         - *other calls*: all other calls of helpers.\n\
         - *cache lines*, *bytes*: what the program's own instructions read and write of tables, in lines \
         of 64 bytes. Not the packet, its context and the stack, and not what helpers do inside (the \
         buckets of a hash, the kernel's ring buffer).\n\
         - Dropped packets: with the event for the agent. A CPU sends at most 64 of them a second.\n\
         - *verified*: instructions that the verifier of Linux 6.18 processed; other versions count \
         otherwise.\n\n\
         Look-ups, calls and lines are exact; instructions and bytes have a twentieth of room for another \
         compiler. This file is written by {WRITE}.\n\n"
    )
}

fn head(text: &mut String, first: &str, columns: &[&str]) {
    // Writing to a String never fails.
    let _ = writeln!(text, "| {first} | {} |", columns.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(columns.len()));
}

fn line(text: &mut String, name: &str, row: &[u32]) {
    let cells = row.iter().map(u32::to_string).collect::<Vec<_>>().join(" | ");
    let _ = writeln!(text, "| {name} | {cells} |");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::cost::Program;

    fn costs() -> Costs {
        let cost = Cost {
            case: "denied ACK, port".to_owned(),
            family: 4,
            instructions: 400,
            array_lookups: 9,
            calls: 1,
            lines: 12,
            bytes: 90,
            calls_by_helper: BTreeMap::from([("jiffies64".to_owned(), 1)]),
            lines_by_table: BTreeMap::from([("FLOW_TAGS4".to_owned(), 2)]),
        };
        let program =
            Program { program: "to_pod".to_owned(), instructions: 9_000, verified: Some(400_000) };
        Costs { packets: vec![cost], programs: vec![program] }
    }

    #[test]
    fn a_figure_beyond_its_bound_is_named_with_case_figure_bound_and_advice() {
        let text = render(&costs());
        assert_eq!(check(&costs(), &text), []);
        let mut dearer = costs();
        dearer.packets[0].lines += 1;
        dearer.programs[0].verified = Some(500_000);
        let found: Vec<String> = check(&dearer, &text).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("denied ACK, port, IPv4: 13 cache lines, the bound is 12"));
        assert!(found[0].contains("2 FLOW_TAGS4") && found[0].contains("--write-bounds"));
        assert!(found[1].starts_with("program to_pod: 500000 verified, the bound is 420000"));
    }

    #[test]
    fn a_case_without_bound_and_a_bound_without_case_are_violations() {
        let text = render(&costs());
        let renamed = text.replace("denied ACK, port, IPv4", "denied ACK, gate, IPv4");
        let found = check(&costs(), &renamed);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].what, "denied ACK, port, IPv4");
        assert_eq!(found[1].what, "denied ACK, gate, IPv4");
        assert_eq!(check(&costs(), "").len(), 2);
    }
}
