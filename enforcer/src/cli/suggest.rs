//! `enforcer suggest`: least-privilege policies from observed flows.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;

use super::agent::AgentArgs;
use super::ask::ask;
use super::inspect::SourceArgs;
use crate::inspect::suggested;
use crate::observe::{FlowRecord, Flows};

/// The help after the options.
pub(super) const HELP: &str = "Policies that allow what was observed and nothing else, as manifests \
with the evidence as comments: docs/flows.md has the rules. Without --from, the flows are those of the \
agent on this node: `kubectl enforcer suggest` asks all agents. The policies have the annotation \
enforcer.io/audit, so that they report at first what they would deny. Read them before you apply them: a \
flow that nobody needed is allowed, one that did not occur yet is not.

Exit codes: 0 success, 2 error.

Examples:
  enforcer suggest shop > policies.yaml
  enforcer suggest shop --from flows.jsonl --manifests ./cluster
  kubectl enforcer suggest shop | kubectl apply -f -";

/// What to suggest.
#[derive(Debug, Args)]
pub struct SuggestView {
    /// Namespace whose workloads get policies [default: all namespaces].
    #[arg(value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Read flows from this file instead of the agent: what --flow-log has written, or the output of
    /// `flows --output json`; may be repeated, "-" is standard input.
    #[arg(long, value_name = "FILE")]
    pub from: Vec<PathBuf>,
    /// Omit the annotation that makes the policies only report.
    #[arg(long)]
    pub enforce: bool,
    /// Where pods, labels and Services are read.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// The arguments of `suggest`.
#[derive(Debug, Args)]
pub struct SuggestArgs {
    /// What to suggest.
    #[command(flatten)]
    pub view: SuggestView,
    /// The agent.
    #[command(flatten)]
    pub agent: AgentArgs,
}

/// Suggests policies. Returns the manifests and the exit code.
///
/// # Errors
/// The flows or the state can't be read.
pub async fn run(arguments: SuggestArgs) -> anyhow::Result<(String, u8)> {
    let SuggestArgs { view, agent } = arguments;
    let flows = if view.from.is_empty() {
        super::flows::flows(&ask(agent.status, "GET", "/flows", "")?)?.flows
    } else {
        read_all(&view.from)?
    };
    manifests(view, flows).await
}

/// The manifests for these flows.
pub(super) async fn manifests(
    view: SuggestView,
    flows: Vec<FlowRecord>,
) -> anyhow::Result<(String, u8)> {
    let SuggestView { namespace, enforce, source, .. } = view;
    let state = source.read().await?;
    let suggested = suggested(&state, flows, namespace.as_deref(), !enforce);
    Ok((suggested.to_string(), 0))
}

/// The flows of files.
pub(super) fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<FlowRecord>> {
    let mut all = Vec::new();
    for path in paths {
        all.extend(
            read(path).with_context(|| format!("cannot read flows from {}", path.display()))?,
        );
    }
    Ok(all)
}

/// A document of a file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Flows(Flows),
    Flow(Box<FlowRecord>),
}

fn read(path: &Path) -> anyhow::Result<Vec<FlowRecord>> {
    let text = match path.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin())?,
        false => std::fs::read_to_string(path)?,
    };
    let mut all = Vec::new();
    for document in serde_json::Deserializer::from_str(&text).into_iter::<Document>() {
        match document.context("expected documents of the kind `flow` or `flows`")? {
            Document::Flows(flows) => all.extend(flows.flows),
            Document::Flow(flow) => all.push(in_line(*flow)),
        }
    }
    Ok(all)
}

/// A line of a log: its counts at both ends are totals, the connections are new.
fn in_line(flow: FlowRecord) -> FlowRecord {
    let FlowRecord { connections, at_sender, at_receiver, .. } = flow;
    let (at_sender, at_receiver) =
        if at_sender >= at_receiver { (connections, 0) } else { (0, connections) };
    FlowRecord { at_sender, at_receiver, ..flow }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_and_documents_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flows");
        let flow = r#"{"version":1,"kind":"flow","from":"a/b","from_kind":"workload","to":"a/c",
            "to_kind":"workload","protocol":"TCP","port":80,"verdict":"allowed","connections":2,
            "at_sender":9,"at_receiver":9,"first_seen":"x","last_seen":"y"}"#;
        let flow = flow.replace('\n', "");
        let flows = format!(
            r#"{{"version":1,"kind":"flows","node":"n","since":"x","at":"y","revision":1,"flows":[{flow}]}}"#
        );
        std::fs::write(&path, format!("{flow}\n{flow}\n{flows}\n")).unwrap();
        let all = read_all(std::slice::from_ref(&path)).unwrap();
        let counts: Vec<_> = all.iter().map(|it| (it.at_sender, it.at_receiver)).collect();
        assert_eq!(counts, [(2, 0), (2, 0), (9, 9)]);
        std::fs::write(&path, "{\"kind\":\"drop\"}\n").unwrap();
        assert!(read_all(&[path]).is_err());
    }
}
