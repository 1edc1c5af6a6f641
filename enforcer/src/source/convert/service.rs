//! Services.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Converted, Problem, field, labels, port, selector};
use enforcer_core::model::{self, Distribution, PortSpec, ServiceId, TargetPort, TrafficPolicy};

/// A service. Headless services and those of type `ExternalName` have no cluster addresses.
#[must_use]
pub fn service(object: &Service) -> Converted<model::Service> {
    let (value, problems) = read(object);
    Converted::new(value, problems)
}

/// What can be read of a service that has errors. Its addresses must be known whatever else is wrong: packets to
/// them are judged behind them (semantics N1, N2). `None` without a name.
#[must_use]
pub fn readable_service(object: &Service) -> Option<model::Service> {
    Some(read(object).0).filter(|it| !it.id.name.is_empty())
}

fn read(object: &Service) -> (model::Service, Vec<Problem>) {
    let mut problems = Vec::new();
    let name = field::name(&object.metadata, &mut problems);
    let id = ServiceId::new(field::namespace(&object.metadata), name);
    let spec = object.spec.clone().unwrap_or_default();
    let value = model::Service {
        id,
        selector: selected(&spec, &mut problems),
        cluster_addresses: cluster_addresses(&spec, &mut problems),
        external_addresses: external_addresses(object, &spec, &mut problems),
        ports: ports(&spec, &mut problems),
        distribution: distribution(&spec, &mut problems),
    };
    (value, problems)
}

/// An empty selector selects nothing: the endpoints are manual. `ExternalName` ignores it.
fn selected(spec: &ServiceSpec, problems: &mut Vec<Problem>) -> Option<model::Selector> {
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    let wanted = spec.selector.as_ref().filter(|it| !it.is_empty())?;
    labels::check(wanted, "spec.selector", problems);
    Some(selector::from_labels(wanted))
}

fn cluster_addresses(spec: &ServiceSpec, problems: &mut Vec<Problem>) -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    let is_address = |text: &str| !text.is_empty() && text != "None";
    for (index, text) in spec.cluster_ips.iter().flatten().enumerate() {
        if is_address(text) {
            field::address(text, &format!("spec.clusterIPs[{index}]"), &mut found, problems);
        }
    }
    if let Some(text) = spec.cluster_ip.as_deref().filter(|it| is_address(it)) {
        field::address(text, "spec.clusterIP", &mut found, problems);
    }
    found
}

fn external_addresses(
    object: &Service,
    spec: &ServiceSpec,
    problems: &mut Vec<Problem>,
) -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    for (index, text) in spec.external_ips.iter().flatten().enumerate() {
        field::address(text, &format!("spec.externalIPs[{index}]"), &mut found, problems);
    }
    let balancer = object.status.as_ref().and_then(|it| it.load_balancer.as_ref());
    let ingress = balancer.and_then(|it| it.ingress.as_deref()).unwrap_or_default();
    for (index, it) in ingress.iter().enumerate() {
        if let Some(text) = it.ip.as_deref().filter(|it| !it.is_empty()) {
            let path = format!("status.loadBalancer.ingress[{index}].ip");
            field::address(text, &path, &mut found, problems);
        }
    }
    found
}

fn distribution(spec: &ServiceSpec, problems: &mut Vec<Problem>) -> Distribution {
    let mut policy = |value: Option<&str>, name: &str| match value {
        None | Some("" | "Cluster") => TrafficPolicy::Cluster,
        Some("Local") => TrafficPolicy::Local,
        Some(other) => {
            let message = format!("{other:?} is neither Cluster nor Local");
            problems.push(Problem::error(format!("spec.{name}"), message));
            TrafficPolicy::Cluster
        }
    };
    let external = policy(spec.external_traffic_policy.as_deref(), "externalTrafficPolicy");
    let internal = policy(spec.internal_traffic_policy.as_deref(), "internalTrafficPolicy");
    Distribution { external, internal, affinity: affinity(spec, problems) }
}

/// `sessionAffinity` and its timeout, which the API server defaults to three hours and limits to
/// a day.
fn affinity(spec: &ServiceSpec, problems: &mut Vec<Problem>) -> Option<u32> {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => return None,
        Some("ClientIP") => {}
        Some(other) => {
            let message = format!("{other:?} is neither None nor ClientIP");
            problems.push(Problem::error("spec.sessionAffinity", message));
            return None;
        }
    }
    let config = spec.session_affinity_config.as_ref().and_then(|it| it.client_ip.as_ref());
    let Some(seconds) = config.and_then(|it| it.timeout_seconds) else { return Some(10_800) };
    let valid = u32::try_from(seconds).ok().filter(|it| (1..=86_400).contains(it));
    if valid.is_none() {
        let path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        problems.push(Problem::error(path, format!("{seconds} is not between 1 and 86400")));
    }
    valid
}

fn ports(spec: &ServiceSpec, problems: &mut Vec<Problem>) -> Vec<model::ServicePort> {
    let list = spec.ports.iter().flatten().enumerate();
    list.filter_map(|(index, it)| service_port(it, &format!("spec.ports[{index}]"), problems))
        .collect()
}

