use enforcer_core::model::{ContainerPort, Labels, Requirement, Selector};

use super::*;

/// A pod with one address of each family, whose port `http` is `port`.
fn pod(name: &str, node: &str, host: u8, port: u16) -> Pod {
    let http = ContainerPort { name: "http".into(), protocol: Protocol::Tcp, port };
    Pod {
        labels: [("app".to_owned(), "web".to_owned())].into(),
        node: Some(node.into()),
        addresses: [address(&format!("10.244.1.{host}")), address(&format!("fd00::{host}"))].into(),
        ports: [http].into(),
        ..Pod::new(PodId::new("shop", name))
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The Service `shop/web` of all pods `app: web`, port 80 to `http`, with a node port.
pub(crate) fn service(distribution: Distribution) -> Service {
    let app = Requirement::In("app".into(), ["web".to_owned()].into());
    Service {
        id: ServiceId { namespace: "shop".into(), name: "web".into() },
        selector: Some(Selector { requirements: [app].into() }),
        cluster_addresses: [address("10.0.0.1"), address("fd01::1")].into(),
        external_addresses: [address("192.0.2.1")].into(),
        ports: vec![ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 80,
            target: TargetPort::Named("http".into()),
            node_port: Some(30080),
        }],
        distribution,
    }
}

pub(crate) fn cluster(pods: &[Pod], distribution: Distribution) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.pods.extend(pods.iter().map(|pod| (pod.id.clone(), pod.clone())));
    let service = service(distribution);
    cluster.services.insert(service.id.clone(), service);
    cluster
}

/// A pod here and one elsewhere.
pub(crate) fn two_pods() -> [Pod; 2] {
    [pod("a", "here", 2, 8080), pod("b", "elsewhere", 3, 8081)]
}

pub(crate) fn here() -> ProxyNode {
    ProxyNode {
        name: "here".into(),
        addresses: vec![address("10.240.0.4"), address("fd02::4")],
        pod_ranges: vec!["10.244.0.0/16".parse().unwrap(), "fd00::/48".parse().unwrap()],
    }
}

fn ats(backends: &[Backend]) -> Vec<String> {
    backends.iter().map(|it| it.at.to_string()).collect()
}

#[test]
fn named_ports_are_resolved_per_pod_and_families_are_separate() {
    let cluster = cluster(&two_pods(), Distribution::default());
    let plan = Plan::new(&cluster, &here(), Family::V4);
    let [port] = plan.ports.as_slice() else { panic!("{plan:?}") };
    assert_eq!(ats(&port.all), ["10.244.1.2:8080", "10.244.1.3:8081"]);
    assert_eq!(ats(&port.local), ["10.244.1.2:8080"]);
    assert_eq!((port.cluster.len(), port.external.len(), port.node_port), (1, 1, Some(30080)));
    let plan = Plan::new(&cluster, &here(), Family::V6);
    assert_eq!(ats(&plan.ports[0].all), ["[fd00::2]:8080", "[fd00::3]:8081"]);
    assert_eq!(plan.ports[0].external, Vec::<IpAddr>::new());
    assert_eq!(plan.pod_range, Some("fd00::/48".parse().unwrap()));
}

#[test]
fn pods_that_are_no_backends() {
    let mut other_namespace = pod("a", "here", 2, 80);
    other_namespace.id.namespace = "mall".into();
    let finished = Pod { finished: true, ..pod("b", "here", 3, 80) };
    let unlabelled = Pod { labels: Labels::new(), ..pod("c", "here", 4, 80) };
    let nameless = Pod { ports: [].into(), ..pod("d", "here", 5, 80) };
    let without_address = Pod { addresses: [].into(), ..pod("e", "here", 6, 80) };
    let pods = [other_namespace, finished, unlabelled, nameless, without_address];
    let plan = Plan::new(&cluster(&pods, Distribution::default()), &here(), Family::V4);
    assert_eq!(ats(&plan.ports[0].all), Vec::<String>::new());
}

#[test]
fn pods_of_the_hosts_network_share_a_backend() {
    let twin = |name| Pod { host_network: true, ..pod(name, "here", 2, 80) };
    let cluster = cluster(&[twin("a"), twin("b")], Distribution::default());
    let plan = Plan::new(&cluster, &here(), Family::V4);
    assert_eq!(ats(&plan.ports[0].all), ["10.244.1.2:80"]);
}

#[test]
fn internal_and_external_policy_are_independent() {
    let local = TrafficPolicy::Local;
    let spread = |distribution| {
        let plan = Plan::new(&cluster(&two_pods(), distribution), &here(), Family::V4);
        (plan.ports[0].internal().len(), plan.ports[0].outside().len())
    };
    assert_eq!(spread(Distribution::default()), (2, 2));
    assert_eq!(spread(Distribution { external: local, ..Distribution::default() }), (2, 1));
    assert_eq!(spread(Distribution { internal: local, ..Distribution::default() }), (1, 2));
}

#[test]
fn services_without_addresses_are_ignored() {
    let mut cluster = cluster(&two_pods(), Distribution::default());
    for service in cluster.services.values_mut() {
        service.cluster_addresses.clear();
        service.external_addresses.clear();
    }
    assert_eq!(Plan::new(&cluster, &here(), Family::V4).ports, []);
}
