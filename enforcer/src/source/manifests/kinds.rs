//! The supported kinds.

use serde_json::Value;

use crate::source::nearest::nearest;

/// Kinds and their supported versions.
const KINDS: [(&str, &str); 9] = [
    ("Namespace", "v1"),
    ("Pod", "v1"),
    ("Service", "v1"),
    ("NetworkPolicy", "networking.k8s.io/v1"),
    ("Deployment", "apps/v1"),
    ("ReplicaSet", "apps/v1"),
    ("StatefulSet", "apps/v1"),
    ("DaemonSet", "apps/v1"),
    ("Job", "batch/v1"),
];

/// All kinds of the supported versions (kubernetes/kubernetes, `staging/src/k8s.io/api/*/v1/register.go`).
const ALL: [(&str, &[&str]); 4] = [
    (
        "v1",
        &[
            "Binding",
            "ComponentStatus",
            "ConfigMap",
            "Endpoints",
            "Event",
            "LimitRange",
            "List",
            "Namespace",
            "Node",
            "PersistentVolume",
            "PersistentVolumeClaim",
            "Pod",
            "PodTemplate",
            "ReplicationController",
            "ResourceQuota",
            "Secret",
            "Service",
            "ServiceAccount",
        ],
    ),
    ("apps/v1", &["ControllerRevision", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"]),
    ("batch/v1", &["CronJob", "Job"]),
    (
        "networking.k8s.io/v1",
        &["IPAddress", "Ingress", "IngressClass", "NetworkPolicy", "ServiceCIDR"],
    ),
];

/// Support of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Support {
    Full(&'static str),
    /// A mistake in `kind` or `apiVersion`.
    Wrong(Wrong),
    /// A policy of another kind, which is not enforced.
    OtherPolicy,
    /// Another kind, without meaning for policy.
    None,
}

/// A mistake in `kind` or `apiVersion`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The kind that is probably meant.
    pub(super) kind: Option<&'static str>,
    /// The wrong field.
    pub(super) field: &'static str,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// The kind of that name.
pub(super) fn known(kind: &str) -> Option<&'static str> {
    KINDS.iter().find(|(it, _)| *it == kind).map(|(it, _)| *it)
}

/// The supported version of a kind.
pub(super) fn version(kind: &str) -> &'static str {
    KINDS.iter().find(|(it, _)| *it == kind).map_or("", |(_, version)| version)
}

/// Distinguishes supported kinds, mistakes, and kinds that others define.
pub(super) fn support(kind: &str, given: &str) -> Support {
    let meant = KINDS.iter().find(|(it, _)| it.eq_ignore_ascii_case(kind)).map(|(it, _)| *it);
    if let Some(wanted) = meant.filter(|it| *it == kind)
        && given == version(wanted)
    {
        return Support::Full(wanted);
    }
    if let Some((_, kinds)) = ALL.iter().find(|(it, _)| *it == given) {
        return in_version(kind, given, kinds, meant);
    }
    match meant {
        Some(meant) if is_meant(meant, given) => Support::Wrong(Wrong {
            kind: Some(meant),
            field: "apiVersion",
            message: format!("`{given}` is not a supported version of {meant}"),
            help: Some(format!("use {}", version(meant))),
        }),
        None if nearest(kind, &["NetworkPolicy"]).is_some()
            && nearest(group(given), &[group(version("NetworkPolicy"))]).is_some() =>
        {
            Support::Wrong(Wrong {
                kind: Some("NetworkPolicy"),
                field: "apiVersion",
                message: format!("`{given}` has no kind `{kind}`"),
                help: Some(format!("use {}, kind NetworkPolicy", version("NetworkPolicy"))),
            })
        }
        _ if kind.contains("NetworkPolicy") && !kind.ends_with("List") => Support::OtherPolicy,
        _ => Support::None,
    }
}

