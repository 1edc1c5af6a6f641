//! The cases, which are data: states of a cluster, step by step, and the expected connections.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use enforcer_core::policy::reference::Traffic;
use serde::Deserialize;
use serde_json::Value;

use crate::expect::{Expected, parse_traffic};

/// Labels of a pod or namespace.
pub(crate) type Labels = BTreeMap<String, String>;

/// The changes of one step. Everything else stays.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// A description, in one sentence.
    what: String,
    /// By `namespace/name`, the `spec`; `null`: the policy is deleted.
    #[serde(default)]
    policies: BTreeMap<String, Option<Value>>,
    /// By `namespace/name`, all labels; `null`: the pod ends.
    #[serde(default)]
    pods: BTreeMap<String, Option<Labels>>,
    /// By name, all labels.
    #[serde(default)]
    namespaces: BTreeMap<String, Labels>,
    expect: String,
}

/// A case as in its file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    case: String,
    intent: String,
    rules: Vec<String>,
    /// The traffic to pods; TCP 80 by default.
    traffic: Option<Vec<String>>,
    /// Further manifests, for the whole case: pods that the lab does not run.
    #[serde(default)]
    beside: Vec<Value>,
    #[serde(default)]
    policies: BTreeMap<String, Option<Value>>,
    #[serde(default)]
    pods: BTreeMap<String, Option<Labels>>,
    #[serde(default)]
    namespaces: BTreeMap<String, Labels>,
    expect: String,
    #[serde(default)]
    then: Vec<Step>,
    /// An API server has it from before it refused such policies: a manifest with it has an error.
    #[serde(default)]
    stored: bool,
}

/// The cluster at one point of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// The `spec` of each policy, by `namespace/name`.
    pub policies: BTreeMap<String, Value>,
    /// By `namespace/name`.
    pub pods: BTreeMap<String, Labels>,
    /// By name.
    pub namespaces: BTreeMap<String, Labels>,
    /// Further manifests.
    pub beside: Vec<Value>,
}

/// A state, and its expected connections.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    /// The description of its changes.
    pub what: String,
    pub state: State,
    pub expected: Expected,
}

/// A case.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// The file's name and its own: `ports/by-number`.
    pub name: String,
    pub intent: String,
    /// Numbers of ARCHITECTURE.md.
    pub rules: Vec<String>,
    pub traffic: Vec<Traffic>,
    /// At least one.
    pub stages: Vec<Stage>,
    /// Only an API server can have it: as a new manifest it is refused.
    pub stored: bool,
}

/// The folder with the data.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/cases")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Base {
    namespaces: BTreeMap<String, Labels>,
    pods: BTreeMap<String, Labels>,
}

/// The cluster at the start of every case.
pub(crate) fn base() -> State {
    let text = fs::read_to_string(folder().join("../base.yaml")).unwrap();
    let Base { namespaces, pods } = yaml("base.yaml", &text);
    State { policies: BTreeMap::new(), pods, namespaces, beside: Vec::new() }
}

/// All cases, by file and in the files' order.
pub(crate) fn all() -> Vec<Case> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|it| it == "yaml")).collect();
    files.sort();
    let base = base();
    files.iter().flat_map(|path| read(path, &base)).collect()
}

/// The variable with a part of the names of the cases to run; by default all run.
pub(crate) const ONLY: &str = "CONFORMANCE";

/// The cases to run.
pub(crate) fn chosen() -> Vec<Case> {
    let only = std::env::var(ONLY).unwrap_or_default();
    let cases: Vec<Case> = all().into_iter().filter(|it| it.name.contains(&only)).collect();
    assert!(!cases.is_empty(), "no case matches {ONLY}={only}");
    cases
}

fn read(path: &Path, base: &State) -> Vec<Case> {
    let file = path.file_name().unwrap().to_string_lossy();
    let text = fs::read_to_string(path).unwrap();
    let written: Vec<Written> = yaml(&file, &text);
    let theme = path.file_stem().unwrap().to_string_lossy();
    written.into_iter().map(|it| it.case(&theme, base)).collect()
}

/// The namespace `y` is a name, not a boolean: booleans are those of YAML 1.2.
fn yaml<T: serde::de::DeserializeOwned>(file: &str, text: &str) -> T {
    let options = serde_saphyr::options! { strict_booleans: true };
    let read = serde_saphyr::from_str_with_options(text, options);
    read.unwrap_or_else(|error| panic!("{file}: {error}"))
}

impl Written {
    fn case(self, theme: &str, base: &State) -> Case {
        let name = format!("{theme}/{}", self.case);
        let traffic = self.traffic.unwrap_or_else(|| vec!["tcp80".to_owned()]);
        let traffic: Result<_, _> = traffic.iter().map(|it| parse_traffic(it)).collect();
        let first = Step {
            what: "at first".to_owned(),
            policies: self.policies,
            pods: self.pods,
            namespaces: self.namespaces,
            expect: self.expect,
        };
        let base = State { beside: self.beside, ..base.clone() };
        let mut stages: Vec<Stage> = Vec::new();
        for step in [first].into_iter().chain(self.then) {
            let before = stages.last().map_or(&base, |stage| &stage.state);
            let expected = Expected::parse(&step.expect);
            let expected = expected.unwrap_or_else(|error| panic!("{name}: {error}"));
            let state = before.after(&step);
            stages.push(Stage { what: step.what, state, expected });
        }
        let traffic = traffic.unwrap_or_else(|error| panic!("{name}: {error}"));
        Case { name, intent: self.intent, rules: self.rules, traffic, stages, stored: self.stored }
    }
}

impl State {
    fn after(&self, step: &Step) -> Self {
        let mut state = self.clone();
        replace(&mut state.policies, &step.policies);
        replace(&mut state.pods, &step.pods);
        state.namespaces.extend(step.namespaces.clone());
        state
    }
}

fn replace<T: Clone>(all: &mut BTreeMap<String, T>, changes: &BTreeMap<String, Option<T>>) {
    for (name, change) in changes {
        match change {
            Some(it) => drop(all.insert(name.clone(), it.clone())),
            None => assert!(all.remove(name).is_some(), "there is no {name} to remove"),
        }
    }
}
