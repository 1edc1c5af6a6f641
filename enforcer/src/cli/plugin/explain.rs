//! The API server's policies, and whether the agents have the same.

use std::collections::BTreeMap;

use super::super::inspect::{ExplainArgs, answer};
use super::super::status::read;
use super::agents::{Agents, Answer};
use super::arguments::AgentsArgs;
use crate::inspect::document;
use crate::observe::EndpointStatus;

/// Explains connections by the API server's state. Notes where the agent of a pod's node has other
/// policies, does not guard it, or does not answer.
pub(super) async fn explain(
    agents: &Agents,
    arguments: &AgentsArgs,
    mut question: ExplainArgs,
) -> anyhow::Result<(String, u8)> {
    question.source.client.default_to(arguments.client());
    let output = question.output;
    let (mut answer, code) = answer(question).await?;
    let mut notes = Vec::new();
    let mut pods: BTreeMap<String, EndpointStatus> = BTreeMap::new();
    for Answer { node, result } in agents.ask("/status").await {
        match result.and_then(|it| read(&it).map_err(|error| format!("{error:#}"))) {
            Ok(status) => {
                pods.extend(status.endpoints.into_iter().map(|it| (it.pod.clone(), it)));
            }
            Err(why) => notes.push(format!("{node}: the agent does not answer: {why}")),
        }
    }
    for end in answer.connections.iter().flat_map(|it| &it.ends) {
        let Some(known) = pods.get(&end.pod) else {
            let pod = &end.pod;
            notes.push(format!("no agent that answers has {pod}: nothing is known to be enforced"));
            continue;
        };
        let by = match end.direction.as_ref() {
            "ingress" => &known.protection.ingress_by,
            _ => &known.protection.egress_by,
        };
        if *by != end.isolated_by
            && matches!(end.reason.as_ref(), "not-isolated" | "allowed-by-rule" | "no-rule")
        {
            let list = if by.is_empty() { "none".to_owned() } else { by.join(", ") };
            let (pod, direction) = (&end.pod, &end.direction);
            notes.push(format!("the agent of {pod} has other policies for {direction}: {list}"));
        }
        if let Some(why) = &known.protection.unguarded {
            notes.push(format!("{} is not guarded: {why}", end.pod));
        }
    }
    notes.sort();
    notes.dedup();
    answer.notes.extend(notes);
    let text = document("explain", &answer, output)?;
    Ok((text.unwrap_or_else(|| answer.to_string()), code))
}