/// The support of a kind in a version whose kinds are all known.
fn in_version(
    kind: &str,
    given: &str,
    kinds: &[&'static str],
    meant: Option<&'static str>,
) -> Support {
    let item = kind.strip_suffix("List").filter(|it| !it.is_empty()).unwrap_or(kind);
    if kinds.contains(&item) || kinds.contains(&kind) {
        return Support::None;
    }
    let near = nearest(kind, kinds);
    let (field, meant, help) = match (meant, near) {
        // The kind is right, but elsewhere.
        (Some(meant), _) if version(meant) != given => {
            let help = format!("use {}", version(meant));
            (if meant == kind { "apiVersion" } else { "kind" }, Some(meant), Some(help))
        }
        (_, Some(near)) => ("kind", known(near), Some(format!("did you mean `{near}`?"))),
        _ => ("kind", meant, None),
    };
    let message = format!("{given} has no kind `{kind}`");
    Support::Wrong(Wrong { kind: meant, field, message, help })
}

/// The groups of others that have a kind `NetworkPolicy`, too.
const OTHERS: [&str; 3] = ["projectcalico.org", "crd.projectcalico.org", "crd.antrea.io"];

/// Whether an API version that does not exist stands for the one of this kind: another version of its
/// group, the group `extensions`, in which some kinds were first, or a misspelt group.
fn is_meant(kind: &str, given: &str) -> bool {
    let wanted = group(version(kind));
    let has_group = given.contains('/');
    let given = group(given);
    // Nobody defines kinds in the group without a name, and groups of others have a domain.
    (kind == "NetworkPolicy" && !OTHERS.contains(&given))
        || !has_group
        || !given.contains('.')
        || given == wanted
        || given == "extensions"
        || (!wanted.is_empty() && nearest(given, &[wanted]).is_some())
}

fn group(version: &str) -> &str {
    version.split_once('/').map_or("", |(group, _)| group)
}

/// The item kind of a list: `Some(None)` for any kind; `None` if it is not a list.
pub(super) fn list_of(kind: &str, given: &str) -> Option<Option<&'static str>> {
    let item = kind.strip_suffix("List")?;
    if item.is_empty() {
        return (given == "v1").then_some(None);
    }
    known(item).filter(|it| version(it) == given).map(Some)
}

/// Adds the fields that items of a list may leave out.
pub(super) fn complete(mut json: Value, kind: &str) -> Value {
    if let Some(object) = json.as_object_mut() {
        for (field, value) in [("kind", kind), ("apiVersion", version(kind))] {
            // Absent and `null` mean the same to Kubernetes. A mistake was reported already.
            object.insert(field.to_owned(), value.into());
        }
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(kind: &str, version: &str) -> (Option<&'static str>, &'static str, String) {
        match support(kind, version) {
            Support::Wrong(it) => (it.kind, it.field, it.help.unwrap_or_default()),
            other => panic!("{kind} {version}: {other:?}"),
        }
    }

    #[test]
    fn mistakes_name_the_kind_that_is_meant() {
        let policy = Some("NetworkPolicy");
        let net = "networking.k8s.io/v1";
        for kind in ["Networkpolicy", "networkpolicy", "NetworkPolicies", "NetwrokPolicy"] {
            assert_eq!(
                wrong(kind, net),
                (policy, "kind", "did you mean `NetworkPolicy`?".to_owned()),
                "{kind}"
            );
        }
        let help = format!("use {net}");
        for version in [
            "v1",
            "apps/v1",
            "networking.k8s.io/v1beta1",
            "networking.k8s.io/v2",
            "extensions/v1beta1",
            "networking.k8s.oi/v1",
            "networking.k8s/v1",
            "networking.k8s.io",
            "v1beta1",
            "k8s.io/v1",
            "10.0.0.0/8",
            "example.org/v1",
        ] {
            assert_eq!(wrong("NetworkPolicy", version), (policy, "apiVersion", help.clone()));
        }
        let both = format!("use {net}, kind NetworkPolicy");
        assert_eq!(wrong("NetworPolicy", "network.k8s.io/v1"), (policy, "apiVersion", both));
        assert_eq!(wrong("pod", "v1"), (Some("Pod"), "kind", "did you mean `Pod`?".to_owned()));
        assert_eq!(wrong("Deployment", "v1").2, "use apps/v1");
        assert_eq!(wrong("Deployment", "apps/v1beta2").2, "use apps/v1");
        assert_eq!(wrong("Nothing", "v1"), (None, "kind", String::new()));
    }

    #[test]
    fn kinds_of_others_are_no_mistakes() {
        for (kind, version) in [
            ("Secret", "v1"),
            ("SecretList", "v1"),
            ("Ingress", "networking.k8s.io/v1"),
            ("Ingress", "networking.k8s.io/v1beta1"),
            ("Gateway", "gateway.networking.k8s.io/v1"),
            ("Service", "serving.knative.dev/v1"),
            ("Kustomization", "kustomize.config.k8s.io/v1beta1"),
        ] {
            assert_eq!(support(kind, version), Support::None, "{kind} {version}");
        }
    }

    #[test]
    fn policies_of_others_are_recognised() {
        for (kind, version) in [
            ("CiliumNetworkPolicy", "cilium.io/v2"),
            ("CiliumClusterwideNetworkPolicy", "cilium.io/v2"),
            ("NetworkPolicy", "crd.projectcalico.org/v1"),
            ("NetworkPolicy", "crd.antrea.io/v1beta1"),
            ("GlobalNetworkPolicy", "projectcalico.org/v3"),
            ("ClusterNetworkPolicy", "policy.networking.k8s.io/v1alpha2"),
            ("AdminNetworkPolicy", "policy.networking.k8s.io/v1alpha1"),
        ] {
            assert_eq!(support(kind, version), Support::OtherPolicy, "{kind}");
        }
    }
}
