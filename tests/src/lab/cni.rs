//! What the container runtime's library libcni keeps of each pod's network: the result of the CNI
//! plugins, in a file of its own (containernetworking/cni, `libcni/api.go`, `cacheAdd`).

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use enforcer_core::model::PodId;
use ipnet::IpNet;
use serde_json::{Value, json};

use super::LabError;
use super::error::Context as _;
use super::site::Site;
use super::topology::Topology;
use super::wiring::BRIDGE;

/// A sandbox, as libcni knows it.
#[derive(Debug, Clone)]
pub(crate) struct Attached<'a> {
    pub site: Site,
    pub id: &'a PodId,
    pub uid: &'a str,
    /// The host number in the pods' subnet.
    pub number: u8,
    pub netns: &'a Path,
}

/// The id of a pod's sandbox.
pub(crate) fn sandbox_id(id: &PodId, uid: &str) -> String {
    format!("{}.{}.{uid}", id.namespace, id.name)
}

/// Writes a sandbox's results, as at the end of ADD: those of the loopback interface and of the pod's
/// network. Not in one step: libcni writes a file in place.
pub(crate) fn write(directory: &Path, attached: &Attached<'_>) -> Result<(), LabError> {
    let container = sandbox_id(attached.id, attached.uid);
    let netns = attached.netns.display().to_string();
    let loopback = json!({
        "cniVersion": "0.3.1", "dns": {},
        "interfaces": [{ "name": "lo", "mac": "00:00:00:00:00:00", "sandbox": netns }],
        "ips": [
            { "version": "4", "interface": 0, "address": "127.0.0.1/8" },
            { "version": "6", "interface": 0, "address": "::1/128" },
        ],
    });
    let files = [("cni-loopback", "lo", loopback), ("lab", "eth0", result(attached, &netns))];
    fs::create_dir_all(directory).context(directory.display().to_string())?;
    for (network, interface, result) in files {
        let text = json!({
            "kind": "cniCacheV1",
            "containerId": container,
            "config": "",
            "ifName": interface,
            "networkName": network,
            "netns": netns,
            "cniArgs": [
                ["IgnoreUnknown", "1"],
                ["K8S_POD_NAMESPACE", attached.id.namespace.as_str()],
                ["K8S_POD_NAME", attached.id.name.as_str()],
                ["K8S_POD_INFRA_CONTAINER_ID", container],
                ["K8S_POD_UID", attached.uid],
            ],
            "capabilityArgs": { "io.kubernetes.cri.pod-annotations": { "secret": "not for agents" } },
            "result": result,
        });
        let path = path(directory, network, &container, interface);
        fs::write(&path, text.to_string()).context(path.display().to_string())?;
    }
    Ok(())
}

/// Removes a sandbox's results, as at the end of DEL.
pub(crate) fn remove(directory: &Path, id: &PodId, uid: &str) -> Result<(), LabError> {
    let container = sandbox_id(id, uid);
    for (network, interface) in [("cni-loopback", "lo"), ("lab", "eth0")] {
        let path = path(directory, network, &container, interface);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).context(path.display().to_string());
            }
            _ => {}
        }
    }
    Ok(())
}

fn path(directory: &Path, network: &str, container: &str, interface: &str) -> PathBuf {
    directory.join(format!("{network}-{container}-{interface}"))
}

/// The result as the bridge plugin reports it, or as azure-vnet does: without the node's interface
/// (Azure/azure-container-networking, `cni/network/network.go`, `convertInterfaceInfoToCniResult`).
fn result(attached: &Attached<'_>, netns: &str) -> Value {
    let Attached { site, number, .. } = attached;
    let (host, mac) = (site.interface(*number), mac(site.pod_mac(*number)));
    let (interfaces, inner) = match site.topology() {
        Topology::Kubenet => {
            let bridge = json!({ "name": BRIDGE, "mac": "0a:58:00:00:00:01" });
            let outer = json!({ "name": host, "mac": "0a:58:00:00:00:02" });
            (json!([bridge, outer, { "name": "eth0", "mac": mac, "sandbox": netns }]), 2)
        }
        Topology::AzureCni => (json!([{ "name": "eth0", "mac": mac }]), 0),
    };
    let ip = |net: IpNet| {
        let version = if net.addr().is_ipv4() { "4" } else { "6" };
        json!({ "version": version, "interface": inner, "address": net.to_string() })
    };
    let routes = site.gateways().map(|gateway| {
        let everything = match gateway {
            IpAddr::V4(_) => "0.0.0.0/0",
            IpAddr::V6(_) => "::/0",
        };
        json!({ "dst": everything, "gw": gateway })
    });
    json!({
        "cniVersion": "0.4.0", "dns": {}, "interfaces": interfaces,
        "ips": site.host(*number).map(ip), "routes": routes,
    })
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
