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
mod effect;
mod floods;
mod lab;
mod options;
mod packets;
mod print;
mod rotator;
mod target;
mod traffic;
mod watched;

use std::fs;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

use crate::rig::with_interfaces;
use attach::Attached;
use effect::{Effect, Through};
use floods::Flooded;
pub use options::{Options, Output};
use packets::Figures;
use print::progress;
use traffic::Traffic;
use watched::Watched;

/// Runs the measurements and prints the figures.
///
/// # Errors
/// A part can't be measured.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if options.check || options.write_bounds {
        return check(options);
    }
    let measured = measure(options)?;
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
fn measure(options: &Options) -> anyhow::Result<Everything> {
    let is_table = options.output == Output::Table;
    let mut all = Everything { version: VERSION, kind: "bench", ..Everything::default() };
    if options.wants(options.packets) {
        let measured = with_interfaces(2, |found| {
            packets::measure(options.rounds, <[u32; 2]>::try_from(found.as_slice())?, progress)
        });
        let figures = all.packets.insert(measured?);
        is_table.then(|| print::packets(figures)).transpose()?;
    }
    if options.wants(options.traffic) {
        let traffic = all.traffic.insert(traffic::measure(options.traffic_rounds, progress)?);
        is_table.then(|| print::traffic(traffic)).transpose()?;
    }
    if options.wants(options.floods) {
        let rows = all.floods.insert(floods::measure(progress)?);
        is_table.then(|| print::floods(rows)).transpose()?;
    }
    if options.wants(options.effect) {
        for through in [Through::Files, Through::Api] {
            progress(&format!("{} saves of a policy", options.saves));
            let effect = effect::measure(options.saves, through)?;
            is_table.then(|| print::effect(&effect)).transpose()?;
            all.effect.get_or_insert_default().push(effect);
        }
    }
    if options.wants(options.watched) {
        let rows = all.watched.get_or_insert_default();
        for pods in &options.pods {
            progress(&format!("{pods} pods at the Kubernetes API"));
            rows.push(watched::measure(*pods)?);
        }
        is_table.then(|| print::watched(rows)).transpose()?;
    }
    if options.wants(options.attach) {
        let rows = all.attached.insert(attach::measure()?);
        is_table.then(|| print::attached(rows)).transpose()?;
    }
    Ok(all)
}

/// The version of the JSON document: see docs/json.md.
const VERSION: u32 = 1;

/// The JSON document, without the parts that were not measured.
#[derive(Debug, Default, Serialize)]
struct Everything {
    version: u32,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    packets: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic: Option<Traffic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    floods: Option<Vec<Flooded>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<Vec<Effect>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watched: Option<Vec<Watched>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attached: Option<Vec<Attached>>,
}
