//! One file of libcni. Annotations of the pod, the configuration and credentials in it are skipped
//! while it is parsed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use enforcer_core::model::{PodId, Sandbox};

/// The kind of file that libcni writes (`CNICacheV1`). Older versions wrote the bare result, without
/// the pod.
const KIND: &str = "cniCacheV1";

/// A mistake in a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResultError {
    /// It is not JSON, or incomplete.
    #[error("not a complete JSON object: {0}")]
    Json(#[from] serde_json::Error),
    /// It is of another version.
    #[error("kind {0:?} instead of {KIND}")]
    Kind(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cached {
    kind: String,
    container_id: String,
    #[serde(default)]
    cni_args: Option<Vec<(String, String)>>,
    #[serde(default)]
    result: Option<Attachment>,
}

/// A result of version 0.3.0 or later, or of 0.1.0 and 0.2.0 (`ip4`, `ip6`).
#[derive(Deserialize, Default)]
struct Attachment {
    #[serde(default)]
    interfaces: Option<Vec<Interface>>,
    #[serde(default)]
    ips: Option<Vec<Ip>>,
    #[serde(default)]
    ip4: Option<OldIp>,
    #[serde(default)]
    ip6: Option<OldIp>,
}

#[derive(Deserialize)]
struct Interface {
    #[serde(default)]
    name: String,
    #[serde(default)]
    sandbox: Option<String>,
}

#[derive(Deserialize)]
struct Ip {
    address: String,
}

#[derive(Deserialize)]
struct OldIp {
    ip: String,
}

/// Reads a file. `None`: it is not of a pod's network, but of its loopback interface, or of a
/// container without a pod.
pub(super) fn sandbox(text: &[u8]) -> Result<Option<Sandbox>, ResultError> {
    let cached: Cached = serde_json::from_slice(text)?;
    if cached.kind != KIND {
        return Err(ResultError::Kind(cached.kind));
    }
    let arguments = cached.cni_args.unwrap_or_default();
    let argument = |name: &str| {
        let found = arguments.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        found.filter(|value| !value.is_empty())
    };
    let pod = argument("K8S_POD_NAMESPACE").zip(argument("K8S_POD_NAME"));
    let (Some((namespace, name)), Some(uid)) = (pod, argument("K8S_POD_UID")) else {
        return Ok(None);
    };
    let attachment = cached.result.unwrap_or_default();
    let old = attachment.ip4.into_iter().chain(attachment.ip6).map(|it| it.ip);
    let ips = attachment.ips.into_iter().flatten().map(|it| it.address).chain(old);
    let addresses = ips.filter_map(|text| address(&text));
    let addresses: BTreeSet<IpAddr> = addresses.filter(|it| !it.is_loopback()).collect();
    let on_node = attachment.interfaces.into_iter().flatten();
    let on_node = on_node.filter(|it| it.sandbox.as_deref().is_none_or(str::is_empty));
    let interfaces: BTreeSet<String> = on_node.map(|it| it.name).collect();
    if addresses.is_empty() && interfaces.is_empty() {
        return Ok(None);
    }
    Ok(Some(Sandbox {
        id: cached.container_id,
        pod: PodId::new(namespace, name),
        uid,
        labels: None,
        addresses,
        namespace: None,
        interfaces,
    }))
}

/// An address, with the length of its prefix or without.
fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpNet>().map(|it| it.addr()).or_else(|_| text.parse()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arguments() -> serde_json::Value {
        json!([
            ["IgnoreUnknown", "1"],
            ["K8S_POD_NAMESPACE", "demo"],
            ["K8S_POD_NAME", "web-0"],
            ["K8S_POD_INFRA_CONTAINER_ID", "c1"],
            ["K8S_POD_UID", "u1"],
        ])
    }

    fn file(arguments: &serde_json::Value, result: &serde_json::Value) -> Vec<u8> {
        let file = json!({
            "kind": "cniCacheV1", "containerId": "c1", "config": "eyJ9", "ifName": "eth0",
            "networkName": "n", "netns": "/var/run/netns/cni-1", "cniArgs": arguments,
            "capabilityArgs": {"io.kubernetes.cri.pod-annotations": {"secret": "s"}},
            "result": result,
        });
        file.to_string().into_bytes()
    }

    fn read(result: &serde_json::Value) -> Sandbox {
        sandbox(&file(&arguments(), result)).unwrap().unwrap()
    }

    fn addresses(list: &[&str]) -> BTreeSet<IpAddr> {
        list.iter().map(|it| it.parse().unwrap()).collect()
    }

    #[test]
    fn the_bridge_plugin_names_the_interface_of_the_node() {
        let found = read(&json!({
            "cniVersion": "0.4.0", "dns": {},
            "interfaces": [
                {"name": "cbr0", "mac": "86:12:1b:6a:a1:56"},
                {"name": "vethdfb5d74b", "mac": "4e:d9:3c:99:dc:05"},
                {"name": "eth0", "sandbox": "/var/run/netns/cni-1"},
            ],
            "ips": [
                {"version": "4", "interface": 2, "address": "10.244.0.33/24"},
                {"version": "6", "interface": 2, "address": "fd00::21/64"},
            ],
            "routes": [{"dst": "0.0.0.0/0"}],
        }));
        assert_eq!((found.id.as_str(), found.uid.as_str()), ("c1", "u1"));
        assert_eq!(found.pod, PodId::new("demo", "web-0"));
        assert_eq!(found.addresses, addresses(&["10.244.0.33", "fd00::21"]));
        assert_eq!(found.interfaces, ["cbr0", "vethdfb5d74b"].map(str::to_owned).into());
        assert_eq!(found.labels, None);
    }

    #[test]
    fn results_of_old_versions_have_addresses_only() {
        let found = read(&json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.5/24"}}));
        assert_eq!(found.addresses, addresses(&["10.0.0.5"]));
        assert!(found.interfaces.is_empty());
    }

    #[test]
    fn the_loopback_and_containers_without_a_pod_are_not_pods_networks() {
        let loopback = json!({
            "interfaces": [{"name": "lo", "sandbox": "/var/run/netns/cni-1"}],
            "ips": [{"address": "127.0.0.1/8"}, {"address": "::1/128"}],
        });
        assert_eq!(sandbox(&file(&arguments(), &loopback)).unwrap(), None);
        let ips = json!({"ips": [{"address": "10.0.0.5/24"}]});
        assert_eq!(sandbox(&file(&json!([["IgnoreUnknown", "1"]]), &ips)).unwrap(), None);
        assert_eq!(sandbox(&file(&json!(null), &ips)).unwrap(), None);
        assert_eq!(sandbox(&file(&arguments(), &json!(null))).unwrap(), None);
    }

    #[test]
    fn parts_of_a_file_and_other_files_are_mistakes() {
        let whole = file(&arguments(), &json!({"ips": [{"address": "10.0.0.5/24"}]}));
        for end in 0..whole.len() {
            assert!(sandbox(&whole[..end]).is_err(), "{end}");
        }
        let bare = br#"{"cniVersion": "0.4.0", "ips": []}"#;
        assert!(sandbox(bare).is_err());
        let other = br#"{"kind": "cniCacheV2", "containerId": "c1"}"#;
        assert!(matches!(sandbox(other), Err(ResultError::Kind(kind)) if kind == "cniCacheV2"));
    }
}
