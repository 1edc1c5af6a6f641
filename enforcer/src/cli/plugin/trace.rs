//! What the programs of the pods' nodes do with a packet.

use std::collections::BTreeSet;

use super::super::trace::{TraceView, print, read};
use super::agents::{Agents, Answer};
use super::arguments::AgentsArgs;
use crate::inspect::{Each, Question, State, StateOptions, Trace, ask_each};
use crate::observe::Asked;

/// Asks the agents of the pods' nodes; the API server knows these.
pub(super) async fn trace(
    agents: &Agents,
    arguments: &AgentsArgs,
    view: &TraceView,
) -> anyhow::Result<(String, u8)> {
    let options = StateOptions { client: arguments.client(), ..StateOptions::default() };
    let state = State::read(&options).await?;
    let asked = Question { all: false, ..view.connection.clone().question() };
    let Each { pairs, .. } = ask_each(&state, &asked)?;
    let pods = pairs.iter().flat_map(|(_, explained)| explained.ends.iter().map(|it| &it.pod));
    let pods: BTreeSet<&String> = pods.collect();
    let known = state.cluster.pods.values().filter(|it| pods.contains(&it.id.to_string()));
    let nodes: BTreeSet<String> =
        known.filter_map(|it| it.node.as_ref().map(ToString::to_string)).collect();
    let mut trace = Trace::default();
    for node in nodes.iter().filter(|it| !agents.has(it)) {
        trace.silent.push(format!("{node}: there is no agent"));
    }
    let path = view.connection.clone().live().path(Asked::Trace);
    for Answer { node, result } in agents.ask_some(|it| nodes.contains(it), &path).await {
        match result.and_then(|it| read(&it).map_err(|error| format!("{error:#}"))) {
            Ok(one) => trace.add(one),
            Err(why) => trace.silent.push(format!("{node}: {why}")),
        }
    }
    print(&trace, view.output)
}
