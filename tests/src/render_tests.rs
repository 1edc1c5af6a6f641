use serde_json::json;

use super::*;
use enforcer::source::convert::{self, Converted};
use enforcer_core::model::{
    Change, ContainerPort, Distribution, Labels, PodId, PolicyId, PortRange, Protocol, ServiceId,
};

fn value<T>(converted: Converted<T>) -> T {
    assert_eq!(converted.problems, []);
    converted.value.unwrap()
}

/// Reads rendered manifests through the Kubernetes types, as any other reader would.
fn read(text: &str) -> Cluster {
    let mut cluster = Cluster::default();
    for document in text.split("---\n").skip(1) {
        let object: Value = serde_json::from_str(document).unwrap();
        let kind = object["kind"].as_str().unwrap().to_owned();
        // `from_value` of these types checks apiVersion and kind too.
        let change = match kind.as_str() {
            "Namespace" => Change::Namespace(value(convert::namespace(&from(object)))),
            "Pod" => Change::Pod(value(convert::pod(&from(object)))),
            "NetworkPolicy" => Change::Policy(value(convert::policy(&from(object)))),
            "Service" => Change::Service(value(convert::service(&from(object)))),
            other => panic!("unexpected kind {other}"),
        };
        assert!(cluster.apply(change), "one document per object");
    }
    cluster
}

fn from<T: serde::de::DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn all_requirements() -> Selector {
    let set = |values: &[&str]| values.iter().map(ToString::to_string).collect();
    let requirements = [
        Requirement::In("a".into(), set(&["1"])),
        Requirement::In("a".into(), set(&["1", "2"])),
        Requirement::NotIn("b".into(), set(&["x", ""])),
        Requirement::Exists("c".into()),
        Requirement::DoesNotExist("d".into()),
    ];
    Selector { requirements: requirements.into_iter().collect() }
}

fn some_pod(name: &str) -> Pod {
    Pod {
        id: PodId::new("web", name),
        uid: format!("uid-{name}"),
        labels: labels(&[("app", name)]),
        node: Some("node-1".into()),
        addresses: ["10.0.0.1", "fd00::1"].into_iter().map(|it| it.parse().unwrap()).collect(),
        host_network: false,
        finished: false,
        terminating: false,
        ports: [
            ContainerPort { name: "http".into(), protocol: Protocol::Tcp, port: 80 },
            ContainerPort { name: "http".into(), protocol: Protocol::Udp, port: 443 },
        ]
        .into(),
    }
}

fn bare_pod(name: &str) -> Pod {
    Pod {
        uid: String::new(),
        labels: Labels::new(),
        node: None,
        addresses: [].into(),
        ports: [].into(),
        ..some_pod(name)
    }
}

fn every_rule() -> Vec<Rule> {
    let block = |cidr: &str, except: &[&str]| {
        let except = except.iter().map(|it| it.parse().unwrap()).collect();
        Peer::Block(Block { cidr: cidr.parse().unwrap(), except })
    };
    let range = |first, last| PortSpec::Range(PortRange { first, last });
    vec![
        Rule::default(),
        Rule {
            peers: vec![
                Peer::Pods { namespaces: None, pods: Selector::default() },
                Peer::Pods { namespaces: Some(Selector::default()), pods: all_requirements() },
                Peer::Pods { namespaces: Some(all_requirements()), pods: Selector::default() },
                block("10.0.0.0/8", &["10.1.0.0/16", "10.2.0.1/32"]),
                block("::/0", &[]),
            ],
            ports: vec![
                PortRule { protocol: Protocol::Tcp, port: PortSpec::All },
                PortRule { protocol: Protocol::Udp, port: range(53, 53) },
                PortRule { protocol: Protocol::Sctp, port: range(1, 65535) },
                PortRule { protocol: Protocol::Tcp, port: PortSpec::Named("http".into()) },
            ],
        },
    ]
}

fn some_policy(name: &str, ingress: Option<Vec<Rule>>, egress: Option<Vec<Rule>>) -> Policy {
    Policy { id: PolicyId::new("web", name), subjects: all_requirements(), ingress, egress }
}

fn some_service() -> Service {
    let app = Requirement::In("app".into(), ["a".to_owned()].into());
    let port = |name: &str, target, node_port| ServicePort {
        name: name.into(),
        protocol: Protocol::Udp,
        port: 53,
        target,
        node_port,
    };
    Service {
        id: ServiceId { namespace: "web".into(), name: "s".into() },
        selector: Some(Selector { requirements: [app].into() }),
        cluster_addresses: ["10.1.0.1".parse().unwrap(), "fd01::1".parse().unwrap()].into(),
        external_addresses: ["192.0.2.1".parse().unwrap()].into(),
        ports: vec![
            port("", TargetPort::Number(5353), None),
            port("dns", TargetPort::Named("dns".into()), Some(30053)),
        ],
        distribution: Distribution {
            external: TrafficPolicy::Local,
            internal: TrafficPolicy::Local,
            affinity: Some(30),
        },
    }
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::default();
    let headless = Service {
        id: ServiceId { namespace: "web".into(), name: "headless".into() },
        selector: None,
        cluster_addresses: [].into(),
        external_addresses: [].into(),
        ports: vec![],
        distribution: Distribution::default(),
    };
    let changes = [
        Change::Namespace(Namespace::new("web", labels(&[("team", "a")]))),
        Change::Namespace(Namespace::new("other", Labels::new())),
        Change::Pod(some_pod("a")),
        Change::Pod(bare_pod("b")),
        Change::Pod(Pod { host_network: true, ..some_pod("c") }),
        Change::Pod(Pod { finished: true, ..some_pod("d") }),
        Change::Policy(some_policy("both", Some(every_rule()), Some(every_rule()))),
        Change::Policy(some_policy("in", Some(vec![]), None)),
        Change::Policy(some_policy("out", None, Some(vec![]))),
        Change::Service(some_service()),
        Change::Service(headless),
    ];
    for change in changes {
        assert!(cluster.apply(change));
    }
    cluster
}

#[test]
fn reads_back_as_it_was() {
    let cluster = cluster();
    assert_eq!(read(&manifests(&cluster)), cluster);
}

#[test]
fn an_empty_cluster_is_empty() {
    assert_eq!(manifests(&Cluster::default()), "");
}

#[test]
fn node_addresses_are_a_comment() {
    let node_addresses = ["192.0.2.9".parse().unwrap()].into();
    let text = manifests(&Cluster { node_addresses, ..cluster() });
    assert!(text.starts_with("# node address 192.0.2.9\n---\n{"));
    assert_eq!(read(&text), cluster());
}

#[test]
fn selectors_of_everything_are_empty_objects() {
    assert_eq!(selector(&Selector::default()), json!({}));
}
