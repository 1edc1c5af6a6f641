//! A pod's sandbox, from a runtime's message.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::messages::PodSandbox;
use enforcer_core::model::{Labels, PodId, Sandbox};

/// The labels that the kubelet adds to a pod's own. No policy selects by them.
const KUBELET_LABELS: [&str; 3] =
    ["io.kubernetes.pod.name", "io.kubernetes.pod.namespace", "io.kubernetes.pod.uid"];

/// The prefix of the labels that the runtime adds.
const RUNTIME_LABEL_PREFIX: &str = "io.cri-containerd.";

/// The annotation with the kubelet's source of the pod, and its value for pods of the API server.
/// The API server shows other pods as mirror pods, which have another `metadata.uid`.
const SOURCE: (&str, &str) = ("kubernetes.io/config.source", "api");

/// A pod's sandbox as the runtime announced it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) sandbox: Sandbox,
    /// Whether the pod uses its node's network, so that it has no interface of its own.
    pub(super) host_network: bool,
    /// Whether the sandbox has a process. Stopped sandboxes are listed without.
    pub(super) is_alive: bool,
    /// The path of its network namespace, if the runtime reports one. The process id is of no use:
    /// it differs in the agent's container.
    network: Option<PathBuf>,
}

impl Announced {
    /// Reads a message. Invalid addresses are logged and ignored.
    pub(super) fn read(message: PodSandbox) -> Self {
        let PodSandbox { id, name, uid, namespace, labels, annotations, linux, pid, ips } = message;
        let is_mirrored = annotations.get(SOURCE.0).is_some_and(|it| it != SOURCE.1);
        let uid = if is_mirrored { String::new() } else { uid };
        let pod = PodId::new(namespace, name);
        let address = |text: &String| match text.parse() {
            Ok(address) => Some(address),
            Err(error) => {
                tracing::warn!(%pod, "ignored the address {text:?} from the runtime: {error}");
                None
            }
        };
        let addresses = ips.iter().filter_map(address).collect();
        let namespaces = linux.map(|it| it.namespaces).unwrap_or_default();
        let network = namespaces.iter().find(|it| it.kind == "network");
        let path = network.map(|it| PathBuf::from(&it.path));
        Self {
            host_network: ips.is_empty() && !namespaces.is_empty() && network.is_none(),
            is_alive: pid > 0,
            network: path.filter(|it| it.is_absolute()),
            sandbox: Sandbox {
                id,
                pod,
                uid,
                labels: Some(own_labels(labels)),
                addresses,
                namespace: None,
                interfaces: BTreeSet::new(),
            },
        }
    }

    /// Determines the namespace's id by `look_up`, if the runtime reported no addresses.
    pub(super) fn locate(&mut self, look_up: impl Fn(&Path) -> Option<i32>) {
        if self.sandbox.addresses.is_empty() && !self.host_network {
            self.sandbox.namespace = self.network.as_deref().and_then(look_up);
        }
    }

    /// Whether the pod's interface can be determined.
    pub(super) fn is_located(&self) -> bool {
        !self.sandbox.addresses.is_empty() || self.sandbox.namespace.is_some()
    }
}

/// The pod's own labels.
fn own_labels(labels: impl IntoIterator<Item = (String, String)>) -> Labels {
    let is_own =
        |key: &str| !KUBELET_LABELS.contains(&key) && !key.starts_with(RUNTIME_LABEL_PREFIX);
    labels.into_iter().filter(|(key, _)| is_own(key)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::messages::{LinuxNamespace, LinuxPodSandbox};
    use super::*;

    fn message(namespaces: &[(&str, &str)], pid: u32, ips: &[&str]) -> PodSandbox {
        let namespace = |(kind, path): &(&str, &str)| LinuxNamespace {
            kind: (*kind).to_owned(),
            path: (*path).to_owned(),
        };
        let labels = [
            ("app", "web"),
            ("io.kubernetes.pod.name", "web-0"),
            ("io.kubernetes.pod.namespace", "shop"),
            ("io.kubernetes.pod.uid", "u1"),
            ("io.cri-containerd.kind", "sandbox"),
        ];
        PodSandbox {
            id: "abc".to_owned(),
            name: "web-0".to_owned(),
            uid: "u1".to_owned(),
            namespace: "shop".to_owned(),
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            annotations: BTreeMap::new(),
            linux: Some(LinuxPodSandbox { namespaces: namespaces.iter().map(namespace).collect() }),
            pid,
            ips: ips.iter().map(|it| (*it).to_owned()).collect(),
        }
    }

    const OWN: [(&str, &str); 2] = [("pid", ""), ("network", "/var/run/netns/cni-1")];

    #[test]
    fn only_the_pods_own_labels_count() {
        let announced = Announced::read(message(&OWN, 7, &["10.0.0.5", "fd00::5", "elsewhere"]));
        let Sandbox { pod, labels, addresses, .. } = &announced.sandbox;
        assert_eq!(*pod, PodId::new("shop", "web-0"));
        assert_eq!(*labels, Some(Labels::from([("app".to_owned(), "web".to_owned())])));
        assert_eq!(*addresses, ["10.0.0.5", "fd00::5"].map(|it| it.parse().unwrap()).into());
        assert!(announced.is_located() && announced.is_alive && !announced.host_network);
    }

    #[test]
    fn without_addresses_the_namespace_is_looked_up() {
        let mut announced = Announced::read(message(&OWN, 7, &[]));
        assert!(!announced.is_located() && !announced.host_network);
        announced.locate(|_| None);
        assert!(!announced.is_located());
        announced.locate(|path| (path == Path::new("/var/run/netns/cni-1")).then_some(4));
        assert_eq!(announced.sandbox.namespace, Some(4));
        assert!(announced.is_located());
    }

    #[test]
    fn a_static_pods_uid_is_not_the_api_servers() {
        let uid = |source: &str| {
            let mut message = message(&OWN, 7, &["10.0.0.5"]);
            message.annotations.insert(SOURCE.0.to_owned(), source.to_owned());
            Announced::read(message).sandbox.uid
        };
        assert_eq!([uid("api"), uid("file"), uid("http")], ["u1", "", ""]);
    }

    #[test]
    fn with_addresses_no_namespace_is_looked_up() {
        let mut announced = Announced::read(message(&OWN, 7, &["10.0.0.5"]));
        announced.locate(|_| Some(3));
        assert_eq!(announced.sandbox.namespace, None);
    }

    #[test]
    fn a_pod_of_the_nodes_network_has_no_network_namespace() {
        let mut announced = Announced::read(message(&[("pid", "")], 7, &[]));
        assert!(announced.host_network);
        announced.locate(|_| Some(3));
        assert_eq!(announced.sandbox.namespace, None);
        // Without any namespaces, the message does not show this.
        assert!(!Announced::read(message(&[], 7, &[])).host_network);
    }

    #[test]
    fn a_sandbox_that_has_stopped_has_no_process() {
        let announced = Announced::read(message(&OWN, 0, &["10.0.0.5"]));
        assert!(!announced.is_alive);
    }
}
