//! The kinds of objects that the server keeps, and how they are called.

use std::fmt;

/// A kind of object, as one version of its group shows it.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The group's version.
    pub version: &'static str,
    /// What `kind` says in an object.
    pub kind: &'static str,
    /// What paths say.
    pub plural: &'static str,
    /// What `kubectl` accepts beside the plural.
    pub singular: &'static str,
    /// Abbreviations for `kubectl`.
    pub short: &'static [&'static str],
    /// Whether objects belong to a namespace.
    pub namespaced: bool,
    /// Whether `status` is written through a path of its own.
    pub has_status: bool,
    /// Whether `kubectl get all` shows them.
    pub in_all: bool,
    /// Where the objects are kept: two groups may show the same ones.
    pub(crate) shelf: &'static str,
    /// Fields that have another name where the objects are kept: here, there.
    pub(crate) renamed: &'static [(&'static str, &'static str)],
}

const PLAIN: Kind = Kind {
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    singular: "",
    short: &[],
    namespaced: true,
    has_status: false,
    in_all: false,
    shelf: "",
    renamed: &[],
};

/// Namespaces.
pub static NAMESPACES: Kind = Kind {
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short: &["ns"],
    namespaced: false,
    has_status: true,
    shelf: "namespaces",
    ..PLAIN
};

/// Nodes.
pub static NODES: Kind = Kind {
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short: &["no"],
    namespaced: false,
    has_status: true,
    shelf: "nodes",
    ..PLAIN
};

/// Pods.
pub static PODS: Kind = Kind {
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short: &["po"],
    has_status: true,
    in_all: true,
    shelf: "pods",
    ..PLAIN
};

/// Services.
pub static SERVICES: Kind = Kind {
    kind: "Service",
    plural: "services",
    singular: "service",
    short: &["svc"],
    has_status: true,
    in_all: true,
    shelf: "services",
    ..PLAIN
};

/// Endpoints.
pub static ENDPOINTS: Kind = Kind {
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short: &["ep"],
    shelf: "endpoints",
    ..PLAIN
};

/// Events as the core group shows them.
pub static EVENTS: Kind = Kind {
    kind: "Event",
    plural: "events",
    singular: "event",
    short: &["ev"],
    shelf: "events",
    ..PLAIN
};

/// The same events as their own group shows them.
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
    ..copy_of_events()
};

const fn copy_of_events() -> Kind {
    Kind {
        kind: "Event",
        plural: "events",
        singular: "event",
        short: &["ev"],
        shelf: "events",
        ..PLAIN
    }
}

/// Endpoint slices.
pub static ENDPOINT_SLICES: Kind = Kind {
    group: "discovery.k8s.io",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    shelf: "endpointslices",
    ..PLAIN
};

/// Network policies.
pub static NETWORK_POLICIES: Kind = Kind {
    group: "networking.k8s.io",
    kind: "NetworkPolicy",
    plural: "networkpolicies",
    singular: "networkpolicy",
    short: &["netpol"],
    shelf: "networkpolicies",
    ..PLAIN
};

/// All of them.
pub static KINDS: [&Kind; 9] = [
    &NAMESPACES,
    &NODES,
    &PODS,
    &SERVICES,
    &ENDPOINTS,
    &EVENTS,
    &EVENTS_K8S_IO,
    &ENDPOINT_SLICES,
    &NETWORK_POLICIES,
];

impl Kind {
    /// What `apiVersion` says.
    #[must_use]
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// `networkpolicies.networking.k8s.io`, as messages name it.
    #[must_use]
    pub fn qualified(&self) -> String {
        match self.group {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// The kind that a path names.
    #[must_use]
    pub fn of_path(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        let is_it = |it: &&&Self| (it.group, it.version, it.plural) == (group, version, plural);
        KINDS.iter().find(is_it).copied()
    }

    /// The kind that an object names.
    #[must_use]
    pub fn of_object(api_version: &str, kind: &str) -> Option<&'static Self> {
        KINDS.iter().find(|it| it.kind == kind && it.api_version() == api_version).copied()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plural)
    }
}
