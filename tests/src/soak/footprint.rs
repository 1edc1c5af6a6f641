//! The agent's use of memory, descriptors, pins and tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use enforcer_core::tables::Table;

use crate::probe::http_get;
use crate::session::{AGENT_PORT, Session};

/// The agent's folder in the BPF file system of the first node.
const PINS: &str = "/sys/fs/bpf/enforcer";
const TRIAL: &str = "trial";
const PATIENCE: Duration = Duration::from_secs(5);

/// More than this is a leak, compared with the same process after its start.
const MORE_KIB: u64 = 24 * 1024;
const MORE_DESCRIPTORS: usize = 8;
const MORE_THREADS: usize = 6;
/// Port classes that no rule distinguishes any more are joined once there are more than these.
const MORE_PORT_CLASSES: u64 = 16;

/// What the agent uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Footprint {
    process: u32,
    pub(super) resident_kib: u64,
    /// What the open descriptors refer to, with the number of each kind.
    open: BTreeMap<String, usize>,
    threads: usize,
    /// The paths of links, and of all else that is pinned.
    pins: BTreeSet<PathBuf>,
    /// Used entries by table.
    tables: BTreeMap<String, u64>,
}

impl Footprint {
    /// Takes the running agent's.
    pub(super) async fn take(session: &Session) -> anyhow::Result<Self> {
        let process = session.agent().and_then(crate::lab::Agent::pid).context("no agent runs")?;
        let at = SocketAddr::from(([127, 0, 0, 1], AGENT_PORT));
        let node = session.lab().node();
        let metrics = http_get(node, at, "/metrics", PATIENCE).await?;
        let tables = tables(&metrics.context("/metrics does not answer")?);
        let missing = Table::ALL.iter().find(|it| !tables.contains_key(it.name()));
        anyhow::ensure!(missing.is_none(), "/metrics has no entries of {missing:?}");
        let files = Path::new("/proc").join(process.to_string());
        let status = fs::read_to_string(files.join("status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|it| it.split_whitespace().next()?.parse().ok());
        Ok(Self {
            process,
            resident_kib: resident.context("no VmRSS")?,
            open: descriptors(&files.join("fd"))?,
            threads: fs::read_dir(files.join("task"))?.count(),
            pins: paths(Path::new(PINS))?,
            tables,
        })
    }

    /// Whether the agent is loading the programs of the drift check; their pins go after that.
    pub(super) fn loads_trial(&self) -> bool {
        self.pins.contains(&Path::new(PINS).join(TRIAL))
    }

    /// The number of open descriptors.
    pub(super) fn descriptors(&self) -> usize {
        self.open.values().sum()
    }

    /// What has leaked since `first`, of the first agent or of this one.
    pub(super) fn leaks(&self, first: &Self) -> Vec<String> {
        let mut leaks = Vec::new();
        if self.process == first.process {
            if self.resident_kib > first.resident_kib + MORE_KIB {
                leaks.push(format!("{} KiB of memory", self.resident_kib - first.resident_kib));
            }
            if self.descriptors() > first.descriptors() + MORE_DESCRIPTORS {
                let before = |kind: &str| first.open.get(kind).copied().unwrap_or_default();
                let more = self.open.iter().filter(|(kind, count)| **count > before(kind));
                let more = more.map(|(kind, count)| format!("{} {kind}", count - before(kind)));
                leaks.push(format!("descriptors: {}", more.collect::<Vec<_>>().join(", ")));
            }
            if self.threads > first.threads + MORE_THREADS {
                leaks.push(format!("{} threads", self.threads - first.threads));
            }
        }
        let named = |pins: &BTreeSet<PathBuf>, others| {
            let only = pins.difference(others).map(|it| it.display().to_string());
            only.collect::<Vec<_>>().join(" ")
        };
        if self.pins.len() != first.pins.len() {
            let (more, fewer) = (named(&self.pins, &first.pins), named(&first.pins, &self.pins));
            leaks.push(format!("pins: more: {more}; fewer: {fewer}"));
        }
        for (table, used) in &self.tables {
            let before = first.tables.get(table).copied().unwrap_or_default();
            let more = if table == Table::PortClasses.name() { MORE_PORT_CLASSES } else { 0 };
            if *used > before + more {
                leaks.push(format!("{used} entries of {table} instead of {before}"));
            }
        }
        leaks
    }
}

/// The paths in a folder and in those below it.
fn paths(folder: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut paths = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            paths.append(&mut self::paths(&entry.path())?);
        }
        paths.insert(entry.path());
    }
    Ok(paths)
}

/// What descriptors refer to, without the numbers of sockets and the like.
fn descriptors(folder: &Path) -> io::Result<BTreeMap<String, usize>> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        // One that was closed meanwhile is none.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        let target = target.display().to_string();
        let kind = target.split_once(":[").map_or(&*target, |(kind, _)| kind);
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    Ok(kinds)
}

/// The use of the tables with policy. Flows end by time alone.
fn tables(metrics: &str) -> BTreeMap<String, u64> {
    let entries = metrics.lines().filter_map(|line| {
        let (table, used) =
            line.strip_prefix("enforcer_table_entries{table=\"")?.split_once("\"} ")?;
        Some((table.to_owned(), used.trim().parse().ok()?))
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaks_are_found() {
        let text = "x 1\nenforcer_table_entries{table=\"verdicts\"} 7\nenforcer_table_size{table=\"verdicts\"} 9\n";
        let tables = tables(text);
        assert_eq!(tables, BTreeMap::from([(Table::Verdicts.name().to_owned(), 7)]));
        let open = |count| BTreeMap::from([("socket".to_owned(), count)]);
        let pins = BTreeSet::from(["links/1".into()]);
        let first =
            Footprint { process: 1, resident_kib: 9, open: open(9), threads: 9, pins, tables };
        assert_eq!(first.leaks(&first), [""; 0]);
        let more = Footprint {
            resident_kib: 9 + MORE_KIB + 1,
            open: open(99),
            threads: 99,
            pins: BTreeSet::from(["links/1".into(), "links/2".into()]),
            tables: BTreeMap::from([(Table::Verdicts.name().to_owned(), 8)]),
            ..first.clone()
        };
        let leaks = more.leaks(&first);
        assert_eq!(leaks.len(), 5);
        assert!(leaks.contains(&"descriptors: 90 socket".to_owned()), "{leaks:?}");
        assert!(leaks.contains(&"pins: more: links/2; fewer: ".to_owned()), "{leaks:?}");
        let ports = |used| BTreeMap::from([(Table::PortClasses.name().to_owned(), used)]);
        let classes = |used| Footprint { tables: ports(used), ..first.clone() };
        assert_eq!(classes(17).leaks(&classes(1)).len(), 0);
        assert_eq!(classes(18).leaks(&classes(1)).len(), 1);
        // Another process starts with other numbers, but what outlives it does not grow.
        assert_eq!(Footprint { process: 2, ..more }.leaks(&first).len(), 2);
    }
}
