//! Field names, for suggestions.

use crate::source::nearest;

/// The field that the last name of a path probably means.
pub(super) fn suggestion(kind: &str, path: &str) -> Option<&'static str> {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let parent = parent.rsplit('.').next().unwrap_or_default();
    let parent = parent.split('[').next().unwrap_or_default();
    let fields: Vec<_> = fields(kind, parent).split_whitespace().collect();
    nearest::nearest(name, &fields).filter(|it| *it != name)
}

/// The field below which a top-level field of this name belongs.
pub(super) fn home(kind: &str, path: &str) -> Option<&'static str> {
    let has = |parent| fields(kind, parent).split_whitespace().any(|it| it == path);
    ["spec", "metadata"].into_iter().find(|parent| has(parent))
}

/// The fields of an object, by the field that contains it.
fn fields(kind: &str, parent: &str) -> &'static str {
    match (kind, parent) {
        ("NetworkPolicy", "") => "apiVersion kind metadata spec",
        (_, "") => "apiVersion kind metadata spec status items",
        (_, "metadata") => "name namespace labels annotations uid",
        ("NetworkPolicy", "spec") => "podSelector ingress egress policyTypes",
        (_, "ingress") => "from ports",
        (_, "egress") => "to ports",
        (_, "from" | "to") => "ipBlock namespaceSelector podSelector",
        (_, "ipBlock") => "cidr except",
        (_, "podSelector" | "namespaceSelector" | "selector") => "matchLabels matchExpressions",
        (_, "matchExpressions") => "key operator values",
        ("NetworkPolicy", "ports") => "port endPort protocol",
        ("Service", "spec") => {
            "selector ports type clusterIP clusterIPs externalIPs externalTrafficPolicy
             internalTrafficPolicy ipFamilies ipFamilyPolicy"
        }
        ("Service", "ports") => "name port targetPort nodePort protocol",
        (_, "ports") => "name containerPort protocol hostPort hostIP",
        (_, "spec") => {
            "containers initContainers nodeName nodeSelector hostNetwork restartPolicy volumes
             serviceAccountName tolerations affinity replicas selector template strategy
             serviceName completions parallelism backoffLimit"
        }
        (_, "template") => "metadata spec",
        (_, "containers" | "initContainers") => {
            "name image command args env ports resources restartPolicy volumeMounts livenessProbe
             readinessProbe securityContext imagePullPolicy"
        }
        (_, "status") => "phase podIP podIPs hostIP conditions",
        (_, "podIPs") => "ip",
        _ => "",
    }
}
