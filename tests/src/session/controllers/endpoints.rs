//! Endpoints and endpoint slices of Services, and load balancers' addresses.
//!
//! Labels and fields as the controllers' (kubernetes/kubernetes `pkg/controller/endpoint`,
//! `staging/src/k8s.io/endpointslice`).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{ensure, is_ending, is_ready, key_of, matches, owner, pods_of, suffix, text};
use crate::api::{Refusal, Store, kinds};

const MANAGER: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
const SLICE_MANAGER: (&str, &str) =
    ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io");

/// Assigns addresses to load balancers that have none: 192.0.2.128 and following, 2001:db8:80::128.
pub(super) fn balance(store: &Store) {
    let services = store.all(&kinds::SERVICES);
    let given = |it: &Value| -> Vec<String> {
        let all = it["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
        all.filter_map(|it| it["ip"].as_str()).map(str::to_owned).collect()
    };
    let mut taken: BTreeSet<String> = services.iter().flat_map(|it| given(it)).collect();
    let wants = |it: &&Arc<Value>| text(it, "/spec/type") == "LoadBalancer" && given(it).is_empty();
    for service in services.iter().filter(wants) {
        let free =
            (128..255).map(|host| (format!("192.0.2.{host}"), format!("2001:db8:80::{host}")));
        let Some((v4, v6)) =
            free.into_iter().find(|(v4, v6)| !taken.contains(v4) && !taken.contains(v6))
        else {
            return;
        };
        taken.extend([v4.clone(), v6.clone()]);
        let families = families(service);
        let own = [("IPv4", v4), ("IPv6", v6)].into_iter();
        let own = own.filter(|(family, _)| families.contains(&(*family).to_owned()));
        let ingress: Vec<Value> = own.map(|(_, ip)| json!({ "ip": ip, "ipMode": "VIP" })).collect();
        store.edit(&kinds::SERVICES, &key_of(service), |it| {
            it["status"] = json!({ "loadBalancer": { "ingress": ingress } });
        });
    }
}

fn families(service: &Value) -> Vec<String> {
    let all = service["spec"]["ipFamilies"].as_array().into_iter().flatten();
    let all: Vec<String> = all.filter_map(Value::as_str).map(str::to_owned).collect();
    if all.is_empty() { vec!["IPv4".to_owned()] } else { all }
}

/// Writes the endpoints of Services with a selector, and removes those of Services that are gone.
pub(super) fn run(store: &Store) -> Result<(), Refusal> {
    let services = store.all(&kinds::SERVICES);
    let selecting = |it: &&Arc<Value>| {
        it["spec"]["selector"].as_object().is_some_and(|it| !it.is_empty())
            && text(it, "/spec/type") != "ExternalName"
    };
    let mut wanted = BTreeSet::new();
    for service in services.iter().filter(selecting).filter(|it| !is_ending(it)) {
        let key = key_of(service);
        let pods = pods_of(store, &key.namespace);
        let pods: Vec<_> =
            pods.iter().filter(|it| matches(&service["spec"]["selector"], it)).collect();
        ensure(store, &kinds::ENDPOINTS, endpoints(service, &pods), &["subsets"])?;
        wanted.insert((key.namespace.clone(), key.name.clone()));
        for family in families(service) {
            let slice = slice(service, &pods, &family);
            wanted.insert((key.namespace.clone(), key_of(&slice).name));
            ensure(store, &kinds::ENDPOINT_SLICES, slice, &["endpoints", "ports"])?;
        }
    }
    for (kind, (label, value)) in
        [(&kinds::ENDPOINTS, MANAGER), (&kinds::ENDPOINT_SLICES, SLICE_MANAGER)]
    {
        let own = store.all(kind).into_iter().filter(|it| it["metadata"]["labels"][label] == value);
        for key in own.map(|it| key_of(&it)) {
            if !wanted.contains(&(key.namespace.clone(), key.name.clone())) {
                store.remove(kind, &key);
            }
        }
    }
    Ok(())
}

fn is_of(family: &str, address: &str) -> bool {
    let address = address.parse::<IpAddr>();
    address.is_ok_and(|it| it.is_ipv6() == (family == "IPv6"))
}

fn addresses<'a>(pod: &'a Value, family: &str) -> Vec<&'a str> {
    let all = pod["status"]["podIPs"].as_array().into_iter().flatten();
    all.filter_map(|it| it["ip"].as_str()).filter(|it| is_of(family, it)).collect()
}

