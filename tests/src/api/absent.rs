//! Kinds that a cluster has and this server has not. They are named in discovery, so that `kubectl` asks for
//! them and shows the server's answer instead of its own guess.

use std::collections::BTreeSet;

use axum::http::{Method, Uri};
use serde_json::{Value, json};

use super::kinds::KINDS;
use super::status::Refusal;

/// Group and version, plural, kind, whether it belongs to a namespace, abbreviations.
type Absent = (&'static str, &'static str, &'static str, bool, &'static [&'static str]);

const ABSENT: &[Absent] = &[
    ("v1", "configmaps", "ConfigMap", true, &["cm"]),
    ("v1", "secrets", "Secret", true, &[]),
    ("v1", "serviceaccounts", "ServiceAccount", true, &["sa"]),
    ("v1", "persistentvolumeclaims", "PersistentVolumeClaim", true, &["pvc"]),
    ("v1", "persistentvolumes", "PersistentVolume", false, &["pv"]),
    ("v1", "replicationcontrollers", "ReplicationController", true, &["rc"]),
    ("v1", "resourcequotas", "ResourceQuota", true, &["quota"]),
    ("v1", "limitranges", "LimitRange", true, &["limits"]),
    ("apps/v1", "statefulsets", "StatefulSet", true, &["sts"]),
    ("batch/v1", "jobs", "Job", true, &[]),
    ("batch/v1", "cronjobs", "CronJob", true, &["cj"]),
    ("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", true, &["hpa"]),
    ("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", true, &["pdb"]),
    ("networking.k8s.io/v1", "ingresses", "Ingress", true, &["ing"]),
    ("networking.k8s.io/v1", "ingressclasses", "IngressClass", false, &[]),
    ("rbac.authorization.k8s.io/v1", "roles", "Role", true, &[]),
    ("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding", true, &[]),
    ("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", false, &[]),
    ("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", false, &[]),
    ("storage.k8s.io/v1", "storageclasses", "StorageClass", false, &["sc"]),
    (
        "apiextensions.k8s.io/v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        false,
        &["crd", "crds"],
    ),
];

/// The groups and versions of absent kinds.
pub(super) fn versions() -> impl Iterator<Item = (&'static str, &'static str)> {
    ABSENT.iter().map(|(version, ..)| version.split_once('/').unwrap_or(("", version)))
}

/// The entries of a version for discovery.
pub(super) fn resources(group: &str, version: &str) -> Vec<Value> {
    let here = ABSENT
        .iter()
        .filter(|(own, ..)| own.split_once('/').unwrap_or(("", own)) == (group, version));
    here.map(|(_, plural, kind, namespaced, short)| {
        json!({
            "name": plural, "singularName": kind.to_lowercase(), "namespaced": namespaced,
            "kind": kind, "shortNames": short,
            "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
        })
    })
    .collect()
}

/// The answer to a request that this server can't carry out.
pub(super) fn refusal(what: &str) -> Refusal {
    let kinds: BTreeSet<&str> = KINDS.iter().map(|kind| kind.plural).collect();
    let kinds: Vec<&str> = kinds.into_iter().collect();
    let message = format!("{what}: not in this lab, which has {}", kinds.join(", "));
    Refusal::new(404, "NotFound", message)
}

/// The answer to a request about something that is no kind of this server; `None`: it is about
/// something else.
pub(super) fn of_path(method: &Method, uri: &Uri) -> Option<Refusal> {
    let parts: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
    let rest = match parts.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => return None,
    };
    let plural = match rest {
        ["namespaces", _, plural, ..] | [plural, ..] => plural,
        [] => return None,
    };
    let verb = if method == Method::GET { "" } else { "to change " };
    Some(refusal(&format!("{verb}{plural}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_is_named() {
        let of = |path: &str| of_path(&Method::GET, &path.parse().unwrap()).map(|it| it.message);
        let jobs = of("/apis/batch/v1/namespaces/default/jobs?limit=5").unwrap();
        assert!(jobs.starts_with("jobs: not in this lab, which has daemonsets, "), "{jobs}");
        assert!(of("/api/v1/secrets/x").unwrap().starts_with("secrets: "));
        assert_eq!(of("/version"), None);
        assert_eq!(of("/apis/batch/v1"), None);
    }

    #[test]
    fn no_kind_is_absent_and_present() {
        for (_, plural, ..) in ABSENT {
            assert!(KINDS.iter().all(|kind| kind.plural != *plural), "{plural}");
        }
    }
}
