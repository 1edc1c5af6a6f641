//! The graph of workloads: an arrow for each pair, denied attempts apart.

use std::collections::{BTreeMap, BTreeSet};

use crate::observe::{FlowRecord, Flows};

/// Arrows: ends and whether it is denied → ports.
type Arrows<'a> = BTreeMap<(&'a str, &'a str, bool), BTreeSet<String>>;

/// A node's number, and its kind.
type Nodes<'a> = BTreeMap<&'a str, (usize, &'a str)>;

fn arrows(flows: &Flows) -> (Nodes<'_>, Arrows<'_>) {
    let mut nodes: Nodes<'_> = BTreeMap::new();
    let mut arrows: Arrows<'_> = BTreeMap::new();
    for flow in &flows.flows {
        nodes.insert(&flow.from, (0, &flow.from_kind));
        nodes.insert(&flow.to, (0, &flow.to_kind));
        let arrow = (flow.from.as_str(), flow.to.as_str(), flow.verdict != "allowed");
        arrows.entry(arrow).or_default().insert(port(flow));
    }
    for (number, (of, _)) in nodes.values_mut().enumerate() {
        *of = number;
    }
    (nodes, arrows)
}

fn port(flow: &FlowRecord) -> String {
    match flow.port {
        Some(port) => format!("{port}/{}", flow.protocol),
        None => flow.protocol.clone(),
    }
}

/// The label of an arrow.
fn label(ports: &BTreeSet<String>, denied: bool) -> String {
    const MOST: usize = 4;
    let mut text = ports.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join(", ");
    if let Some(more) = ports.len().checked_sub(MOST).filter(|it| *it > 0) {
        text += &format!(" and {more} more");
    }
    // Never by colour alone.
    if denied { format!("denied: {text}") } else { text }
}

/// The graph in Graphviz' language.
pub(super) fn dot(flows: &Flows) -> String {
    let (nodes, arrows) = arrows(flows);
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut text = "digraph flows {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
    for (name, (number, kind)) in &nodes {
        let shape = if *kind == "workload" { "" } else { ", shape=ellipse" };
        text += &format!("  n{number} [label={}{shape}];\n", quoted(name));
    }
    let number = |name: &str| nodes.get(name).map_or(0, |it| it.0);
    for ((from, to, denied), ports) in &arrows {
        let style = if *denied { ", style=dashed, color=red" } else { "" };
        let label = quoted(&label(ports, *denied));
        text += &format!("  n{} -> n{} [label={label}{style}];\n", number(from), number(to));
    }
    text + "}\n"
}

/// The graph in Mermaid's language.
pub(super) fn mermaid(flows: &Flows) -> String {
    let (nodes, arrows) = arrows(flows);
    let quoted = |text: &str| {
        let safe = text.replace('#', "#35;").replace('"', "#quot;").replace('\n', " ");
        format!("\"{safe}\"")
    };
    let mut text = "flowchart LR\n".to_owned();
    for (name, (number, kind)) in &nodes {
        let (open, close) = if *kind == "workload" { ("[", "]") } else { ("([", "])") };
        text += &format!("  n{number}{open}{}{close}\n", quoted(name));
    }
    let number = |name: &str| nodes.get(name).map_or(0, |it| it.0);
    for ((from, to, denied), ports) in &arrows {
        let arrow = if *denied { "-.->" } else { "-->" };
        let label = quoted(&label(ports, *denied));
        text += &format!("  n{} {arrow}|{label}| n{}\n", number(from), number(to));
    }
    text
}
