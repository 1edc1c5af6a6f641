mod busy;
mod faults;
mod lists;
mod objects;
mod outages;
mod readable;
mod replay;
mod server;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use enforcer_core::model::{Cluster, PodId};
use server::{Answer, Server};

/// The name of this node, which the server has by default.
const NODE: &str = "here";

/// The source with a scripted server, and the results.
struct Scene {
    server: Server,
    watches: Arc<Watches>,
    updates: mpsc::Receiver<Update>,
    cluster: Cluster,
    complete: bool,
    remarks: Vec<String>,
    task: JoinHandle<()>,
}

impl Scene {
    /// Starts the source; nothing is received yet.
    fn start(server: Server) -> Self {
        let kubernetes = Kubernetes::new(server.connection(), NODE.to_owned());
        let watches = kubernetes.watches();
        let (sender, updates) = mpsc::channel(64);
        let task = tokio::spawn(async move { kubernetes.watch(sender).await.unwrap() });
        let (cluster, complete, remarks) = (Cluster::default(), false, Vec::new());
        Self { server, watches, updates, cluster, complete, remarks, task }
    }

    /// Applies the updates of this time, which is simulated.
    async fn pass(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        while let Ok(update) = tokio::time::timeout_at(end, self.updates.recv()).await {
            let update = update.unwrap();
            for change in update.changes {
                self.cluster.apply(change);
            }
            assert!(update.complete >= self.complete, "completeness is never lost");
            self.complete = update.complete;
            let list = update.remarks.into_iter().flat_map(|it| it.list);
            self.remarks.extend(list.map(|it| format!("{}: {}", it.severity, it.text)));
        }
    }

    async fn seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds)).await;
    }

    fn pods(&self) -> Vec<&str> {
        self.cluster.pods.keys().map(|it| it.name.as_str()).collect()
    }

    fn policies(&self) -> Vec<&str> {
        self.cluster.policies.keys().map(|it| it.name.as_str()).collect()
    }

    fn state(&self, kind: Kind) -> WatchState {
        self.watches.states().into_iter().find(|(it, _)| *it == kind).unwrap().1
    }

    /// All requests for a resource.
    fn asked(&self, resource: &str) -> Vec<String> {
        self.server.asked(resource)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn pod(name: &str, version: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "a", "uid": format!("uid-{name}"),
            "resourceVersion": version.to_string(), "labels": {"app": name},
            "managedFields": [{"manager": "someone", "fieldsV1": {"f:spec": {}}}],
        },
        "spec": {"nodeName": NODE, "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]},
    })
}

fn policy(name: &str, version: u32, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {
            "name": name, "namespace": "a", "uid": format!("uid-{name}"),
            "resourceVersion": version.to_string(),
        },
        "spec": spec,
    })
}

fn event(kind: &str, object: &Value) -> String {
    json!({"type": kind, "object": object}).to_string()
}
