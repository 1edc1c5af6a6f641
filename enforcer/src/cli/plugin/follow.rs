//! Drops, flows and traffic of all nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};

use super::super::drops::{Line, is_wanted, sentence};
use super::super::flows::{FlowView, Follower, flows as read_flows, text};
use super::super::format::Format;
use super::super::status::read;
use super::super::top;
use super::agents::{Agents, Answer};
use super::arguments::{DropsView, TopView};
use crate::observe::{Flows, RecentDrop, Status};

/// The time between two requests of `--follow`.
const INTERVAL: Duration = Duration::from_secs(2);

/// The agents that do not answer: each is reported once, until it answers again.
#[derive(Default)]
struct Silent(BTreeSet<String>);

impl Silent {
    fn note(&mut self, node: &str, why: &str) {
        if self.0.insert(node.to_owned()) {
            tracing::warn!("{node}: the agent does not answer: {why}");
        }
    }

    fn answers(&mut self, node: &str) {
        self.0.remove(node);
    }
}

/// Parses an answer; `None`: it is reported.
fn parsed<T>(
    answer: &Answer,
    silent: &mut Silent,
    parse: impl Fn(&str) -> anyhow::Result<T>,
) -> Option<T> {
    let result = answer.result.clone();
    match result.and_then(|it| parse(&it).map_err(|error| format!("{error:#}"))) {
        Ok(value) => {
            silent.answers(&answer.node);
            Some(value)
        }
        Err(why) => {
            silent.note(&answer.node, &why);
            None
        }
    }
}

/// Prints the drops of all nodes.
pub(super) async fn drops(
    agents: &Agents,
    view: &DropsView,
    out: &mut impl Write,
) -> anyhow::Result<u8> {
    let mut after: BTreeMap<String, u64> = BTreeMap::new();
    let mut silent = Silent::default();
    loop {
        let last = |node: &str| after.get(node).copied().unwrap_or_default();
        let answers = agents.ask_each(|node| format!("/drops?after={}", last(node))).await;
        let mut all: Vec<(String, RecentDrop)> = Vec::new();
        for answer in &answers {
            let parse = |text: &str| Ok(serde_json::from_str::<Vec<RecentDrop>>(text)?);
            // An agent that has started again counts from one.
            let Some(drops) = parsed(answer, &mut silent, parse) else {
                after.remove(&answer.node);
                continue;
            };
            if let Some(newest) = drops.first() {
                after.insert(answer.node.clone(), newest.number);
            }
            all.extend(drops.into_iter().map(|it| (answer.node.clone(), it)));
        }
        all.retain(|(_, it)| is_wanted(it, view.namespace.as_deref()));
        all.sort_by_key(|(_, it)| std::cmp::Reverse(it.seconds_ago));
        for (node, drop) in &all {
            match view.output {
                Format::Json => writeln!(out, "{}", Line::of(drop, Some(node)).json()?)?,
                Format::Text => writeln!(out, "{}  {node}", sentence(drop))?,
            }
        }
        out.flush()?;
        if !view.follow {
            return Ok(0);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The flows of all nodes.
pub(super) async fn merged(agents: &Agents) -> Flows {
    let answers = agents.ask("/flows").await;
    let mut all = Vec::new();
    let mut silent = Vec::new();
    for Answer { node, result } in answers {
        match result.and_then(|it| read_flows(&it).map_err(|error| format!("{error:#}"))) {
            Ok(flows) => all.push(flows),
            Err(why) => silent.push(format!("{node}: {why}")),
        }
    }
    Flows { silent, ..Flows::merged(all) }
}

/// Prints the flows of all nodes.
pub(super) async fn flows(
    agents: &Agents,
    view: &FlowView,
    out: &mut impl Write,
) -> anyhow::Result<u8> {
    if !view.follow {
        out.write_all(text(merged(agents).await, view)?.as_bytes())?;
        return Ok(0);
    }
    let mut after: BTreeMap<String, u64> = BTreeMap::new();
    // Each node counts for itself.
    let mut followers: BTreeMap<String, Follower> = BTreeMap::new();
    let mut silent = Silent::default();
    loop {
        let last = |node: &str| after.get(node).copied().unwrap_or_default();
        let answers = agents.ask_each(|node| format!("/flows?after={}", last(node))).await;
        for answer in &answers {
            let Some(mut news) = parsed(answer, &mut silent, read_flows) else { continue };
            let node = answer.node.clone();
            // Another agent counts from one again.
            let known = after.entry(node.clone()).or_default();
            *known = if news.revision < *known { 0 } else { news.revision };
            view.filter.apply(&mut news);
            for flow in &mut news.flows {
                flow.node = Some(node.clone());
            }
            followers.entry(node).or_default().print(&news.flows, view, out)?;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Prints the pods of all nodes after each interval.
pub(super) async fn top(
    agents: &Agents,
    view: &TopView,
    out: &mut impl Write,
) -> anyhow::Result<u8> {
    let (mut before, mut since) = (all_pods(agents).await, Instant::now());
    let mut left = view.count;
    while left != Some(0) {
        tokio::time::sleep(Duration::from_secs(view.interval)).await;
        let (now, at) = (all_pods(agents).await, Instant::now());
        top::print(&before, &now, at - since, view.pods, view.output, out)?;
        (before, since) = (now, at);
        left = left.map(|it| it.saturating_sub(1));
    }
    Ok(0)
}

/// The pods and problems of all nodes as of one.
async fn all_pods(agents: &Agents) -> Status {
    let mut sum = Status::default();
    for Answer { node, result } in agents.ask("/status").await {
        match result.and_then(|it| read(&it).map_err(|error| format!("{error:#}"))) {
            Ok(status) => {
                let problems = status.problems.iter().map(|it| format!("{node}: {it}"));
                sum.problems.extend(problems);
                sum.endpoints.extend(status.endpoints);
            }
            Err(why) => sum.problems.push(format!("{node}: the agent does not answer: {why}")),
        }
    }
    sum
}
