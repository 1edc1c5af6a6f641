//! The report: the page with a cluster's state in one file.

use std::collections::BTreeMap;

use serde::Serialize;

use super::activity::ActivityReport;
use super::bundle::bundle;
use crate::inspect::{
    self, Answer, Description, Overview, Question, SCHEMA_VERSION, State, Subject,
};

/// Explanations that a report has at most: one for each pair of workloads.
const EXPLANATIONS: usize = 4_000;
/// Pods that a report describes at most.
const PODS: usize = 1_000;

/// The contents of a report.
#[derive(Debug)]
pub struct Report<'a> {
    /// The cluster.
    pub state: &'a State,
    /// Where it was read.
    pub source: String,
    /// When it was read.
    pub at: String,
    /// What agents saw.
    pub activity: ActivityReport,
}

#[derive(Serialize)]
struct Contents {
    version: u32,
    kind: &'static str,
    at: String,
    model: Overview,
    activity: ActivityReport,
    /// By sender and receiver, as ends of `explain`.
    explanations: BTreeMap<String, BTreeMap<String, Answer>>,
    /// By the name that `describe` takes.
    descriptions: BTreeMap<String, Description>,
    /// Pairs of workloads without an explanation.
    unexplained: usize,
}

/// The report as an HTML file.
///
/// # Errors
/// The data can't be written as JSON.
pub fn report(report: Report<'_>) -> anyhow::Result<String> {
    let Report { state, source, at, activity } = report;
    let model = inspect::overview(state, &source);
    let (explanations, unexplained) = explanations(state, &model);
    let descriptions = descriptions(state, &model);
    let contents = Contents {
        version: SCHEMA_VERSION,
        kind: "report",
        at,
        model,
        activity,
        explanations,
        descriptions,
        unexplained,
    };
    Ok(bundle(&serde_json::to_string(&contents)?))
}

/// Pairs with policies come first: the others have nothing to explain.
fn explanations(
    state: &State,
    model: &Overview,
) -> (BTreeMap<String, BTreeMap<String, Answer>>, usize) {
    let ends: Vec<(&str, bool)> = ends(model);
    let pairs = || ends.iter().flat_map(|from| ends.iter().map(move |to| (from, to)));
    let has_policy = |((_, from), (_, to)): &(&(&str, bool), &(&str, bool))| *from || *to;
    let ordered = pairs().filter(has_policy).chain(pairs().filter(|it| !has_policy(it)));
    let mut found: BTreeMap<String, BTreeMap<String, Answer>> = BTreeMap::new();
    for ((from, _), (to, _)) in ordered.take(EXPLANATIONS) {
        let question = Question {
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            namespace: "default".to_owned(),
            all: false,
        };
        // Ends that can't be asked about have no explanation: a pod without an address.
        if let Ok(answer) = inspect::ask(state, &question) {
            found.entry(question.from).or_default().insert(question.to, answer);
        }
    }
    (found, (ends.len() * ends.len()).saturating_sub(EXPLANATIONS))
}

/// The ends, and whether a policy isolates one of their pods.
fn ends(model: &Overview) -> Vec<(&str, bool)> {
    let mut isolated = vec![false; model.workloads.len()];
    for pod in model.pods.iter().filter(|it| it.ingress || it.egress) {
        if let Some(it) = isolated.get_mut(pod.workload) {
            *it = true;
        }
    }
    let workloads = model.workloads.iter().map(|it| it.end.as_str());
    workloads.zip(isolated).chain([("outside", false)]).collect()
}

fn descriptions(state: &State, model: &Overview) -> BTreeMap<String, Description> {
    let namespaces = model.namespaces.iter().map(|it| format!("ns/{}", it.namespace));
    let in_namespace = |kind: &str, name: &str| {
        name.split_once('/').map(|(namespace, name)| format!("{namespace}/{kind}/{name}"))
    };
    let policies = model.policies.iter().filter_map(|it| in_namespace("netpol", &it.name));
    let pods = model.pods.iter().take(PODS).filter_map(|it| in_namespace("pod", &it.name));
    let names = namespaces.chain(policies).chain(pods);
    let described = names.filter_map(|name| {
        let found = inspect::describe(state, &Subject::Named(name.clone()), "default").ok()?;
        Some((name, found))
    });
    described.collect()
}
