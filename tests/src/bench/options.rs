//! The command line of the benchmarks.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// The numbers of pods of the watched clusters.
const CLUSTERS: [usize; 3] = [10, 1_000, 10_000];

/// Measures the cost of a packet compared with the empty and the parse-only program, traffic and floods
/// through the lab, the time from saving a policy to its effect, and the memory and CPU time for
/// watching a cluster. Without a choice of parts, all are measured.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct Options {
    /// Output format
    #[arg(long, value_enum, default_value = "table")]
    pub output: Output,
    /// Measure packets, traffic and floods (or the chosen parts), and write report.json and report.html
    /// to this folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["check", "write_bounds"])]
    pub report: Option<PathBuf>,
    /// Only write report.html in this folder again, from its report.json
    #[arg(long, value_name = "DIR", conflicts_with_all = ["check", "write_bounds", "report"])]
    pub render: Option<PathBuf>,
    /// Number of rounds after each of three loads of the programs; figures are medians
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Only compare what packets cost apart from time with docs/performance/bounds.md; exit code 1 if a
    /// figure is beyond its bound. Needs no quiet machine
    #[arg(long, conflicts_with = "write_bounds")]
    pub check: bool,
    /// Only write docs/performance/bounds.md from the present figures
    #[arg(long)]
    pub write_bounds: bool,
    /// Measure the cost of packets
    #[arg(long)]
    pub packets: bool,
    /// Measure traffic through the lab with several ways to enforce policies, and the programs in place
    #[arg(long)]
    pub traffic: bool,
    /// Measure what floods leave for others
    #[arg(long)]
    pub floods: bool,
    /// Number of rounds of traffic; figures are medians
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub traffic_rounds: usize,
    /// Measure the time from saving a policy to its effect
    #[arg(long)]
    pub effect: bool,
    /// Measure the cost of watching a cluster
    #[arg(long)]
    pub watched: bool,
    /// Measure the time until interfaces have their programs
    #[arg(long)]
    pub attach: bool,
    /// Measure the time until the real agent guards 250 pods at its start, and 60 new ones at once
    #[arg(long)]
    pub start_up: bool,
    /// The numbers of pods of the watched clusters
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = CLUSTERS)]
    pub pods: Vec<usize>,
    /// Changes a second in the watched clusters
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub changes: u32,
    /// Number of saved policies
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub saves: usize,
    /// The folder of the bounds' file's repository
    #[arg(long, value_name = "DIR", default_value = ".", hide = true)]
    pub root: PathBuf,
}

/// The format of the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For scripts.
    Json,
}

impl Options {
    /// Whether a part is measured: it is chosen, or nothing is. The report's parts are those of packets.
    pub(super) const fn wants(&self, part: bool, is_reports: bool) -> bool {
        let any = self.packets || self.traffic || self.floods;
        let any = any || self.effect || self.watched || self.attach || self.start_up;
        part || !any && (is_reports || self.report.is_none())
    }
}
