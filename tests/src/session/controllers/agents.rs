//! The agents of the lab as the daemon set that a cluster has, for `kubectl logs`, `exec` and `rollout status`.

use serde_json::json;

use crate::api::{Refusal, Store, kinds};

/// The namespace of `deploy/`.
pub(crate) const NAMESPACE: &str = "enforcer-system";

/// The label of the agents' pods.
pub(crate) const LABEL: (&str, &str) = ("app.kubernetes.io/component", "agent");

/// Creates namespace and daemon set; their pods follow.
pub(crate) fn declare(store: &Store) -> Result<(), Refusal> {
    store.create(&kinds::NAMESPACES, "", json!({ "metadata": { "name": NAMESPACE } }))?;
    let (label, value) = LABEL;
    let labels = json!({ "app.kubernetes.io/name": "enforcer", label: value });
    let container = json!({
        "name": "agent", "image": format!("enforcer:{}", env!("CARGO_PKG_VERSION")),
        "command": ["/enforcer"], "args": ["run"],
    });
    let set = json!({
        "metadata": { "name": "enforcer", "namespace": NAMESPACE, "labels": labels },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "hostNetwork": true, "containers": [container] },
            },
        },
    });
    store.create(&kinds::DAEMON_SETS, NAMESPACE, set).map(|_| ())
}
