//! The report on a failed case.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use enforcer_core::policy::reference::Traffic;
use enforcer_tests::lab::{Family, Party};
use enforcer_tests::probe::Outcome;

use crate::case::{Case, ONLY, Stage};
use crate::expect::name;
use crate::ground::Ground;

/// Most differing connections in a report.
const SHOWN: usize = 30;

/// One attempted connection.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub from: Party,
    pub to: Party,
    pub family: Family,
    pub traffic: Traffic,
    pub expected: bool,
    pub measured: Outcome,
}

impl Cell {
    /// Whether the outcome is as expected. A denied packet must be dropped; a refusal means that it
    /// passed.
    pub(crate) fn is_right(&self) -> bool {
        self.measured == if self.expected { Outcome::Open } else { Outcome::TimedOut }
    }
}

/// The case with its intent, the cells that differ, the manifests, and how to reproduce it.
pub(crate) fn failure(
    case: &Case,
    stage: &Stage,
    ground: Ground,
    cells: &[Cell],
    manifests: &str,
) -> String {
    let mut text = heading(case, stage, &ground.to_string());
    let wrong: Vec<&Cell> = cells.iter().filter(|cell| !cell.is_right()).collect();
    let _ = writeln!(text, "  {} of {} cells differ:", wrong.len(), cells.len());
    let lines = wrong.iter().map(|cell| {
        let verdict = |open| if open { "allow" } else { "deny" };
        let measured = match &cell.measured {
            Outcome::Open => "allow".to_owned(),
            Outcome::TimedOut => "deny".to_owned(),
            other => format!("{other:?}"),
        };
        let Cell { from, to, family, traffic, expected, .. } = cell;
        let (from, to, traffic) = (name(from), name(to), traffic_name(*traffic));
        let expected = verdict(*expected);
        (format!("{from} -> {to} : {traffic}  expected {expected}, measured {measured}"), family)
    });
    text += &grouped(lines);
    let _ = writeln!(text, "  manifests:\n{manifests}");
    text + &replay(case, ground, manifests)
}

/// The case's heading.
pub(crate) fn heading(case: &Case, stage: &Stage, place: &str) -> String {
    let Case { name, intent, rules, .. } = case;
    format!("{name} ({place}), {}\n  {intent} [{}]\n", stage.what, rules.join(", "))
}

/// Groups equal lines, each followed by what they differ in.
pub(crate) fn grouped<T: ToString>(lines: impl Iterator<Item = (String, T)>) -> String {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (line, what) in lines {
        groups.entry(line).or_default().push(what.to_string());
    }
    let mut text = String::new();
    for (line, what) in groups.iter_mut().take(SHOWN) {
        what.sort();
        let _ = writeln!(text, "    {line} ({})", what.join(", "));
    }
    if let Some(more) = groups.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        let _ = writeln!(text, "    and {more} more");
    }
    text
}

/// A protocol and port as in expectations.
pub(crate) fn traffic_name(traffic: Traffic) -> String {
    match traffic {
        Traffic::Port(protocol, port) => format!("{}{port}", protocol.name().to_lowercase()),
        Traffic::Portless => "ping".to_owned(),
    }
}

/// Keeps the manifests for a lab, and returns how to start it.
fn replay(case: &Case, ground: Ground, manifests: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("conformance");
    let folder = folder.join(format!(
        "{}-{}-{}",
        case.name.replace('/', "-"),
        ground.topology,
        ground.nodes
    ));
    let written = fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join("cluster.yaml"), manifests));
    match written {
        Ok(()) => command(case, &folder, ground),
        Err(error) => format!("  the manifests can't be kept: {error}\n"),
    }
}

fn command(case: &Case, folder: &Path, ground: Ground) -> String {
    let (folder, topology) = (folder.display(), ground.topology);
    if ground.nodes == 1 {
        return format!(
            "  reproduce: cargo xtask run --once --topology {topology} --manifests {folder}\n"
        );
    }
    format!(
        "  manifests: {folder}; reproduce: {ONLY}={} cargo xtask test cases_on_two\n",
        case.name
    )
}
