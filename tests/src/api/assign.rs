//! Addresses and node ports for Services that request no particular ones.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use super::kinds::{Kind, SERVICES};
use super::object;
use super::status::Refusal;
use super::store::Contents;

/// Assigned cluster addresses: 10.0.128.1 and following, which the tutorial's manifests do not
/// request, and the same host of an IPv6 prefix.
fn pair(number: u16) -> [IpAddr; 2] {
    let [high, low] = number.to_be_bytes();
    [
        Ipv4Addr::new(10, 0, 128 | high, low).into(),
        Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 1, number).into(),
    ]
}

/// Kubernetes' default range of node ports.
const NODE_PORTS: std::ops::RangeInclusive<u64> = 30_000..=32_767;

/// Completes an object that is a Service: cluster addresses, families and node ports.
pub(crate) fn addresses(
    contents: &Contents,
    kind: &Kind,
    service: &mut Value,
) -> Result<(), Refusal> {
    if kind != &SERVICES {
        return Ok(());
    }
    let own = object::key(service);
    let others = || contents.values(&SERVICES).filter(|it| object::key(it) != own);
    let spec = &mut service["spec"];
    let service_type = object::text(spec, "/type").to_owned();
    if service_type == "ExternalName" || !spec.is_object() {
        return Ok(());
    }
    if spec["clusterIPs"].as_array().is_none_or(Vec::is_empty) {
        let taken: BTreeSet<&str> =
            others().flat_map(|it| texts(&it["spec"]["clusterIPs"])).collect();
        spec["clusterIPs"] = match object::text(spec, "/clusterIP") {
            "" => {
                let free =
                    (1..=32_000).map(pair).find(|[v4, _]| !taken.contains(v4.to_string().as_str()));
                let [v4, v6] = free.ok_or_else(|| Refusal::of_code(500, None))?;
                let is_dual = object::text(spec, "/ipFamilyPolicy").ends_with("DualStack");
                if is_dual { json!([v4, v6]) } else { json!([v4]) }
            }
            given => json!([given]),
        };
    }
    spec["clusterIP"] = spec["clusterIPs"][0].clone();
    let families: Vec<&str> = texts(&spec["clusterIPs"])
        .filter(|it| *it != "None")
        .map(|it| if it.contains(':') { "IPv6" } else { "IPv4" })
        .collect();
    if !families.is_empty() {
        let policy = if families.len() > 1 { "PreferDualStack" } else { "SingleStack" };
        let families = json!(families);
        object::default(spec, "ipFamilies", families);
        object::default(spec, "ipFamilyPolicy", policy);
    }
    if matches!(service_type.as_str(), "NodePort" | "LoadBalancer") {
        let ports = others().flat_map(|it| it["spec"]["ports"].as_array().into_iter().flatten());
        let mut taken: BTreeSet<u64> = ports.filter_map(|it| it["nodePort"].as_u64()).collect();
        for port in object::items_mut(spec, "/ports") {
            if port["nodePort"].as_u64().is_none_or(|it| it == 0) {
                let free = NODE_PORTS.clone().find(|it| !taken.contains(it));
                port["nodePort"] = free.ok_or_else(|| Refusal::of_code(500, None))?.into();
            }
            taken.extend(port["nodePort"].as_u64());
        }
    }
    Ok(())
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}
