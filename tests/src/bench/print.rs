//! Output of the figures, for people and for scripts.

use std::io::{self, Write as _};

use comfy_table::{CellAlignment, Table};

use super::attach::Attached;
use super::cost::Costs;
use super::effect::{Effect, Through};
use super::floods::{FLOWS, Flooded};
use super::options::Output;
use super::packets::Figures;
use super::start_up::StartUp;
use super::traffic::Traffic;
use super::watched::Watched;

/// Reports progress on standard error.
#[expect(clippy::print_stderr, reason = "progress, away from the figures")]
pub(super) fn progress(what: &str) {
    eprintln!("measuring: {what}");
}

/// Reports what is wrong on standard error.
#[expect(clippy::print_stderr, reason = "problems, away from the figures")]
pub(super) fn complain(what: &str) {
    eprintln!("{what}");
}

/// Prints a title and a table; its columns are numbers, except those at `texts`.
fn print<const N: usize>(
    title: &str,
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    texts: &[usize],
) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.set_header(header).add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        if !texts.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    writeln!(io::stdout(), "{title}\n{table}")?;
    Ok(())
}

pub(super) fn packets(figures: &Figures) -> anyhow::Result<()> {
    let title =
        format!("ns per packet, medians of {} rounds of {} loads", figures.rounds, figures.loads);
    let header =
        ["IP", "policies", "peers", "packet", "flows", "empty", "parse", "over empty", "× empty"];
    let rows = figures.rows.iter().map(|row| {
        [
            row.family.to_string(),
            row.policies.to_string(),
            row.peers.to_string(),
            row.case.clone(),
            row.flows.to_string(),
            format!("{:.1}", row.empty),
            format!("{:.1}", row.parse_only),
            format!("{:.1}", row.over_empty),
            format!("{:.2}", row.ratio),
        ]
    });
    print(&title, header, rows, &[3])?;
    for (program, count) in &figures.verified_instructions {
        let count = count.map_or_else(|| "unknown".to_owned(), |it| it.to_string());
        writeln!(io::stdout(), "{program}: {count} verified instructions")?;
    }
    Ok(())
}

/// Prints costs apart from time.
pub(super) fn costs(costs: &Costs, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return json(costs);
    }
    let rows = costs.packets.iter().map(|it| {
        let [instructions, lookups, calls, lines, bytes] =
            [it.instructions, it.array_lookups, it.calls, it.lines, it.bytes]
                .map(|it| it.to_string());
        [it.case.clone(), it.family.to_string(), instructions, lookups, calls, lines, bytes]
    });
    let header = ["packet", "IP", "instructions", "array look-ups", "calls", "lines", "bytes"];
    print("at most, for a packet", header, rows, &[0])?;
    let rows = costs.programs.iter().map(|it| {
        let verified = it.verified.map_or_else(|| "unknown".to_owned(), |it| it.to_string());
        [it.program.clone(), it.instructions.to_string(), verified]
    });
    print("programs", ["program", "instructions", "verified"], rows, &[0])
}

pub(super) fn traffic(traffic: &Traffic) -> anyhow::Result<()> {
    let title = format!("traffic between two pods of a node, medians of {} rounds", traffic.rounds);
    let header = [
        "setup",
        "policies",
        "1 stream, Gbit/s",
        "32 streams",
        "connections/s",
        "CPU µs each",
        "× no policy",
        "own × no policy",
        "datagrams/s",
        "µs 50 %",
        "90 %",
        "99 %",
        "99.9 %",
    ];
    let rows = traffic.rows.iter().map(|row| {
        let [half, most, nearly, all] = row.latency_us.map(|it| format!("{it:.1}"));
        [
            row.setup.clone(),
            row.policies.to_string(),
            format!("{:.2}", row.one_stream_gbit),
            format!("{:.2}", row.streams_gbit),
            format!("{:.0}", row.connections),
            format!("{:.1}", row.connection_cpu_us),
            format!("{:.3}", row.connection_cpu_ratio),
            format!("{:.3}", row.own_cpu_ratio),
            format!("{:.0}", row.datagrams),
            half,
            most,
            nearly,
            all,
        ]
    });
    print(&title, header, rows, &[0])?;
    traffic.missing.iter().try_for_each(|it| writeln!(io::stdout(), "{it}"))?;
    let rows = traffic.in_place.iter().map(|row| {
        let (packet, program) = (row.packet.clone(), row.program.clone());
        [packet, program, row.flows.to_string(), row.runs.to_string(), format!("{:.0}", row.ns)]
    });
    print("in place, ns", ["packet", "program", "flows", "runs", "ns"], rows, &[0, 1])
}