fn target(pod: &Value) -> Value {
    let meta = &pod["metadata"];
    json!({
        "kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"],
    })
}

/// The ports of a pod behind a Service. A name that the pod lacks has no port.
fn ports(service: &Value, pod: Option<&Value>) -> Vec<Value> {
    let own = service["spec"]["ports"].as_array().into_iter().flatten();
    let resolved = own.filter_map(|port| {
        let number = match &port["targetPort"] {
            Value::String(name) => container_port(pod?, name, text(port, "/protocol"))?,
            Value::Null => port["port"].clone(),
            number => number.clone(),
        };
        // A slice's port has a name, even if that is empty; clients rely on it.
        let name = text(port, "/name");
        Some(json!({ "name": name, "port": number, "protocol": port["protocol"] }))
    });
    resolved.collect()
}

fn container_port(pod: &Value, name: &str, protocol: &str) -> Option<Value> {
    let containers = pod["spec"]["containers"].as_array()?.iter();
    let mut ports = containers.flat_map(|it| it["ports"].as_array().into_iter().flatten());
    let found = ports.find(|it| it["name"] == name && text(it, "/protocol") == protocol)?;
    Some(found["containerPort"].clone())
}

fn endpoints(service: &Value, pods: &[&Arc<Value>]) -> Value {
    let family = families(service).into_iter().next().unwrap_or_default();
    let serving = pods.iter().filter(|it| is_ready(it) && !is_ending(it));
    let mut subsets: Vec<(Vec<Value>, Vec<Value>)> = Vec::new();
    for pod in serving {
        let ports = ports(service, Some(pod));
        let own = addresses(pod, &family).into_iter().map(
            |ip| json!({ "ip": ip, "nodeName": pod["spec"]["nodeName"], "targetRef": target(pod) }),
        );
        match subsets.iter_mut().find(|(_, known)| *known == ports) {
            Some((known, _)) => known.extend(own),
            None => subsets.push((own.collect(), ports)),
        }
    }
    let subsets = subsets.into_iter();
    let subsets: Vec<Value> = subsets
        .map(|(addresses, ports)| json!({ "addresses": addresses, "ports": ports }))
        .collect();
    let (label, value) = MANAGER;
    json!({
        "metadata": {
            "name": service["metadata"]["name"], "namespace": service["metadata"]["namespace"],
            "labels": { label: value },
        },
        "subsets": subsets,
    })
}

fn slice(service: &Value, pods: &[&Arc<Value>], family: &str) -> Value {
    let key = key_of(service);
    let with_address = pods.iter().filter(|it| !addresses(it, family).is_empty());
    let endpoints = with_address.map(|pod| {
        let ready = is_ready(pod) && !is_ending(pod);
        json!({
            "addresses": addresses(pod, family), "nodeName": pod["spec"]["nodeName"],
            "conditions": {
                "ready": ready, "serving": is_ready(pod), "terminating": is_ending(pod),
            },
            "targetRef": target(pod),
        })
    });
    let endpoints: Vec<Value> = endpoints.collect();
    let (label, value) = SLICE_MANAGER;
    let uid = text(service, "/metadata/uid");
    json!({
        "metadata": {
            "name": format!("{}-{}", key.name, suffix(&format!("{family}{uid}"), 5)),
            "namespace": key.namespace,
            "labels": { label: value, "kubernetes.io/service-name": key.name },
            "ownerReferences": owner(&kinds::SERVICES, service),
        },
        "addressType": family, "endpoints": endpoints,
        "ports": ports(service, pods.first().map(|it| &***it)),
    })
}
