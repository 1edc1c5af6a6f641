//! Reports of shares that are too small (semantics R9).

use super::plan::{Plan, Unrepresented};
use super::shortage::{Shortage, Table};
use crate::policy::{Engine, Excess, Resource};

/// Reports the directions that are closed because a namespace's share is too small.
pub(super) fn report_excess(engine: &Engine, plan: &mut Plan) {
    for (pod, direction, excess) in engine.excess() {
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let Excess { resource, needed, share, by_table } = excess;
        let (table, what) = match resource {
            Resource::Names => (Table::Verdicts, "names in rules"),
            Resource::Overlaps => (Table::Verdicts, "overlaps of blocks"),
            Resource::Classes => (Table::Verdicts, "classes of addresses"),
            Resource::PortSets => (Table::PortSets, "port sets"),
            Resource::PortRanges => (Table::PortClasses, "port ranges"),
        };
        let shortage = Shortage { table, limit: number(share), needed: number(needed) };
        let help = match table.limit_name() {
            Some(name) if by_table => {
                format!(", or start the agent with a larger --table-sizes {name}")
            }
            _ => String::new(),
        };
        let reason = format!(
            "namespace {} needs {needed} of {share} {what}, its share of this node: \
             simplify its policies{help}",
            pod.namespace,
        );
        plan.unrepresented.push(Unrepresented { pod: pod.clone(), direction, shortage, reason });
    }
}