pub(super) fn floods(rows: &[Flooded]) -> anyhow::Result<()> {
    let title = format!("what floods leave for others; the agent has room for {FLOWS} flows");
    let header = [
        "setup",
        "flood",
        "to",
        "sent/s",
        "Gbit/s",
        "connections/s",
        "idle survives",
        "displaced",
        "refused",
    ];
    let count = |it: Option<u64>| it.map_or_else(|| "–".to_owned(), |it| it.to_string());
    let rows = rows.iter().map(|row| {
        [
            row.setup.clone(),
            row.flood.clone(),
            row.target.clone(),
            format!("{:.0}", row.sent),
            format!("{:.2}", row.gbit),
            format!("{:.0}", row.connections),
            if row.idle_survives { "yes" } else { "NO" }.to_owned(),
            count(row.displaced),
            count(row.refused),
        ]
    });
    print(&title, header, rows, &[0, 1, 2, 6])
}

pub(super) fn effect(effect: &Effect) -> anyhow::Result<()> {
    let (topology, rate) = (effect.topology, effect.packets_per_second);
    let through = match effect.through {
        Through::Files => "in a file",
        Through::Api => "at the Kubernetes API",
    };
    let title =
        format!("ms from saving a policy {through} to its effect, {topology}, {rate:.0} packets/s");
    let rows = effect.rows.iter().map(|row| {
        let [median, p99, max] =
            [row.median_ms, row.p99_ms, row.max_ms].map(|it| format!("{it:.2}"));
        [row.change.to_owned(), row.saves.to_string(), median, p99, max]
    });
    print(&title, ["saved", "times", "median", "p99", "max"], rows, &[0])
}

pub(super) fn watched(rows: &[Watched]) -> anyhow::Result<()> {
    let changes = rows.first().map_or(0, |row| row.changes_per_second);
    let title = format!("the agent with a cluster; changes: {changes} pods' labels per second");
    let header = [
        "pods",
        "RSS MiB",
        "own MiB",
        "start, CPU s",
        "lists to enforced, s",
        "at rest, CPU %",
        "changes, CPU %",
        "lists, MiB",
        "at rest, B/s",
        "a change, B",
    ];
    let rows = rows.iter().map(|row| {
        [
            row.pods.to_string(),
            format!("{:.1}", row.rss_mib),
            format!("{:.1}", row.anonymous_mib),
            format!("{:.2}", row.start_seconds),
            format!("{:.3}", row.enforced_seconds),
            format!("{:.2}", row.rest_percent),
            format!("{:.2}", row.churn_percent),
            format!("{:.2}", row.list_mib),
            format!("{:.0}", row.rest_bytes),
            format!("{:.0}", row.change_bytes),
        ]
    });
    print(&title, header, rows, &[])
}

pub(super) fn attached(rows: &[Attached]) -> anyhow::Result<()> {
    let header = ["by", "interfaces", "all, ms", "one at most, ms"];
    let rows = rows.iter().map(|row| {
        [
            row.by.to_owned(),
            row.interfaces.to_string(),
            format!("{:.1}", row.total_ms),
            format!("{:.1}", row.longest_ms),
        ]
    });
    print("time until interfaces have their programs", header, rows, &[0])
}

pub(super) fn start_up(rows: &[StartUp]) -> anyhow::Result<()> {
    let header = ["by", "pods", "number", "first, ms", "median, ms", "last, ms"];
    let rows = rows.iter().map(|row| {
        [
            row.by.to_owned(),
            row.pods.to_owned(),
            row.number.to_string(),
            format!("{:.0}", row.least_ms),
            format!("{:.0}", row.median_ms),
            format!("{:.0}", row.most_ms),
        ]
    });
    print("time until pods are guarded", header, rows, &[0, 1])
}

pub(super) fn json(figures: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, figures)?;
    writeln!(out)?;
    Ok(())
}
