//! The kinds of objects that the server stores, and their names.

use std::fmt;

/// A kind of object in one version of its group.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The group's version.
    pub version: &'static str,
    /// The value of an object's `kind`.
    pub kind: &'static str,
    /// The name in paths.
    pub plural: &'static str,
    /// The name that `kubectl` accepts beside the plural.
    pub singular: &'static str,
    /// Abbreviations for `kubectl`.
    pub short: &'static [&'static str],
    /// Whether objects belong to a namespace.
    pub namespaced: bool,
    /// Whether `status` is a subresource with a path of its own.
    pub has_status: bool,
    /// Whether `kubectl get all` shows them.
    pub in_all: bool,
    /// Where the objects are stored: two groups may show the same objects.
    pub(crate) shelf: &'static str,
    /// Fields with another name in the store: name here, name there.
    pub(crate) renamed: &'static [(&'static str, &'static str)],
}

/// A namespaced kind of the core group, without `status` of its own.
const fn core(
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short: &'static [&'static str],
) -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind,
        plural,
        singular,
        short,
        namespaced: true,
        has_status: false,
        in_all: false,
        shelf: plural,
        renamed: &[],
    }
}

/// Namespaces.
pub static NAMESPACES: Kind = Kind {
    namespaced: false,
    has_status: true,
    ..core("Namespace", "namespaces", "namespace", &["ns"])
};

/// Nodes.
pub static NODES: Kind =
    Kind { namespaced: false, has_status: true, ..core("Node", "nodes", "node", &["no"]) };

/// Pods.
pub static PODS: Kind =
    Kind { has_status: true, in_all: true, ..core("Pod", "pods", "pod", &["po"]) };

/// Services.
pub static SERVICES: Kind =
    Kind { has_status: true, in_all: true, ..core("Service", "services", "service", &["svc"]) };

/// Endpoints.
pub static ENDPOINTS: Kind = core("Endpoints", "endpoints", "endpoints", &["ep"]);

/// Events in the core group.
pub static EVENTS: Kind = core("Event", "events", "event", &["ev"]);

/// The same events in a group of their own.
pub static EVENTS_K8S_IO: Kind = Kind {
    group: "events.k8s.io",
    renamed: &[
        ("regarding", "involvedObject"),
        ("note", "message"),
        ("reportingController", "reportingComponent"),
        ("deprecatedSource", "source"),
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
    ],
    ..core("Event", "events", "event", &["ev"])
};

/// Endpoint slices.
pub static ENDPOINT_SLICES: Kind = Kind {
    group: "discovery.k8s.io",
    ..core("EndpointSlice", "endpointslices", "endpointslice", &[])
};

/// Network policies.
pub static NETWORK_POLICIES: Kind = Kind {
    group: "networking.k8s.io",
    ..core("NetworkPolicy", "networkpolicies", "networkpolicy", &["netpol"])
};

/// A kind of the group `apps`.
const fn apps(
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short: &'static [&'static str],
) -> Kind {
    Kind { group: "apps", has_status: true, in_all: true, ..core(kind, plural, singular, short) }
}

/// Deployments.
pub static DEPLOYMENTS: Kind = apps("Deployment", "deployments", "deployment", &["deploy"]);

/// Replica sets.
pub static REPLICA_SETS: Kind = apps("ReplicaSet", "replicasets", "replicaset", &["rs"]);

/// Daemon sets.
pub static DAEMON_SETS: Kind = apps("DaemonSet", "daemonsets", "daemonset", &["ds"]);

/// All kinds.
pub static KINDS: [&Kind; 12] = [
    &NAMESPACES,
    &NODES,
    &PODS,
    &SERVICES,
    &ENDPOINTS,
    &EVENTS,
    &EVENTS_K8S_IO,
    &ENDPOINT_SLICES,
    &NETWORK_POLICIES,
    &DEPLOYMENTS,
    &REPLICA_SETS,
    &DAEMON_SETS,
];

impl Kind {
    /// Whether it has `scale`.
    pub(crate) fn has_scale(&self) -> bool {
        matches!(self.plural, "deployments" | "replicasets")
    }

    /// The value of an object's `apiVersion`.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// The name in messages: `networkpolicies.networking.k8s.io`.
    pub fn qualified(&self) -> String {
        match self.group {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// The kind that a path names.
    pub fn of_path(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        let is_it = |it: &&&Self| (it.group, it.version, it.plural) == (group, version, plural);
        KINDS.iter().find(is_it).copied()
    }

    /// The kind that an object names.
    pub fn of_object(api_version: &str, kind: &str) -> Option<&'static Self> {
        KINDS.iter().find(|it| it.kind == kind && it.api_version() == api_version).copied()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plural)
    }
}
