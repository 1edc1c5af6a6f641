//! The pods that no agent guards yet, by the agents' own status.
//!
//! A connection that policy allows looks the same whether the agent allowed it or has no programs at the
//! pod's interface yet.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use enforcer_core::model::PodId;
use serde_json::Value;

use super::AGENT_PORT;
use crate::lab::{Lab, LabError};
use crate::probe::http_get;

/// Longer than a probe's limit: on a loaded machine an agent answers late.
const PATIENCE: Duration = Duration::from_secs(2);

/// The pods with an interface that the node's agent does not report as guarded. An agent that does not
/// answer guards nothing.
pub(super) async fn unguarded(lab: &Lab) -> Result<BTreeSet<PodId>, LabError> {
    let address = SocketAddr::from(([127, 0, 0, 1], AGENT_PORT));
    let mut unguarded = BTreeSet::new();
    for (index, node) in lab.nodes().iter().enumerate() {
        let answer = http_get(node.namespace(), address, "/status", PATIENCE).await?;
        let guarded = guarded(answer.as_deref().unwrap_or_default());
        let here = lab.pods().iter().filter(|(_, pod)| pod.node() == index);
        let open = here.filter(|(id, pod)| !guarded.contains(&(id.to_string(), pod.interface())));
        unguarded.extend(open.map(|(id, _)| id.clone()));
    }
    Ok(unguarded)
}

/// The pods and interfaces that an answer to `/status` reports as guarded. Another pod of the same name
/// has another interface.
fn guarded(answer: &str) -> BTreeSet<(String, u32)> {
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let status: Value = serde_json::from_str(body).unwrap_or_default();
    let endpoints = status["endpoints"].as_array().into_iter().flatten();
    let guarded = endpoints.filter(|it| it["unguarded"].is_null()).filter_map(|it| {
        let ifindex = u32::try_from(it["interface"]["ifindex"].as_u64()?).ok()?;
        Some((it["pod"].as_str()?.to_owned(), ifindex))
    });
    guarded.collect()
}

#[cfg(test)]
mod tests {
    use super::guarded;

    #[test]
    fn only_reported_interfaces_without_a_problem_are_guarded() {
        let answer = "HTTP/1.1 200 OK\r\n\r\n{\"endpoints\": [\
            {\"pod\": \"demo/a\", \"interface\": {\"ifindex\": 7}},\
            {\"pod\": \"demo/b\", \"interface\": {\"ifindex\": 8}, \"unguarded\": \"no hook\"},\
            {\"pod\": \"demo/c\"}]}";
        assert_eq!(guarded(answer), [("demo/a".to_owned(), 7)].into());
        for nothing in ["", "HTTP/1.1 503 no\r\n\r\nbusy", "HTTP/1.1 200 OK\r\n\r\n{}"] {
            assert!(guarded(nothing).is_empty(), "{nothing}");
        }
    }
}
