//! What a failing case says.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use enforcer_core::policy::reference::Traffic;
use enforcer_tests::probe::Outcome;

use crate::ONLY;
use crate::case::{Case, Stage};
use crate::expect::name;
use crate::ground::Ground;
use crate::stand::Cell;

/// So many differing connections are spelled out.
const SHOWN: usize = 30;

/// The case, what it is about, the cells that differ, the manifests and how to see it again.
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

/// The case in words.
pub(crate) fn heading(case: &Case, stage: &Stage, place: &str) -> String {
    let Case { name, intent, rules, .. } = case;
    format!("{name} ({place}), {}\n  {intent} [{}]\n", stage.what, rules.join(", "))
}

/// Lines that differ in something, which is put behind them.
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

/// A protocol and port as expectations write it.
pub(crate) fn traffic_name(traffic: Traffic) -> String {
    match traffic {
        Traffic::Port(protocol, port) => format!("{}{port}", protocol.name().to_lowercase()),
        Traffic::Portless => "ping".to_owned(),
    }
}

/// Leaves the manifests where the lab can be started with them.
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
        Err(error) => format!("  its manifests could not be kept: {error}\n"),
    }
}

fn command(case: &Case, folder: &Path, ground: Ground) -> String {
    let (folder, topology) = (folder.display(), ground.topology);
    if ground.nodes == 1 {
        return format!(
            "  again: cargo xtask run --once --topology {topology} --manifests {folder}\n"
        );
    }
    format!("  manifests: {folder}; again: {ONLY}={} cargo xtask test cases_on_two\n", case.name)
}
