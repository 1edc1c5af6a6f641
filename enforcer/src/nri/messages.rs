//! The NRI messages of a plugin for pod sandboxes, with the fields that it reads.
//!
//! The definitions follow the package `nri.pkg.api.v1alpha1` of containerd's `nri`
//! (`pkg/api/api.proto`), versions 0.3 to 0.9 and later. Other fields are ignored.

use std::collections::BTreeMap;

use prost::Message;

/// The service that the runtime offers.
pub(super) const RUNTIME_SERVICE: &str = "nri.pkg.api.v1alpha1.Runtime";
/// The service that a plugin offers.
pub(super) const PLUGIN_SERVICE: &str = "nri.pkg.api.v1alpha1.Plugin";

/// Values of the enumeration `Event`.
pub(super) mod event {
    /// A pod's sandbox is up; none of its containers exists yet.
    pub(in crate::nri) const RUN_POD_SANDBOX: i32 = 1;
    /// A pod's containers and its sandbox's process have ended; its network still exists.
    pub(in crate::nri) const STOP_POD_SANDBOX: i32 = 2;
    /// A pod's sandbox is gone.
    pub(in crate::nri) const REMOVE_POD_SANDBOX: i32 = 3;

    /// The subscription to these three, for [`super::ConfigureResponse`].
    pub(in crate::nri) const SANDBOXES: i32 =
        1 << (RUN_POD_SANDBOX - 1) | 1 << (STOP_POD_SANDBOX - 1) | 1 << (REMOVE_POD_SANDBOX - 1);
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RegisterPluginRequest {
    #[prost(string, tag = "1")]
    pub(super) plugin_name: String,
    /// Two digits; plugins are called in ascending order of it.
    #[prost(string, tag = "2")]
    pub(super) plugin_idx: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ConfigureRequest {
    #[prost(string, tag = "2")]
    pub(super) runtime_name: String,
    #[prost(string, tag = "3")]
    pub(super) runtime_version: String,
    /// In milliseconds; 0 from runtimes that do not report it.
    #[prost(int64, tag = "5")]
    pub(super) request_timeout: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ConfigureResponse {
    /// One bit for each event, the first for event 1.
    #[prost(int32, tag = "2")]
    pub(super) events: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SynchronizeRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) pods: Vec<PodSandbox>,
    /// Whether the list continues in another request.
    #[prost(bool, tag = "3")]
    pub(super) more: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SynchronizeResponse {
    /// The same as in the request: the plugin understands lists in parts.
    #[prost(bool, tag = "2")]
    pub(super) more: bool,
}

/// `RunPodSandboxRequest`, `StopPodSandboxRequest` and `RemovePodSandboxRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PodRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) pod: Option<PodSandbox>,
}

/// The request of runtimes that do not have a call for each event.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StateChangeEvent {
    #[prost(int32, tag = "1")]
    pub(super) event: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) pod: Option<PodSandbox>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PodSandbox {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) uid: String,
    #[prost(string, tag = "4")]
    pub(super) namespace: String,
    #[prost(btree_map = "string, string", tag = "5")]
    pub(super) labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "6")]
    pub(super) annotations: BTreeMap<String, String>,
    #[prost(message, optional, tag = "8")]
    pub(super) linux: Option<LinuxPodSandbox>,
    /// The sandbox's process; 0 if it has ended, or has none.
    #[prost(uint32, tag = "9")]
    pub(super) pid: u32,
    /// Empty from runtimes with NRI before 0.8, and for pods that use the node's network.
    #[prost(string, repeated, tag = "10")]
    pub(super) ips: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LinuxPodSandbox {
    #[prost(message, repeated, tag = "5")]
    pub(super) namespaces: Vec<LinuxNamespace>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LinuxNamespace {
    /// As in OCI: `network`, `pid`, …
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(string, tag = "2")]
    pub(super) path: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Handwritten bytes with unknown fields, in another order than ours.
    #[test]
    fn unknown_fields_are_ignored() {
        let mut bytes = Vec::new();
        bytes.extend(b"\x0a\x03abc"); // 1: id
        bytes.extend(b"\x3a\x04runc"); // 7: runtime_handler
        bytes.extend(b"\x52\x0810.0.0.5"); // 10: ips
        bytes.extend(b"\x42\x1d"); // 8: linux
        bytes.extend(b"\x1a\x05/pods"); // 8.3: cgroup_parent
        bytes.extend(b"\x2a\x14\x0a\x07network\x12\x09/ns/cni-1"); // 8.5: namespaces
        bytes.extend(b"\x12\x03web\x22\x04shop\x1a\x02u1"); // 2, 4, 3
        bytes.extend(b"\x2a\x0a\x0a\x03app\x12\x03web"); // 5: labels
        bytes.extend(b"\x2a\x05\x0a\x03odd"); // a label without a value
        bytes.extend(b"\x32\x06\x0a\x01n\x12\x01o"); // 6: annotations
        bytes.extend(b"\x48\xac\x02"); // 9: pid
        bytes.extend(b"\x52\x06fd00::"); // 10: another of ips
        bytes.extend(b"\xa2\x06\x01x"); // 100: from the future
        let pod = PodSandbox::decode(&*bytes).unwrap();
        let namespace = LinuxNamespace { kind: "network".to_owned(), path: "/ns/cni-1".to_owned() };
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let expected = PodSandbox {
            id: "abc".to_owned(),
            name: "web".to_owned(),
            uid: "u1".to_owned(),
            namespace: "shop".to_owned(),
            labels: BTreeMap::from([label("app", "web"), label("odd", "")]),
            annotations: BTreeMap::from([label("n", "o")]),
            linux: Some(LinuxPodSandbox { namespaces: vec![namespace] }),
            pid: 300,
            ips: vec!["10.0.0.5".to_owned(), "fd00::".to_owned()],
        };
        assert_eq!(pod, expected);
    }

    #[test]
    fn the_subscription_is_for_the_first_three_events() {
        let bytes = ConfigureResponse { events: event::SANDBOXES }.encode_to_vec();
        assert_eq!(bytes, b"\x10\x07");
    }

    #[test]
    fn a_registration_has_name_and_index() {
        let request = RegisterPluginRequest {
            plugin_name: "enforcer".to_owned(),
            plugin_idx: "90".to_owned(),
        };
        assert_eq!(request.encode_to_vec(), b"\x0a\x08enforcer\x12\x0290");
    }
}
