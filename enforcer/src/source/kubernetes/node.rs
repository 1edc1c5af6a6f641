//! The check of this node's name.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, PartialObjectMeta};
use kube::{Api, Client};
use tokio::task::JoinHandle;

use super::key::Key;
use super::state::Watches;
use super::tracker::Tracker;

/// Names to suggest at most.
const SUGGESTED: usize = 3;
const PAGE: u32 = 500;

/// The configured name of this node. Under a wrong one, the agent would take pods of another node
/// for its own.
pub(super) struct NodeName {
    client: Client,
    name: String,
    watches: Arc<Watches>,
    /// `None` until the nodes are listed.
    is_there: Option<bool>,
    search: Option<JoinHandle<()>>,
}

impl NodeName {
    pub(super) fn new(client: Client, name: String, watches: Arc<Watches>) -> Self {
        Self { client, name, watches, is_there: None, search: None }
    }

    /// Whether there is a node of that name. If not, reports it and searches for similar names.
    pub(super) fn check(&mut self, nodes: &Tracker) -> bool {
        if !nodes.is_complete() {
            return false;
        }
        let is_there = nodes.has(&Key::new("", &self.name));
        match (self.is_there.replace(is_there), is_there) {
            (before, true) if before != Some(true) => {
                self.stop_searching();
                tracing::info!(node = %self.name, "this node is known to the API server");
                self.watches.set_node_problem(None);
            }
            (Some(true), false) => {
                let text = format!(
                    "this node, {}, is gone from the API server; the known state stays in effect",
                    self.name
                );
                tracing::warn!("{text}");
                self.watches.set_node_problem(Some(text));
            }
            (None, false) => self.search(),
            _ => {}
        }
        is_there
    }

    fn search(&mut self) {
        let (client, watches, name) =
            (self.client.clone(), Arc::clone(&self.watches), self.name.clone());
        watches.set_node_problem(Some(unknown(&name, &[])));
        self.search = Some(tokio::spawn(async move {
            let text = match names(client).await {
                Ok(names) => unknown(&name, &similar(&name, &names)),
                Err(error) => {
                    format!("{} (and listing the nodes failed: {error})", unknown(&name, &[]))
                }
            };
            tracing::error!("{text}");
            watches.set_node_problem(Some(text));
        }));
    }

    fn stop_searching(&mut self) {
        if let Some(search) = self.search.take() {
            search.abort();
        }
    }
}

impl Drop for NodeName {
    fn drop(&mut self) {
        self.stop_searching();
    }
}

async fn names(client: Client) -> kube::Result<Vec<String>> {
    let nodes: Api<PartialObjectMeta<Node>> = Api::all(client);
    let mut names = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = nodes.list_metadata(&page).await?;
        names.extend(list.items.into_iter().filter_map(|it| it.metadata.name));
        match list.metadata.continue_.filter(|it| !it.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(names),
        }
    }
}

fn unknown(name: &str, similar: &[&str]) -> String {
    let hint = match similar {
        [] => String::new(),
        names => format!("; there is {}", names.join(", ")),
    };
    format!(
        "no node is called {name:?}{hint}. Nothing is enforced until one is: set this node's name \
         with --node-name or NODE_NAME (in a DaemonSet, from the field spec.nodeName)"
    )
}

/// The names that are most similar, the best first.
fn similar<'a>(name: &str, names: &'a [String]) -> Vec<&'a str> {
    let distance = |other: &str| {
        // Often only the domain is missing or added.
        if other.starts_with(name) || name.starts_with(other) {
            return 0;
        }
        strsim::damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase())
    };
    let near = |(distance, other): &(usize, &str)| *distance <= other.len().max(name.len()) / 2;
    let mut found: Vec<_> = names.iter().map(|it| (distance(it), &**it)).filter(near).collect();
    found.sort_unstable();
    found.into_iter().take(SUGGESTED).map(|(_, it)| it).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_are_suggested() {
        let names = ["aks-pool1-0001", "aks-pool1-0002", "aks-pool1-0003", "aks-pool1-0004", "gw"];
        let names = names.map(ToOwned::to_owned);
        let best = ["aks-pool1-0002", "aks-pool1-0001", "aks-pool1-0003"];
        assert_eq!(similar("AKS-POOL1-0002", &names), best);
        assert_eq!(similar("gw.example.org", &names), ["gw"]);
        assert_eq!(similar("node", &names), [""; 0]);
        let text = unknown("gw.example.org", &["gw"]);
        assert!(text.starts_with("no node is called \"gw.example.org\"; there is gw. "), "{text}");
    }
}
