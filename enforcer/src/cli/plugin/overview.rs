//! The status of all agents.

use std::io::Write;

use serde::Serialize;

use super::super::format::Format;
use super::super::status::{dropped, read};
use super::super::table::table;
use super::agents::Answer;
use crate::inspect::{Output, document};
use crate::observe::{EndpointStatus, Isolation, Status};

/// A node in the document.
#[derive(Serialize)]
struct Node {
    node: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    silent: Option<String>,
}

#[derive(Serialize)]
struct Cluster {
    nodes: Vec<Node>,
}

/// A problem in the document.
#[derive(Serialize)]
struct Problem {
    node: String,
    problem: String,
}

#[derive(Serialize)]
struct Problems {
    problems: Vec<Problem>,
}

fn nodes(answers: &[Answer]) -> Vec<Node> {
    let node = |it: &Answer| {
        let status = it.result.clone().and_then(|it| read(&it).map_err(|it| format!("{it:#}")));
        let (status, silent) = match status {
            Ok(status) => (Some(status), None),
            Err(why) => (None, Some(why)),
        };
        Node { node: it.node.clone(), status, silent }
    };
    answers.iter().map(node).collect()
}

/// The status of the agents that answered.
pub(super) fn answered(answers: &[Answer]) -> Vec<Status> {
    nodes(answers).into_iter().filter_map(|it| it.status).collect()
}

/// Prints a row for each node, and what needs attention.
pub(super) fn status(
    answers: &[Answer],
    output: Format,
    out: &mut impl Write,
) -> anyhow::Result<u8> {
    let nodes = nodes(answers);
    let text = match output {
        Format::Json => {
            document("cluster-status", &Cluster { nodes }, Output::Json)?.unwrap_or_default()
        }
        Format::Text => {
            let problems = lines(&problems_of(&nodes));
            let rows = nodes.iter().map(row);
            let header =
                ["NODE", "AGENT", "STATE", "PODS", "INGRESS", "EGRESS", "DROPPED", "PROBLEMS"];
            let mut text = table(&header, rows);
            if !problems.is_empty() {
                text += &format!("\nNeeds attention:\n{problems}");
            }
            text
        }
    };
    out.write_all(text.as_bytes())?;
    Ok(0)
}

fn row(node: &Node) -> Vec<String> {
    let Some(status) = &node.status else {
        let mut row = vec![node.node.clone(), String::new(), "NO ANSWER".to_owned()];
        row.resize(7, String::new());
        row.push("1".to_owned());
        return row;
    };
    let isolated = |of: fn(&EndpointStatus) -> Isolation| {
        let pods = status.endpoints.iter();
        pods.filter(|it| of(it) != Isolation::NotIsolated).count().to_string()
    };
    let dropped: u64 = status.endpoints.iter().map(dropped).sum();
    vec![
        node.node.clone(),
        status.version.clone(),
        if status.ready { "ready" } else { "NOT READY" }.to_owned(),
        status.endpoints.len().to_string(),
        isolated(|it| it.ingress),
        isolated(|it| it.egress),
        dropped.to_string(),
        status.problems.len().to_string(),
    ]
}

fn problems_of(nodes: &[Node]) -> Vec<Problem> {
    let problems = nodes.iter().flat_map(|it| {
        let silent = it.silent.iter().map(|why| format!("the agent does not answer: {why}"));
        let known = it.status.iter().flat_map(|status| status.problems.iter().cloned());
        // Its initial state is not enforced yet, which is no problem of its own.
        let early = it.status.iter().filter(|it| !it.ready && it.problems.is_empty());
        let early = early.map(|_| "the agent is not ready".to_owned());
        silent.chain(known).chain(early).map(|problem| Problem { node: it.node.clone(), problem })
    });
    problems.collect()
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|it| format!("  - {}: {}\n", it.node, it.problem)).collect()
}

/// Prints everything that needs attention. Exit code 1: there is something.
pub(super) fn problems(
    answers: &[Answer],
    output: Format,
    out: &mut impl Write,
) -> anyhow::Result<u8> {
    let problems = problems_of(&nodes(answers));
    let code = u8::from(!problems.is_empty());
    let text = match (output, problems.as_slice()) {
        (Format::Json, _) => {
            document("problems", &Problems { problems }, Output::Json)?.unwrap_or_default()
        }
        (Format::Text, []) => format!("no problem; agents that answered: {}\n", answers.len()),
        (Format::Text, problems) => lines(problems),
    };
    out.write_all(text.as_bytes())?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_is_not_ready_is_a_problem() {
        let of = |ready, problems: &[&str]| {
            let problems = problems.iter().map(|it| (*it).to_owned()).collect();
            let status = Status { ready, problems, ..Status::default() };
            let result = Ok(serde_json::to_string(&status).unwrap());
            let mut out = Vec::new();
            let answer = Answer { node: "node-1".to_owned(), result };
            let code = super::problems(&[answer], Format::Text, &mut out).unwrap();
            (code, String::from_utf8(out).unwrap())
        };
        assert_eq!(of(true, &[]).0, 0);
        assert_eq!(of(false, &[]), (1, "  - node-1: the agent is not ready\n".to_owned()));
        assert_eq!(
            of(false, &["a table is full"]),
            (1, "  - node-1: a table is full\n".to_owned())
        );
    }
}
