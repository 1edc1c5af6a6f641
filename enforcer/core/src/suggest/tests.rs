//! Selectors, ports, blocks and notes of suggestions.

use crate::explain;
use crate::model::{
    Change, ContainerPort, Labels, Pod, PodId, Service, ServiceId, ServicePort, TargetPort,
};

use super::*;

fn pod(namespace: &str, name: &str, labels: &[(&str, &str)], last: u8) -> Pod {
    let labels: Labels = labels.iter().copied().collect();
    let third = u8::try_from(namespace.len()).unwrap();
    let address = [10, 0, third, last].into();
    Pod { labels, addresses: [address].into(), ..Pod::new(PodId::new(namespace, name)) }
}

fn cluster(pods: Vec<Pod>) -> Cluster {
    let mut cluster = Cluster::default();
    for pod in pods {
        cluster.apply(Change::Pod(pod));
    }
    cluster
}

fn workload(name: &str) -> FlowEnd {
    FlowEnd::Workload(name.to_owned())
}

fn flow(from: FlowEnd, to: FlowEnd, protocol: Protocol, port: u16) -> Observed {
    Observed { from, to, port: Some((protocol, port)), evidence: "seen".to_owned() }
}

/// The policies in sentences, and the notes.
fn text(cluster: &Cluster, observed: &[Observed], namespace: Option<&str>) -> Vec<String> {
    let made = suggest(cluster, &Workloads::default(), observed, namespace);
    let policies = made.policies.iter().flat_map(|it| {
        let head = format!("{}:", it.policy.id);
        std::iter::once(head).chain(explain::policy_sentences(&it.policy))
    });
    policies.chain(made.notes.iter().map(|it| format!("note: {it}"))).collect()
}

const HASH: (&str, &str) = ("pod-template-hash", "5d9f7c");

#[test]
fn selectors_are_exact_and_survive_a_rollout() {
    let cluster = cluster(vec![
        pod("shop", "web-5d9f7c-aaaaa", &[("app", "shop"), ("tier", "web"), HASH], 1),
        pod("shop", "web-5d9f7c-bbbbb", &[("app", "shop"), ("tier", "web"), HASH], 2),
        pod("shop", "api-5d9f7c-aaaaa", &[("app", "shop"), ("tier", "api"), HASH], 3),
        pod("shop", "api2-5d9f7c-aaaaa", &[("app", "shop"), ("tier", "api"), ("v", "2"), HASH], 4),
        pod("shop", "lone", &[("app", "lone"), ("extra", "x")], 5),
    ]);
    let web = || workload("shop/web (deploy)");
    let observed = [
        flow(web(), workload("shop/api (deploy)"), Protocol::Tcp, 80),
        flow(web(), workload("shop/api2 (deploy)"), Protocol::Tcp, 80),
    ];
    assert_eq!(
        text(&cluster, &observed, None),
        [
            "shop/observed-api:",
            "Selects pods with app=shop, tier=api, no label v of namespace shop.",
            "Allows only this ingress:",
            "  ingress[0] from pods with app=shop, tier=web of namespace shop: TCP 80",
            "Allows no egress.",
            "shop/observed-api2:",
            "Selects pods with app=shop, tier=api, v=2 of namespace shop.",
            "Allows only this ingress:",
            "  ingress[0] from pods with app=shop, tier=web of namespace shop: TCP 80",
            "Allows no egress.",
            "shop/observed-web:",
            "Selects pods with app=shop, tier=web of namespace shop.",
            "Allows no ingress.",
            "Allows only this egress:",
            "  egress[0] to pods with app=shop, tier=api, no label v of namespace shop, or pods with \
             app=shop, tier=api, v=2 of namespace shop: TCP 80",
            "note: shop/lone: no flow was seen, so no policy is suggested",
        ]
    );
}

#[test]
fn workloads_with_the_same_labels_are_one() {
    let cluster = cluster(vec![
        pod("shop", "one", &[("app", "x")], 1),
        pod("shop", "two", &[("app", "x")], 2),
        pod("shop", "bare", &[], 3),
    ]);
    let observed = [flow(workload("shop/bare"), workload("shop/two"), Protocol::Tcp, 80)];
    let made = suggest(&cluster, &Workloads::default(), &observed, None);
    let names: Vec<_> = made.policies.iter().map(|it| it.workloads.len()).collect();
    assert_eq!(names, [1, 2]);
    assert_eq!(
        text(&cluster, &observed, None)[..2],
        ["shop/observed-bare:", "Selects pods with no label app of namespace shop."]
    );
}

