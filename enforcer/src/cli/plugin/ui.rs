//! The web page about the API server's policies, with what all agents saw.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::super::page::{Where, serve};
use super::super::{flows, status};
use super::agents::{Agents, Answer};
use super::arguments::{AgentsArgs, UiView};
use crate::observe::{Audit, Flows, Status};
use crate::page::{Activity, ActivityReport, Reader};

/// Serves the page on loopback until Ctrl-C.
pub(super) async fn ui(
    agents: Agents,
    arguments: &AgentsArgs,
    view: UiView,
    out: &mut impl Write,
) -> anyhow::Result<u8> {
    let mut options = view.source.options()?;
    let client = arguments.client();
    options.client.kubeconfig = options.client.kubeconfig.or(client.kubeconfig);
    options.client.context = options.client.context.or(client.context);
    let (clusters, activity) = (Arc::new(Reader::new(options)), Arc::new(Nodes(agents)));
    serve(Where { port: view.port, clusters, activity }, out).await?;
    Ok(0)
}

/// The agents of all nodes.
struct Nodes(Agents);

#[async_trait]
impl Activity for Nodes {
    async fn read(&self) -> ActivityReport {
        let mut report = ActivityReport::default();
        let states = parsed(&mut report, self.0.ask("/status").await, status::read);
        let seen = parsed(&mut report, self.0.ask("/flows").await, flows::flows);
        let read = |it: &str| Ok(serde_json::from_str::<Vec<Value>>(it)?);
        let drops = parsed(&mut report, self.0.ask("/drops").await, read);
        for (node, flows) in seen {
            report.audit.extend(audit(states.get(&node), &flows));
            report.flows.extend(serde_json::to_value(&flows));
            report.agents.push(node);
        }
        for (node, mut drops) in drops {
            // The page names the node, as the documents of `drops` do.
            for drop in drops.iter_mut().filter_map(Value::as_object_mut) {
                drop.insert("node".to_owned(), node.clone().into());
            }
            report.drops.extend(drops);
        }
        report.silent.sort();
        report.silent.dedup();
        report
    }
}

fn audit(status: Option<&Status>, flows: &Flows) -> Option<Value> {
    serde_json::to_value(Audit::new(&[status?.clone()], flows)).ok()
}

/// The answers by node; those that there are none of are noted.
fn parsed<T>(
    report: &mut ActivityReport,
    answers: Vec<Answer>,
    read: impl Fn(&str) -> anyhow::Result<T>,
) -> BTreeMap<String, T> {
    let mut found = BTreeMap::new();
    for Answer { node, result } in answers {
        match result.and_then(|it| read(&it).map_err(|error| format!("{error:#}"))) {
            Ok(value) => drop(found.insert(node, value)),
            Err(why) => report.silent.push(format!("{node}: {why}")),
        }
    }
    found
}
