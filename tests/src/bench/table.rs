//! The figures, for people and for scripts.

use std::io::{self, Write as _};

use comfy_table::{CellAlignment, Table};

use super::{Effect, Figures, Through, Watched};

/// Prints the figures as a table.
pub(super) fn print(figures: &Figures) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.set_header([
        "IP",
        "policies",
        "peers",
        "packet",
        "empty",
        "parse",
        "total",
        "over parse",
        "× empty",
    ]);
    for row in &figures.rows {
        table.add_row([
            row.family.to_string(),
            row.policies.to_string(),
            row.peers.to_string(),
            row.case.to_owned(),
            format!("{:.1}", row.empty),
            format!("{:.1}", row.parse_only),
            format!("{:.1}", row.total),
            format!("{:.1}", row.over_parse),
            format!("{:.2}", row.ratio),
        ]);
    }
    for index in [0, 1, 2, 4, 5, 6, 7, 8] {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut out = io::stdout().lock();
    writeln!(out, "ns a packet, medians of {} rounds, kernel {}", figures.rounds, figures.kernel)?;
    writeln!(out, "{table}")?;
    for (program, count) in &figures.verified_instructions {
        let count = count.map_or_else(|| "unknown".to_owned(), |it| it.to_string());
        writeln!(out, "{program}: {count} verified instructions")?;
    }
    Ok(())
}

/// Prints how soon policies act as a table.
pub(super) fn print_effect(effect: &Effect) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.set_header(["saved", "times", "median", "p99", "max"]);
    for row in &effect.rows {
        table.add_row([
            row.change.to_owned(),
            row.saves.to_string(),
            format!("{:.2}", row.median_ms),
            format!("{:.2}", row.p99_ms),
            format!("{:.2}", row.max_ms),
        ]);
    }
    for index in 1..5 {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut out = io::stdout().lock();
    let (topology, rate) = (effect.topology, effect.packets_per_second);
    let through = match effect.through {
        Through::Files => "in a file",
        Through::Api => "at the Kubernetes API",
    };
    writeln!(
        out,
        "ms from saving a policy {through} to its effect, {topology}, {rate:.0} packets/s"
    )?;
    writeln!(out, "{table}")?;
    Ok(())
}

/// Prints what watching clusters takes as a table.
pub(super) fn print_watched(rows: &[Watched]) -> anyhow::Result<()> {
    let mut table = Table::new();
    let header = ["pods", "RSS MiB", "own MiB", "start, CPU s", "at rest, CPU %", "changes, CPU %"];
    table.set_header(header);
    for row in rows {
        table.add_row([
            row.pods.to_string(),
            format!("{:.1}", row.rss_mib),
            format!("{:.1}", row.anonymous_mib),
            format!("{:.2}", row.start_seconds),
            format!("{:.2}", row.rest_percent),
            format!("{:.2}", row.churn_percent),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let changes = rows.first().map_or(0, |row| row.changes_per_second);
    let mut out = io::stdout().lock();
    writeln!(out, "the agent beside a cluster; changes: {changes} pods' labels a second")?;
    writeln!(out, "{table}")?;
    Ok(())
}

/// Prints one JSON document.
pub(super) fn print_json(figures: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, figures)?;
    writeln!(out)?;
    Ok(())
}
