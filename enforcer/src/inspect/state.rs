//! The state that questions are about: a cluster, and where its objects are declared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use enforcer_core::explain::{Workload, Workloads};
use enforcer_core::model::{Change, Cluster, Peer, PodId, PolicyId};
use ipnet::IpNet;

use super::addresses;
use super::end::EndError;
use super::git::{GitError, Revision};
use super::remove::remove;
use crate::source::kubernetes::{ClientError, ClientOptions, Connection, OnceError, read_once};
use crate::source::manifests::{
    Input, Location, ManifestError, Manifests, Places, Report, is_stdin,
};
use crate::source::{Remark, Severity};

/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A state can't be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The files can't be read.
    #[error(transparent)]
    Manifests(#[from] ManifestError),
    /// The files have errors, so that what would be made of them would be about other policies.
    #[error("the manifests have errors; correct them first:\n{0}")]
    Errors(String),
    /// Nothing came through standard input or a pipe. It would look like a cluster without policies.
    #[error("{} is empty: did the command that writes to it fail?", _0.display())]
    Empty(PathBuf),
    /// The API server can't be found.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The API server can't be read.
    #[error(transparent)]
    Once(#[from] OnceError),
    /// An object can't be deleted.
    #[error(transparent)]
    Deletion(#[from] EndError),
    /// The revision can't be read.
    #[error("{name} is neither a file, nor a folder, nor `-`, nor `cluster`, nor a git revision")]
    Unknown {
        /// The name.
        name: String,
        /// git's answer.
        source: GitError,
    },
}

/// Where to read a state.
#[derive(Debug, Clone, Default)]
pub struct StateOptions {
    /// What declares the objects; empty: the API server.
    pub manifests: Vec<Input>,
    /// The API server.
    pub client: ClientOptions,
    /// Manifests whose objects replace those of the state.
    pub what_if: Vec<Input>,
    /// Objects to delete first, as `KIND/NAMESPACE/NAME` or `ns/NAME`.
    pub what_if_delete: Vec<String>,
    /// The range of the addresses of pods that have none.
    pub pod_cidr: Option<IpNet>,
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// The API server.
    Cluster,
    /// A file, a folder, a pipe, or standard input as `-`.
    Path(PathBuf),
    /// A git revision, or `REVISION:PATH`.
    Revision {
        /// Its name.
        name: String,
        /// The file or folder that it is about, unless the name has a path.
        at: PathBuf,
    },
}

impl Side {
    /// The sides of these names: `cluster`, `-`, an existing path, else a git revision. A revision beside a path
    /// is about that path.
    #[must_use]
    pub fn both(names: [&str; 2]) -> [Self; 2] {
        let side = |name: &str, beside: &str| match (Path::new(name), Path::new(beside)) {
            _ if name == "cluster" => Self::Cluster,
            (path, _) if is_stdin(path) || path.exists() => Self::Path(path.to_owned()),
            (_, beside) if beside.exists() && !name.contains(':') => Self::revision(name, beside),
            _ => Self::revision(name, Path::new(".")),
        };
        let [old, new] = names;
        [side(old, new), side(new, old)]
    }

    fn revision(name: &str, at: &Path) -> Self {
        Self::Revision { name: name.to_owned(), at: at.to_owned() }
    }
}

/// A state.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The cluster. Pods without an address have an assumed one.
    pub cluster: Cluster,
    /// The pods' workloads.
    pub workloads: Workloads,
    /// The pods whose address is assumed.
    pub assumed: BTreeSet<PodId>,
    /// Remarks on the objects, one line each.
    pub remarks: Vec<String>,
    /// The errors of the files, one line each, and their effect. The cluster is what the agent makes of the
    /// files: policies with errors isolate the pods that they select, and allow nothing.
    pub errors: Vec<String>,
    /// The node whose addresses the cluster has; `None`: those of every pod's own node.
    pub node: Option<String>,
    places: Vec<Places>,
}

impl State {
    /// Reads a state, and applies the changes of `what_if_delete` and `what_if`. Files may have errors.
    ///
    /// # Errors
    /// A path is missing, the API server can't be read, or an object to delete does not exist.
    pub async fn read(options: &StateOptions) -> Result<Self, StateError> {
        let mut state = match options.manifests.as_slice() {
            [] => Self::of_server(&options.client).await?,
            inputs => Self::of_inputs(inputs)?,
        };
        for object in &options.what_if_delete {
            remove(&mut state.cluster, &state.workloads, object)?;
        }
        if !options.what_if.is_empty() {
            state.change(Self::of_inputs(&options.what_if)?);
        }
        state.assume(options.pod_cidr);
        Ok(state)
    }

    /// Reads a side of a comparison. Addresses are not assumed yet.
    ///
    /// # Errors
    /// As [`Self::read`]; or git fails.
    pub async fn side(side: &Side, client: &ClientOptions) -> Result<Self, StateError> {
        match side {
            Side::Cluster => Self::of_server(client).await,
            Side::Path(path) => Self::of_inputs(&[Input::open(path.clone())?]),
            Side::Revision { name, at } => {
                let unknown = |source| StateError::Unknown { name: name.clone(), source };
                let revision = Revision::read(at, name).map_err(unknown)?;
                let mut state = Self::of_inputs(&[Input::open(revision.path())?])?;
                for remark in state.remarks.iter_mut().chain(&mut state.errors) {
                    *remark = revision.named(remark);
                }
                Ok(state)
            }
        }
    }

    fn of_inputs(inputs: &[Input]) -> Result<Self, StateError> {
        if let Some(empty) = inputs.iter().find(|it| it.is_empty()) {
            return Err(StateError::Empty(empty.name().to_owned()));
        }
        let (manifests, reports) = Manifests::read_once(inputs);
        Ok(Self::of_manifests(&manifests, &reports))
    }

    /// The objects in a text, in whose places `name` stands for a file.
    ///
    /// # Errors
    /// The text has errors.
    pub fn of_text(name: &Path, text: &str) -> Result<Self, StateError> {
        let (manifests, reports) = Manifests::of_text(name, text);
        Self::of_manifests(&manifests, &reports).valid()
    }

    /// The state, unless files have errors.
    ///
    /// # Errors
    /// Files have errors.
    pub fn valid(self) -> Result<Self, StateError> {
        match self.errors.as_slice() {
            [] => Ok(self),
            errors => Err(StateError::Errors(first_few(errors))),
        }
    }

    fn of_manifests(manifests: &Manifests, reports: &[Report]) -> Self {
        let lines = |wanted: fn(&Report) -> bool| {
            reports.iter().filter(move |it| wanted(it)).map(ToString::to_string).collect::<Vec<_>>()
        };
        let mut errors = lines(|it| it.severity == Severity::Error);
        if !errors.is_empty() {
            // The effects of errors are about whole files.
            errors.extend(lines(|it| it.severity == Severity::Notice && it.path.is_empty()));
        }
        let places = manifests.places();
        Self {
            cluster: manifests.cluster().clone(),
            workloads: Workloads::new(workloads(&places)),
            remarks: lines(|it| it.severity == Severity::Warning),
            errors,
            places: vec![places],
            ..Self::default()
        }
    }

    /// The state that the agent of a node has.
    #[must_use]
    pub fn of_node(cluster: Cluster, node: &str) -> Self {
        Self { cluster, node: Some(node.to_owned()), ..Self::default() }
    }

    async fn of_server(client: &ClientOptions) -> Result<Self, StateError> {
        let connection = Connection::find(client).await?;
        let (cluster, remarks) = read_once(&connection, PATIENCE).await?;
        let bad = |it: &Remark| it.severity != Severity::Notice;
        let remarks = remarks.into_iter().flat_map(|it| it.list).filter(bad);
        let remarks = remarks.map(|it| format!("{}: {}", it.severity, it.text)).collect();
        Ok(Self { cluster, remarks, ..Self::default() })
    }

    /// Replaces or adds the objects that another state declares.
    pub(crate) fn change(&mut self, other: Self) {
        let Cluster { namespaces, pods, policies, services, .. } = other.cluster;
        let declared = |name: &String| other.places.iter().any(|it| it.declares_namespace(name));
        for (name, namespace) in namespaces {
            // A namespace that no file declares keeps the labels that it has.
            if declared(&name) || !self.cluster.namespaces.contains_key(&name) {
                self.cluster.apply(Change::Namespace(namespace));
            }
        }
        for (id, mut pod) in pods {
            if let Some(known) = self.cluster.pods.get(&id)
                && pod.addresses.is_empty()
            {
                pod.addresses.clone_from(&known.addresses);
                pod.node = pod.node.or_else(|| known.node.clone());
            }
            self.cluster.apply(Change::Pod(pod));
        }
        for policy in policies.into_values() {
            self.cluster.apply(Change::Policy(policy));
        }
        for service in services.into_values() {
            self.cluster.apply(Change::Service(service));
        }
        self.workloads.extend(other.workloads);
        self.remarks.extend(other.remarks);
        self.errors.extend(other.errors);
        // The newest declaration counts.
        self.places.splice(0..0, other.places);
    }

    /// The state with addresses for the pods without one, of this range or of the default one.
    #[must_use]
    pub fn with_addresses(mut self, range: Option<IpNet>) -> Self {
        self.assume(range);
        self
    }

    /// Gives addresses to the pods without one.
    pub(crate) fn assume(&mut self, range: Option<IpNet>) {
        if let Some(range) = range.or_else(|| addresses::DEFAULT_POD_CIDR.parse().ok()) {
            self.assumed = addresses::assume(&mut [&mut self.cluster], range);
        }
    }

    /// Gives both states' pods addresses, the same in both.
    pub(super) fn assume_both(&mut self, other: &mut Self, range: Option<IpNet>) {
        if let Some(range) = range.or_else(|| addresses::DEFAULT_POD_CIDR.parse().ok()) {
            let assumed = addresses::assume(&mut [&mut self.cluster, &mut other.cluster], range);
            self.assumed.clone_from(&assumed);
            other.assumed = assumed;
        }
    }

    /// Whether some rule names addresses, so that assumed ones matter.
    pub(super) fn has_blocks(&self) -> bool {
        let rules =
            self.cluster.policies.values().flat_map(|it| it.ingress.iter().chain(&it.egress));
        rules.flatten().any(|rule| rule.peers.iter().any(|it| matches!(it, Peer::Block(_))))
    }

    /// Whether a file declares the namespace.
    pub(super) fn declares_namespace(&self, name: &str) -> bool {
        self.places.iter().any(|it| it.declares_namespace(name))
    }

    /// Where a field of a policy is declared, if a file declares it.
    #[must_use]
    pub fn place(&self, policy: &PolicyId, path: &str) -> Option<Location> {
        self.places.iter().find_map(|it| it.policy(policy, path))
    }

    /// The document that declares a policy, if a file declares it.
    pub(super) fn policy_text(&self, policy: &PolicyId) -> Option<String> {
        self.places.iter().find_map(|it| it.policy_text(policy))
    }
}

/// The first lines, and the number of the others.
pub(crate) fn first_few(lines: &[String]) -> String {
    const MOST: usize = 20;
    let mut text = lines.iter().take(MOST).cloned().collect::<Vec<_>>().join("\n");
    if let Some(more @ 1..) = lines.len().checked_sub(MOST) {
        text += &format!("\nand {more} more: `enforcer check` lists them");
    }
    text
}

fn workloads(places: &Places) -> BTreeMap<PodId, Workload> {
    let kind = |kind: &str| match kind {
        "Deployment" => "deploy",
        "StatefulSet" => "sts",
        "DaemonSet" => "ds",
        "ReplicaSet" => "rs",
        "Job" => "job",
        _ => "pod",
    };
    let named = places.workloads().filter(|(_, of, _)| kind(of) != "pod");
    let workload = |(pod, of, name): (&PodId, &str, &str)| {
        let (namespace, name) = (pod.namespace.to_string(), name.to_owned());
        (pod.clone(), Workload { namespace, name, kind: kind(of) })
    };
    named.map(workload).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_about_the_path_on_the_other_side() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let sides = |old: &str, new: &str| Side::both([old, new]);
        let revision = |name: &str, at: &str| Side::revision(name, Path::new(at));
        let here = Side::Path(folder.path().to_owned());
        assert_eq!(sides("main", path), [revision("main", path), here.clone()]);
        assert_eq!(sides(path, "main"), [here.clone(), revision("main", path)]);
        // Its own path counts.
        assert_eq!(sides("main:old", path), [revision("main:old", "."), here.clone()]);
        assert_eq!(sides("a", "b"), [revision("a", "."), revision("b", ".")]);
        assert_eq!(sides("cluster", path), [Side::Cluster, here]);
        assert_eq!(sides("main", "-"), [revision("main", "."), Side::Path("-".into())]);
    }

    #[test]
    fn of_many_errors_the_first_are_shown() {
        let lines: Vec<String> = (0..25).map(|it| it.to_string()).collect();
        assert!(first_few(&lines).ends_with("19\nand 5 more: `enforcer check` lists them"));
        assert_eq!(first_few(&lines[..2]), "0\n1");
    }
}
