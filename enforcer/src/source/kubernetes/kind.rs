//! The watched kinds, and the fields that are read.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::key::Key;
use super::prune::Keep;
use crate::source::convert::{self, Converted, Problem};
use crate::source::typed;
use enforcer_core::model::{
    AUDIT_ANNOTATION, Change, DENY_WITH_ANNOTATION, PodId, PolicyId, ServiceId,
};

/// A watched kind of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Namespaces.
    Namespace,
    /// Pods of all nodes: any of them may be a peer.
    Pod,
    /// Network policies.
    Policy,
    /// Services.
    Service,
    /// This node only: it must exist.
    Node,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Namespace, Self::Pod, Self::Policy, Self::Service, Self::Node];

    /// The name in manifests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::Policy => "NetworkPolicy",
            Self::Service => "Service",
            Self::Node => "Node",
        }
    }

    /// The name in RBAC rules.
    #[must_use]
    pub const fn resource(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::Pod => "pods",
            Self::Policy => "networkpolicies",
            Self::Service => "services",
            Self::Node => "nodes",
        }
    }

    /// The change that removes an object from the model; `None` if the model has no such objects.
    pub(super) fn gone(self, key: &Key) -> Option<Change> {
        let (namespace, name) = (key.namespace(), key.name());
        match self {
            Self::Namespace => Some(Change::NamespaceGone(name.to_owned())),
            Self::Pod => Some(Change::PodGone(PodId::new(namespace, name))),
            Self::Policy => Some(Change::PolicyGone(PolicyId::new(namespace, name))),
            Self::Service => Some(Change::ServiceGone(ServiceId::new(namespace, name))),
            Self::Node => None,
        }
    }
}

/// A watched Kubernetes type.
pub(super) trait Watch:
    kube::Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + 'static
{
    /// Its kind.
    const KIND: Kind;
    /// The fields to read.
    const KEEP: &'static Keep;

    /// The change to the model.
    fn convert(&self) -> Converted<Option<Change>>;

    /// Removes unknown fields, and all that could mean more without them.
    fn without_unknown(_json: &mut Value) -> Vec<Problem> {
        Vec::new()
    }

    /// Removes the entries with errors, as far as the rest may count without them.
    fn without_bad_entries(_json: &mut Value) -> Vec<Problem> {
        Vec::new()
    }

    /// The change that takes effect instead of an object that has errors: what can be read of it counts, for the
    /// last good version may have rights that its owner must no longer have. `None`: the last good version
    /// stays. Kubernetes changes no field's type within a version of an API and encodes its own types, so what
    /// does not even fit the type comes from something between the agent and the API server. It may be
    /// bad, but it is no reason to leave pods open.
    fn fallback(json: &Value) -> Option<Change>;
}

const META: Keep = Keep::Fields(&[
    ("name", Keep::All),
    ("namespace", Keep::All),
    ("uid", Keep::All),
    ("resourceVersion", Keep::All),
    ("labels", Keep::All),
    (
        "annotations",
        Keep::Fields(&[
            (convert::MIRROR, Keep::All),
            (AUDIT_ANNOTATION, Keep::All),
            (DENY_WITH_ANNOTATION, Keep::All),
        ]),
    ),
    ("deletionTimestamp", Keep::All),
]);

const META_ONLY: Keep = Keep::Fields(&[("metadata", META)]);

const PORTS: Keep = Keep::Each(&Keep::Fields(&[
    ("name", Keep::All),
    ("protocol", Keep::All),
    ("containerPort", Keep::All),
]));

const POD: Keep = Keep::Fields(&[
    ("metadata", META),
    (
        "spec",
        Keep::Fields(&[
            ("nodeName", Keep::All),
            ("hostNetwork", Keep::All),
            ("containers", Keep::Each(&Keep::Fields(&[("ports", PORTS)]))),
            (
                "initContainers",
                Keep::Each(&Keep::Fields(&[("restartPolicy", Keep::All), ("ports", PORTS)])),
            ),
        ]),
    ),
    (
        "status",
        Keep::Fields(&[
            ("phase", Keep::All),
            ("podIP", Keep::All),
            ("podIPs", Keep::Each(&Keep::Fields(&[("ip", Keep::All)]))),
        ]),
    ),
]);

const POLICY: Keep = Keep::Fields(&[("metadata", META), ("spec", Keep::All)]);

const SERVICE: Keep = Keep::Fields(&[
    ("metadata", META),
    (
        "spec",
        Keep::Fields(&[
            ("type", Keep::All),
            ("selector", Keep::All),
            ("clusterIP", Keep::All),
            ("clusterIPs", Keep::All),
            ("externalIPs", Keep::All),
            ("ports", Keep::All),
            ("externalTrafficPolicy", Keep::All),
            ("internalTrafficPolicy", Keep::All),
            ("sessionAffinity", Keep::All),
            ("sessionAffinityConfig", Keep::All),
        ]),
    ),
    (
        "status",
        Keep::Fields(&[(
            "loadBalancer",
            Keep::Fields(&[("ingress", Keep::Each(&Keep::Fields(&[("ip", Keep::All)])))]),
        )]),
    ),
]);

impl Watch for Namespace {
    const KIND: Kind = Kind::Namespace;
    const KEEP: &'static Keep = &META_ONLY;

    fn convert(&self) -> Converted<Option<Change>> {
        convert::namespace(self).map(Change::Namespace).map(Some)
    }

    fn fallback(json: &Value) -> Option<Change> {
        let object = typed::read_fitting(json, &["metadata"])?;
        convert::readable_namespace(&object).map(Change::Namespace)
    }
}

impl Watch for Pod {
    const KIND: Kind = Kind::Pod;
    const KEEP: &'static Keep = &POD;

    fn convert(&self) -> Converted<Option<Change>> {
        convert::pod(self).map(Change::Pod).map(Some)
    }

    fn fallback(json: &Value) -> Option<Change> {
        // Who the pod is, and where, comes from one version.
        let object = typed::read_fitting(json, &["metadata", "spec.nodeName"])?;
        convert::readable_pod(&object).map(Change::Pod)
    }
}

impl Watch for NetworkPolicy {
    const KIND: Kind = Kind::Policy;
    const KEEP: &'static Keep = &POLICY;

    fn convert(&self) -> Converted<Option<Change>> {
        convert::policy(self).map(Change::Policy).map(Some)
    }

    fn without_unknown(json: &mut Value) -> Vec<Problem> {
        convert::without_unknown(json)
    }

    fn without_bad_entries(json: &mut Value) -> Vec<Problem> {
        convert::without_bad_entries(json)
    }

    fn fallback(json: &Value) -> Option<Change> {
        match Self::deserialize(json) {
            Ok(policy) => Some(Change::Policy(convert::closed_policy(&policy))),
            Err(_) => Some(Change::Policy(convert::closed_policy_of(json, ""))),
        }
    }
}

impl Watch for Service {
    const KIND: Kind = Kind::Service;
    const KEEP: &'static Keep = &SERVICE;

    fn convert(&self) -> Converted<Option<Change>> {
        convert::service(self).map(Change::Service).map(Some)
    }

    fn fallback(json: &Value) -> Option<Change> {
        let object = typed::read_fitting(json, &["metadata"])?;
        convert::readable_service(&object).map(Change::Service)
    }
}

impl Watch for Node {
    const KIND: Kind = Kind::Node;
    const KEEP: &'static Keep = &META_ONLY;

    fn convert(&self) -> Converted<Option<Change>> {
        Converted { value: Some(None), problems: Vec::new() }
    }

    fn fallback(_json: &Value) -> Option<Change> {
        None
    }
}
