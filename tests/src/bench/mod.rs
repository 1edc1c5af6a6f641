//! Benchmarks: the cost of a packet, the delay of a policy, the cost of watching a cluster.
//!
//! Here belong measurements and their output. Nothing here decides whether a test passes, except for
//! the bounds of figures that do not depend on the machine ([`cost`], [`bounds`]).

pub mod agreement;
mod attach;
pub mod bounds;
mod cases;
mod cluster;
pub mod cost;
mod document;
mod effect;
mod floods;
mod lab;
mod options;
mod packets;
mod print;
mod report;
mod rotator;
mod start_up;
mod target;
mod targets;
mod traffic;
mod watched;

use std::fs;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::rig::with_interfaces;
use document::Document;
use effect::Through;
pub use options::{Options, Output};
use print::progress;

/// Runs the measurements and prints the figures.
///
/// # Errors
/// A part can't be measured.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if options.check || options.write_bounds {
        return check(options);
    }
    if let Some(folder) = &options.render {
        report::render(folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    let measured = measure(options)?;
    if let Some(folder) = &options.report {
        report::write(folder, &measured)?;
    }
    if options.output == Output::Json {
        print::json(&measured)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Compares figures that do not depend on the machine with their bounds, or writes the bounds.
fn check(options: &Options) -> anyhow::Result<ExitCode> {
    let path = options.root.join(bounds::PATH);
    progress("the cost of packets apart from time");
    let costs = cost::measure()?;
    if options.write_bounds {
        fs::write(&path, bounds::render(&costs))
            .with_context(|| format!("write {}", path.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let found = bounds::check(&costs, &text);
    print::costs(&costs, options.output)?;
    found.iter().for_each(|it| print::complain(&it.to_string()));
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Measures what was chosen, and prints each part's table when it is complete.
fn measure(options: &Options) -> anyhow::Result<Document> {
    let is_table = options.output == Output::Table;
    let mut all = Document::new()?;
    if options.wants(options.packets, true) {
        let figures = all.part("packets", || {
            with_interfaces(2, |found| {
                packets::measure(options.rounds, <[u32; 2]>::try_from(found.as_slice())?, progress)
            })
        })?;
        is_table.then(|| print::packets(&figures)).transpose()?;
        all.packets = Some(figures);
        progress("the cost of packets apart from time");
        all.costs = Some(all.part("instructions and memory", cost::measure)?);
    }
    if options.wants(options.traffic, true) {
        let rounds = options.traffic_rounds;
        let traffic = all.part("traffic", || traffic::measure(rounds, progress))?;
        is_table.then(|| print::traffic(&traffic)).transpose()?;
        all.traffic = Some(traffic);
    }
    if options.wants(options.floods, true) {
        let rows = all.part("floods", || floods::measure(progress))?;
        is_table.then(|| print::floods(&rows)).transpose()?;
        all.floods = Some(rows);
    }
    measure_agent(options, is_table, &mut all)?;
    Ok(all)
}

/// The parts that concern the agent rather than packets.
fn measure_agent(options: &Options, is_table: bool, all: &mut Document) -> anyhow::Result<()> {
    if options.wants(options.effect, false) {
        for through in [Through::Files, Through::Api] {
            progress(&format!("{} saves of a policy", options.saves));
            let effect = all.part("effect", || effect::measure(options.saves, through))?;
            is_table.then(|| print::effect(&effect)).transpose()?;
            all.effect.get_or_insert_default().push(effect);
        }
    }
    if options.wants(options.watched, false) {
        let rows = all.part("watched", || {
            let one = |pods: &usize| {
                progress(&format!("{pods} pods at the Kubernetes API"));
                watched::measure(*pods, options.changes)
            };
            options.pods.iter().map(one).collect::<anyhow::Result<Vec<_>>>()
        })?;
        is_table.then(|| print::watched(&rows)).transpose()?;
        all.watched = Some(rows);
    }
    if options.wants(options.attach, false) {
        let rows = all.part("attach", attach::measure)?;
        is_table.then(|| print::attached(&rows)).transpose()?;
        all.attached = Some(rows);
    }
    if options.wants(options.start_up, false) {
        progress("pods at the agent's start, and many new ones");
        let rows = all.part("start-up", start_up::measure)?;
        is_table.then(|| print::start_up(&rows)).transpose()?;
        all.start_up = Some(rows);
    }
    Ok(())
}
