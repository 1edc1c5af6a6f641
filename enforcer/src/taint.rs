//! The taint that keeps pods off a node until its agent is ready.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::DefaultBackoff;
use kube::{Api, Client};
use serde_json::json;

/// Removes the taints with this key from a node; retries until there are none.
pub async fn remove_taint(client: Client, node_name: String, key: String) {
    let nodes: Api<Node> = Api::all(client);
    let mut backoff = DefaultBackoff::default();
    loop {
        match attempt(&nodes, &node_name, &key).await {
            Ok(true) => return tracing::info!(taint = %key, "the node is ready: taint removed"),
            Ok(false) => return tracing::debug!(taint = %key, "the node has no such taint"),
            Err(error) => {
                let wait = backoff.next().unwrap_or(Duration::from_secs(30));
                let hint = match &error {
                    kube::Error::Api(status) if status.code == 403 => {
                        " (let the agent's service account get and patch nodes)"
                    }
                    _ => "",
                };
                tracing::warn!(taint = %key, ?wait, "cannot remove the taint: {error}{hint}");
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// Makes one attempt. Returns whether there was such a taint.
async fn attempt(nodes: &Api<Node>, name: &str, key: &str) -> kube::Result<bool> {
    let node = nodes.get(name).await?;
    let taints = node.spec.and_then(|it| it.taints).unwrap_or_default();
    let Some(patch) = patch(&taints, node.metadata.resource_version.as_deref(), key) else {
        return Ok(false);
    };
    nodes.patch_metadata(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(true)
}

/// A patch that replaces the list of taints. It fails if the node has changed meanwhile: other clients
/// change taints, too. `None`: there is no taint with this key.
fn patch(taints: &[Taint], version: Option<&str>, key: &str) -> Option<serde_json::Value> {
    let others: Vec<&Taint> = taints.iter().filter(|taint| taint.key != key).collect();
    (others.len() < taints.len())
        .then(|| json!({"metadata": {"resourceVersion": version}, "spec": {"taints": others}}))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response};
    use kube::client::Body;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_removal_is_retried_until_the_taint_is_gone() {
        // Forbidden, then a conflict with another change, then done.
        let codes = Arc::new(Mutex::new(vec![200, 409, 403]));
        let left = Arc::clone(&codes);
        let answer = move |request: Request<Body>| {
            let code = match *request.method() {
                Method::PATCH => left.lock().unwrap().pop().unwrap(),
                _ => 200,
            };
            let node = json!({
                "code": code, "metadata": {"name": "n", "resourceVersion": "1"},
                "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]},
            });
            let body = Body::from(node.to_string().into_bytes());
            std::future::ready(Response::builder().status(code).body(body))
        };
        let client = Client::new(tower::service_fn(answer), "default");
        remove_taint(client.clone(), "n".to_owned(), "other".to_owned()).await;
        assert_eq!(codes.lock().unwrap().len(), 3, "no such taint: nothing to do");
        remove_taint(client, "n".to_owned(), "a".to_owned()).await;
        assert!(codes.lock().unwrap().is_empty());
    }

    #[test]
    fn only_taints_of_the_key_are_removed() {
        let taint = |key: &str, effect: &str| Taint {
            key: key.to_owned(),
            effect: effect.to_owned(),
            ..Taint::default()
        };
        let taints = [taint("a", "NoSchedule"), taint("b", "NoExecute"), taint("a", "NoExecute")];
        let expected = json!({
            "metadata": {"resourceVersion": "7"},
            "spec": {"taints": [{"key": "b", "effect": "NoExecute"}]},
        });
        assert_eq!(patch(&taints, Some("7"), "a"), Some(expected));
        assert_eq!(patch(&taints, Some("7"), "c"), None);
        assert_eq!(patch(&[], None, "a"), None);
    }
}
