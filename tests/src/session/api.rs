//! A session with an API server: the lab plays the role of scheduler and kubelets.

use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use enforcer::source::convert::{self, Converted};
use enforcer_core::model::{Change, Cluster, PodId};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::{ApiServer, Key, Kind, Listening, kinds, write_kubeconfig};
use crate::lab::{LAB_DIR, Lab, LabNode};

/// The server's port on each node's loopback.
pub const API_PORT: u16 = 6443;

/// The kubeconfig of the nodes' agents.
pub(crate) fn node_kubeconfig() -> PathBuf {
    Path::new(LAB_DIR).join("kubeconfig")
}

/// The server at each node.
#[derive(Debug)]
pub(crate) struct Api {
    server: ApiServer,
    listening: Vec<Listening>,
    kubeconfig: PathBuf,
    /// The running pods with their uids: another pod may have the same name.
    running: BTreeMap<PodId, String>,
}

impl Api {
    /// Creates the node objects, and makes the server reachable on the nodes.
    pub(crate) async fn start(server: ApiServer, lab: &Lab) -> anyhow::Result<Self> {
        for node in lab.nodes() {
            server.store().put(&kinds::NODES, node_object(node))?;
        }
        let kubeconfig = node_kubeconfig();
        write_kubeconfig(&kubeconfig, ([127, 0, 0, 1], API_PORT).into())
            .with_context(|| format!("write {}", kubeconfig.display()))?;
        let mut api = Self { server, listening: Vec::new(), kubeconfig, running: BTreeMap::new() };
        api.listen(lab).await?;
        Ok(api)
    }

    pub(crate) async fn listen(&mut self, lab: &Lab) -> anyhow::Result<()> {
        for node in lab.nodes() {
            let opened = node
                .namespace()
                .io("listen for the API server", || TcpListener::bind(("127.0.0.1", API_PORT)));
            self.listening.push(self.server.listen(opened.await?)?);
        }
        Ok(())
    }

    /// Stops listening and cuts all connections; the objects stay.
    pub(crate) async fn leave(&mut self) {
        for listening in std::mem::take(&mut self.listening) {
            listening.stop().await;
        }
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The objects converted to the model, and their mistakes.
    pub(crate) fn cluster(&self) -> (Cluster, Vec<String>) {
        let mut reader =
            Reader { server: &self.server, cluster: Cluster::default(), notes: Vec::new() };
        reader.read(&kinds::NAMESPACES, convert::namespace, Change::Namespace);
        reader.read(&kinds::PODS, convert::pod, Change::Pod);
        reader.read(&kinds::NETWORK_POLICIES, convert::policy, Change::Policy);
        reader.read(&kinds::SERVICES, convert::service, Change::Service);
        (reader.cluster, reader.notes)
    }

    /// Stops pods that were replaced by others of the same name.
    pub(crate) async fn stop_replaced(
        &mut self,
        lab: &mut Lab,
        cluster: &Cluster,
    ) -> anyhow::Result<()> {
        let is_other =
            |id: &PodId, uid: &String| cluster.pods.get(id).is_none_or(|pod| pod.uid != *uid);
        for (id, _) in self.running.extract_if(.., |id, uid| is_other(id, uid)) {
            lab.remove_pod(&id).await?;
        }
        Ok(())
    }

    /// Writes the running pods' status to the server, and removes the ended ones.
    pub(crate) fn report(&mut self, lab: &Lab, cluster: &Cluster) {
        self.running.clear();
        for (id, addresses, node) in lab.running() {
            let (Some(pod), Some(node)) = (cluster.pods.get(id), lab.nodes().get(node)) else {
                continue;
            };
            self.running.insert(id.clone(), pod.uid.to_string());
            let store = self.server.store();
            store.edit(&kinds::PODS, &key(id), |object| report(object, addresses, node));
        }
        let ended = cluster.pods.values();
        for pod in ended.filter(|it| it.terminating && !self.running.contains_key(&it.id)) {
            self.server.store().remove(&kinds::PODS, &key(&pod.id));
        }
    }
}

fn key(id: &PodId) -> Key {
    Key::new(id.namespace.as_str(), id.name.as_str())
}

/// Converts the objects of a server, kind by kind.
struct Reader<'a> {
    server: &'a ApiServer,
    cluster: Cluster,
    notes: Vec<String>,
}

impl Reader<'_> {
    fn read<T: DeserializeOwned, M>(
        &mut self,
        kind: &Kind,
        convert: impl Fn(&T) -> Converted<M>,
        change: impl Fn(M) -> Change,
    ) {
        for object in self.server.store().all(kind) {
            let meta = &object["metadata"];
            let (namespace, name) = (meta["namespace"].as_str(), meta["name"].as_str());
            let of = namespace.map(|it| format!("{it}/")).unwrap_or_default();
            let about = format!("{} {of}{}", kind.singular, name.unwrap_or_default());
            let typed = match T::deserialize(&*object) {
                Ok(typed) => typed,
                Err(error) => {
                    self.notes.push(format!("{about}: error: {error}"));
                    continue;
                }
            };
            let converted = convert(&typed);
            let problems = converted.problems.iter();
            self.notes.extend(problems.map(|problem| format!("{about}: {problem}")));
            if let Some(value) = converted.value {
                self.cluster.apply(change(value));
            }
        }
    }
}

/// Writes a pod's status like its node's kubelet.
fn report(pod: &mut Value, addresses: &[IpAddr], node: &LabNode) {
    pod["spec"]["nodeName"] = node.site().name().into();
    let since = pod["metadata"]["creationTimestamp"].clone();
    let ready: Vec<Value> = ["Initialized", "Ready", "ContainersReady", "PodScheduled"]
        .map(|it| json!({ "type": it, "status": "True", "lastTransitionTime": since }))
        .into();
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten().map(|it| {
        json!({
            "name": it["name"], "image": it["image"], "imageID": "", "ready": true,
            "started": true, "restartCount": 0, "state": { "running": { "startedAt": since } },
        })
    });
    let containers: Vec<Value> = containers.collect();
    let ips = |all: &[IpAddr]| all.iter().map(|ip| json!({ "ip": ip })).collect::<Vec<_>>();
    let host = node.site().uplink().map(|net| net.addr());
    pod["status"] = json!({
        "phase": "Running", "qosClass": "BestEffort", "startTime": since, "conditions": ready,
        "hostIP": host.first(), "hostIPs": ips(&host),
        "podIP": addresses.first(), "podIPs": ips(addresses),
        "containerStatuses": containers,
    });
}

fn node_object(node: &LabNode) -> Value {
    let name = node.site().name();
    let addresses = node.site().uplink().map(|net| net.addr());
    let mut addresses: Vec<Value> =
        addresses.iter().map(|it| json!({ "type": "InternalIP", "address": it })).collect();
    addresses.push(json!({ "type": "Hostname", "address": name }));
    let cidrs = [node.site().pods_v4().to_string(), node.site().pods_v6().to_string()];
    let labels = json!({ "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" });
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name, "uid": format!("node-{name}"), "labels": labels,
            "creationTimestamp": crate::api::now(),
        },
        "spec": { "podCIDR": cidrs[0], "podCIDRs": cidrs },
        "status": {
            "addresses": addresses,
            "conditions": [{ "type": "Ready", "status": "True" }],
            "nodeInfo": { "kubeletVersion": "none (a lab)", "operatingSystem": "linux" },
        },
    })
}