#[test]
fn ports_have_names_if_all_receivers_agree() {
    let serving = |pod: Pod, name: &str, port| {
        let port = ContainerPort { name: name.to_owned(), protocol: Protocol::Tcp, port };
        Pod { ports: [port].into(), ..pod }
    };
    let cluster = cluster(vec![
        serving(pod("shop", "db-0", &[("app", "db")], 1), "sql", 5_432),
        serving(pod("web", "front", &[("app", "front")], 2), "sql", 5_432),
        pod("web", "client", &[("app", "client")], 3),
    ]);
    let observed = [
        flow(workload("web/client"), workload("shop/db-0"), Protocol::Tcp, 5_432),
        flow(workload("web/client"), workload("shop/db-0"), Protocol::Tcp, 9_187),
        flow(workload("web/client"), workload("web/front"), Protocol::Tcp, 5_432),
    ];
    assert_eq!(
        text(&cluster, &observed, Some("web")),
        [
            "web/observed-client:",
            "Selects pods with app=client of namespace web.",
            "Allows no ingress.",
            "Allows only this egress:",
            "  egress[0] to pods with app=db of namespace shop: TCP 9187, TCP sql",
            "  egress[1] to pods with app=front of namespace web: TCP sql",
            "web/observed-front:",
            "Selects pods with app=front of namespace web.",
            "Allows only this ingress:",
            "  ingress[0] from pods with app=client of namespace web: TCP sql",
            "Allows no egress.",
        ]
    );
}

#[test]
fn addresses_outside_are_grouped_where_no_pod_is() {
    let client = || workload("shop/client");
    let to = |address: &str| {
        flow(client(), FlowEnd::Address(address.parse().unwrap()), Protocol::Tcp, 443)
    };
    let cluster = cluster(vec![pod("shop", "client", &[("app", "client")], 1)]);
    let mut observed: Vec<Observed> = (1..=4).map(|it| to(&format!("192.0.2.{it}"))).collect();
    observed.extend(["10.0.4.7", "10.0.4.8", "10.0.4.9", "10.0.4.10"].map(to));
    observed.extend(["203.0.113.9", "2001:db8::1", "10.0.4.1"].map(to));
    observed.push(flow(FlowEnd::Outside, client(), Protocol::Tcp, 80));
    observed.push(flow(FlowEnd::Node, client(), Protocol::Tcp, 8_080));
    observed.push(Observed { port: None, ..to("203.0.113.9") });
    let text = text(&cluster, &observed, None);
    let list = "10.0.4.7/32, or 10.0.4.8/32, or 10.0.4.9/32, or 10.0.4.10/32, or 192.0.2.0/24, or \
                203.0.113.9/32, or 2001:db8::1/128: TCP 443";
    assert_eq!(text[5], format!("  egress[0] to {list}"));
    assert!(text[3].starts_with("  ingress[0] from 0.0.0.0/0 except 10.0.0.0/8 and"), "{text:?}");
    assert_eq!(
        text[6..],
        [
            "note: 203.0.113.9: not used: protocols without ports, such as ping, which a rule can't allow alone",
            "note: shop/client → 10.0.4.1: not used: 10.0.4.1 is an address of the cluster now",
        ]
    );
}

#[test]
fn dns_is_allowed_by_tcp_too_and_services_stand_for_their_backends() {
    let mut cluster = cluster(vec![
        pod("shop", "client", &[("app", "client")], 1),
        pod("kube", "dns-1", &[("k8s-app", "dns")], 1),
        pod("shop", "blue", &[("app", "blue"), ("live", "yes")], 2),
        pod("shop", "green", &[("app", "green"), ("live", "yes")], 3),
    ]);
    let live = crate::model::Requirement::Exists("live".to_owned());
    let service = Service {
        id: ServiceId::new("shop", "live"),
        selector: Some(crate::model::Selector { requirements: [live].into() }),
        ports: vec![ServicePort {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: 80,
            target: TargetPort::Number(8_080),
            node_port: None,
        }],
        ..Service::default()
    };
    cluster.apply(Change::Service(service));
    let client = || workload("shop/client");
    let observed = [
        flow(client(), workload("kube/dns-1"), Protocol::Udp, 53),
        flow(client(), FlowEnd::Service("shop/live".to_owned()), Protocol::Tcp, 80),
        flow(client(), FlowEnd::Service("shop/dead".to_owned()), Protocol::Tcp, 80),
    ];
    let text = text(&cluster, &observed, Some("shop"));
    let egress: Vec<_> = text.iter().filter(|it| it.contains("egress[")).collect();
    assert_eq!(
        egress,
        [
            "  egress[0] to pods with k8s-app=dns of namespace kube: TCP 53, UDP 53",
            "  egress[1] to pods with app=blue of namespace shop, or pods with app=green of namespace \
             shop: TCP 8080",
        ]
    );
    let note = "note: shop/client → shop/dead: not used: shop/dead has no backends for port 80/TCP";
    assert_eq!(text.last().unwrap(), note);
}
