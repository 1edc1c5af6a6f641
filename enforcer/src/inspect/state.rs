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
use crate::source::manifests::{Location, ManifestError, Manifests, Places, Report};
use crate::source::{Remark, Severity};

/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A state can't be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The files can't be read.
    #[error(transparent)]
    Manifests(#[from] ManifestError),
    /// The files have errors, so that an answer would be about other policies.
    #[error("the manifests have errors; correct them first:\n{0}")]
    Errors(String),
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
    #[error("{name} is neither a file, nor a folder, nor `cluster`, nor a git revision")]
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
    /// Files or folders; empty: the API server.
    pub manifests: Vec<PathBuf>,
    /// The API server.
    pub client: ClientOptions,
    /// Files or folders whose objects replace those of the state.
    pub what_if: Vec<PathBuf>,
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
    /// A file or a folder.
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
    /// The sides of these names: `cluster`, an existing path, else a git revision. A revision beside a path
    /// is about that path.
    #[must_use]
    pub fn both(names: [&str; 2]) -> [Self; 2] {
        let side = |name: &str, beside: &str| match (Path::new(name), Path::new(beside)) {
            _ if name == "cluster" => Self::Cluster,
            (path, _) if path.exists() => Self::Path(path.to_owned()),
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
    /// The node whose addresses the cluster has; `None`: those of every pod's own node.
    pub node: Option<String>,
    places: Vec<Places>,
}

impl State {
    /// Reads a state, and applies the changes of `what_if_delete` and `what_if`.
    ///
    /// # Errors
    /// A file or the API server can't be read, a file has errors, or an object to delete does not exist.
    pub async fn read(options: &StateOptions) -> Result<Self, StateError> {
        let mut state = match options.manifests.as_slice() {
            [] => Self::of_server(&options.client).await?,
            paths => Self::of_files(paths.to_vec())?,
        };
        for object in &options.what_if_delete {
            remove(&mut state.cluster, &state.workloads, object)?;
        }
        if !options.what_if.is_empty() {
            state.change(Self::of_files(options.what_if.clone())?);
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
            Side::Path(path) => Self::of_files(vec![path.clone()]),
            Side::Revision { name, at } => {
                let unknown = |source| StateError::Unknown { name: name.clone(), source };
                let revision = Revision::read(at, name).map_err(unknown)?;
                match Self::of_files(vec![revision.path()]) {
                    Ok(mut state) => {
                        for remark in &mut state.remarks {
                            *remark = revision.named(remark);
                        }
                        Ok(state)
                    }
                    Err(StateError::Errors(text)) => Err(StateError::Errors(revision.named(&text))),
                    Err(other) => Err(other),
                }
            }
        }
    }

    fn of_files(paths: Vec<PathBuf>) -> Result<Self, StateError> {
        let mut manifests = Manifests::new(paths)?;
        let reports = manifests.rescan().reports;
        Self::of_manifests(&manifests, &reports)
    }

    /// The objects in a text, in whose places `name` stands for a file.
    ///
    /// # Errors
    /// The text has errors.
    pub fn of_text(name: &Path, text: &str) -> Result<Self, StateError> {
        let (manifests, reports) = Manifests::of_text(name, text);
        Self::of_manifests(&manifests, &reports)
    }

    fn of_manifests(manifests: &Manifests, reports: &[Report]) -> Result<Self, StateError> {
        let is_error = |severity| severity == Severity::Error;
        let errors = reports.iter().filter(|it| is_error(it.severity)).map(ToString::to_string);
        let errors: Vec<String> = errors.collect();
        if !errors.is_empty() {
            return Err(StateError::Errors(first_few(&errors)));
        }
        let warnings = reports.iter().filter(|it| it.severity == Severity::Warning);
        let places = manifests.places();
        Ok(Self {
            cluster: manifests.cluster().clone(),
            workloads: Workloads::new(workloads(&places)),
            remarks: warnings.map(ToString::to_string).collect(),
            places: vec![places],
            ..Self::default()
        })
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
fn first_few(lines: &[String]) -> String {
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