fn service_port(
    object: &ServicePort,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Option<model::ServicePort> {
    let protocol = port::protocol(object.protocol.as_deref(), path, problems);
    let number = port::number(object.port, &format!("{path}.port"), problems);
    let target = target(object.target_port.as_ref(), number, path, problems);
    // The API server writes 0 for "none yet".
    let node_port = object.node_port.filter(|it| *it != 0);
    let node_port =
        node_port.and_then(|it| port::number(it, &format!("{path}.nodePort"), problems));
    let name = object.name.clone().unwrap_or_default();
    Some(model::ServicePort {
        name,
        protocol: protocol?,
        port: number?,
        target: target?,
        node_port,
    })
}

/// `targetPort`; absent, 0 and empty mean the service's own port, as the API server defaults it.
fn target(
    object: Option<&IntOrString>,
    own: Option<u16>,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Option<TargetPort> {
    let path = format!("{path}.targetPort");
    match object {
        Some(IntOrString::Int(value)) if *value != 0 => {
            port::number(*value, &path, problems).map(TargetPort::Number)
        }
        Some(IntOrString::String(text)) if !text.is_empty() => {
            match port::name(text, &path, problems)? {
                PortSpec::Named(name) => Some(TargetPort::Named(name)),
                _ => None,
            }
        }
        _ => own.map(TargetPort::Number),
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals read best as plain arguments")]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use enforcer_core::model::Protocol;

    fn convert(spec: Value, status: Value) -> Converted<model::Service> {
        let object = json!({"metadata": {"name": "s"}, "spec": spec, "status": status});
        service(&serde_json::from_value(object).unwrap())
    }

    fn good(spec: Value, status: Value) -> model::Service {
        convert(spec, status).good()
    }

    fn set(list: &[&str]) -> BTreeSet<IpAddr> {
        list.iter().map(|it| it.parse().unwrap()).collect()
    }

    #[test]
    fn addresses() {
        let service = good(
            json!({
                "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"],
                "externalIPs": ["192.0.2.1"],
            }),
            json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.2"}, {"hostname": "h"}]}}),
        );
        assert_eq!(service.id, ServiceId { namespace: "default".into(), name: "s".into() });
        assert_eq!(service.cluster_addresses, set(&["10.0.0.1", "fd00::1"]));
        assert_eq!(service.external_addresses, set(&["192.0.2.1", "192.0.2.2"]));
        for none in ["None", ""] {
            let service = good(json!({"clusterIP": none, "clusterIPs": [none]}), json!({}));
            assert_eq!(service.cluster_addresses, set(&[]));
        }
    }

    #[test]
    fn selectors() {
        let selector = |spec| good(spec, json!({})).selector;
        assert_eq!(selector(json!({})), None);
        assert_eq!(selector(json!({"selector": {}})), None);
        let labels = json!({"app": "web"});
        let found = selector(json!({"selector": labels})).unwrap();
        assert!(found.matches(&[("app".to_owned(), "web".to_owned())].into()));
        assert!(!found.matches(&model::Labels::new()));
        assert_eq!(selector(json!({"selector": labels, "type": "ExternalName"})), None);
    }

    #[test]
    fn ports_and_targets() {
        let service = good(
            json!({"ports": [
                {"port": 80},
                {"port": 81, "targetPort": 8081, "nodePort": 30001, "name": "a"},
                {"port": 53, "protocol": "UDP", "targetPort": "dns", "nodePort": 0},
                {"port": 82, "targetPort": 0},
            ]}),
            json!({}),
        );
        let port = |name: &str, protocol, port, target, node_port| model::ServicePort {
            name: name.into(),
            protocol,
            port,
            target,
            node_port,
        };
        assert_eq!(
            service.ports,
            [
                port("", Protocol::Tcp, 80, TargetPort::Number(80), None),
                port("a", Protocol::Tcp, 81, TargetPort::Number(8081), Some(30001)),
                port("", Protocol::Udp, 53, TargetPort::Named("dns".into()), None),
                port("", Protocol::Tcp, 82, TargetPort::Number(82), None),
            ]
        );
    }

    #[test]
    fn distributions() {
        let distribution = |spec| good(spec, json!({})).distribution;
        assert_eq!(distribution(json!({})), Distribution::default());
        let local = json!({
            "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local",
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
        });
        let expected = Distribution {
            external: TrafficPolicy::Local,
            internal: TrafficPolicy::Local,
            affinity: Some(60),
        };
        assert_eq!(distribution(local), expected);
        assert_eq!(distribution(json!({"sessionAffinity": "ClientIP"})).affinity, Some(10_800));
        let spelled_out = json!({
            "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
        });
        assert_eq!(distribution(spelled_out), Distribution::default());
        for (spec, path) in [
            (json!({"externalTrafficPolicy": "local"}), "spec.externalTrafficPolicy"),
            (json!({"internalTrafficPolicy": "All"}), "spec.internalTrafficPolicy"),
            (json!({"sessionAffinity": "Cookie"}), "spec.sessionAffinity"),
            (
                json!({
                    "sessionAffinity": "ClientIP",
                    "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86_401}},
                }),
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            ),
        ] {
            assert_eq!(convert(spec, json!({})).paths(), [path]);
        }
    }

    #[test]
    fn bad_fields() {
        let converted = convert(
            json!({
                "clusterIP": "a", "clusterIPs": ["b"], "externalIPs": ["c"],
                "ports": [{"port": 0}, {
                    "port": 1, "targetPort": "80", "nodePort": 65536, "protocol": "x",
                }],
            }),
            json!({"loadBalancer": {"ingress": [{"ip": "d"}]}}),
        );
        assert_eq!(converted.value, None);
        assert_eq!(
            converted.paths(),
            [
                "spec.clusterIPs[0]",
                "spec.clusterIP",
                "spec.externalIPs[0]",
                "status.loadBalancer.ingress[0].ip",
                "spec.ports[0].port",
                "spec.ports[1].protocol",
                "spec.ports[1].targetPort",
                "spec.ports[1].nodePort",
            ]
        );
        assert_eq!(service(&Service::default()).problems[0].path, "metadata.name");
    }
}
