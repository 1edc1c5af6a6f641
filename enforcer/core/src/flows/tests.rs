//! Named flows, their decisions, and the bounds of the store.

use std::net::IpAddr;

use enforcer_ebpf::contract::verdict::Direction;

use super::*;
use crate::explain;
use crate::model::{
    Change, Cluster, ContainerPort, Peer, Pod, PodId, Policy, PolicyId, PortRange, PortRule,
    PortSpec, Protocol, Requirement, Rule, Selector, Service, ServiceId, ServicePort, TargetPort,
};

fn app(value: &str) -> Selector {
    Selector { requirements: [Requirement::In("app".to_owned(), [value.to_owned()].into())].into() }
}

fn pod(name: &str, app: &str, address: &str) -> Pod {
    let port = ContainerPort { name: "main".to_owned(), protocol: Protocol::Tcp, port: 8_080 };
    Pod {
        labels: [("app".to_owned(), app.to_owned())].into(),
        addresses: [address.parse().unwrap()].into(),
        ports: [port].into(),
        ..Pod::new(PodId::new("shop", name))
    }
}

fn service(name: &str, app: Selector, address: &str, node_port: Option<u16>) -> Service {
    let port = ServicePort {
        name: String::new(),
        protocol: Protocol::Tcp,
        port: 80,
        target: TargetPort::Number(8_080),
        node_port,
    };
    Service {
        id: ServiceId::new("shop", name),
        selector: Some(app),
        cluster_addresses: [address.parse().unwrap()].into(),
        ports: vec![port],
        ..Service::default()
    }
}

/// Two clients, a server with a policy, Services of one and of several workloads.
fn cluster() -> Cluster {
    let rule = Rule {
        peers: vec![Peer::Pods { namespaces: None, pods: app("client") }],
        ports: vec![PortRule {
            protocol: Protocol::Tcp,
            port: PortSpec::Range(PortRange::single(8_080)),
        }],
    };
    let policy = Policy {
        id: PolicyId::new("shop", "server"),
        subjects: app("server"),
        ingress: Some(vec![rule]),
        egress: None,
        audit: false,
    };
    let mut cluster = Cluster::default();
    for change in [
        Change::Pod(pod("client", "client", "10.0.0.1")),
        Change::Pod(pod("stranger", "stranger", "10.0.0.2")),
        Change::Pod(pod("server", "server", "10.0.0.3")),
        Change::Policy(policy),
        Change::Service(service("server", app("server"), "10.9.0.1", Some(30_080))),
        Change::Service(service("all", Selector::default(), "10.9.0.2", None)),
    ] {
        cluster.apply(change);
    }
    cluster.node_addresses.insert("10.224.0.4".parse().unwrap());
    cluster
}

/// A connection of a pod that was answered.
fn sighting(local: &str, remote: &str, port: u16, initiator: Direction) -> Sighting {
    Sighting {
        endpoint: 1,
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
        protocol: 6,
        port,
        initiator,
        new: 1,
        open: 1,
        answered: true,
        seconds_ago: 0,
    }
}

/// Takes sightings in one look.
fn look(ledger: &mut Ledger, cluster: &Cluster, seen: &[Sighting], now: u64) {
    let owners = |address: IpAddr| explain::owners(cluster, address);
    let view = View::new(cluster, &owners);
    ledger.begin(1, cluster.policies.values(), now);
    for it in seen {
        let pod = explain::owners(cluster, it.local)[0];
        ledger.take(&view, pod, it, "TCP");
    }
    ledger.end(0);
}

/// The records as lines.
fn lines(ledger: &Ledger) -> Vec<String> {
    let line = |(key, it): (&Key, &Record)| {
        let services: Vec<_> = it.services.iter().map(String::as_str).collect();
        let reasons: Vec<_> = it.ends.iter().map(|it| it.reason).collect();
        format!(
            "{} → {}:{} {} {}× {} {}",
            key.from,
            key.to,
            key.port.unwrap_or_default(),
            key.verdict.name(),
            it.connections(),
            services.join(" "),
            reasons.join(" ")
        )
    };
    let mut lines: Vec<String> = ledger.list(0).into_iter().map(line).collect();
    lines.sort();
    lines
}

#[test]
fn a_connection_between_pods_of_the_node_counts_once() {
    let (cluster, mut ledger) = (cluster(), Ledger::new(100));
    let both = [
        sighting("10.0.0.1", "10.0.0.3", 8_080, Direction::Egress),
        sighting("10.0.0.3", "10.0.0.1", 8_080, Direction::Ingress),
    ];
    look(&mut ledger, &cluster, &both, 110);
    look(&mut ledger, &cluster, &both, 120);
    assert_eq!(
        lines(&ledger),
        ["shop/client → shop/server:8080 allowed 2×  not-isolated allowed-by-rule"]
    );
    let (_, record) = ledger.list(0)[0];
    assert_eq!((record.open, record.first_seen, record.last_seen), (1, 110, 120));
}

/// The receiver is known if the Service has only one workload behind it.
#[test]
fn n1_a_services_flow_is_its_backends() {
    let (cluster, mut ledger) = (cluster(), Ledger::new(0));
    let seen = [
        sighting("10.0.0.1", "10.9.0.1", 80, Direction::Egress),
        sighting("10.0.0.1", "10.224.0.4", 30_080, Direction::Egress),
        sighting("10.0.0.3", "10.0.0.1", 8_080, Direction::Ingress),
        sighting("10.0.0.1", "10.9.0.2", 80, Direction::Egress),
        sighting("10.0.0.1", "10.9.0.2", 81, Direction::Egress),
        sighting("10.0.0.1", "10.224.0.4", 22, Direction::Egress),
    ];
    look(&mut ledger, &cluster, &seen, 1);
    assert_eq!(
        lines(&ledger),
        [
            "shop/client → 10.9.0.2:81 allowed 1×  not-isolated",
            "shop/client → node:22 allowed 1×  own-node",
            "shop/client → shop/all:80 allowed 1× shop/all:80 ",
            "shop/client → shop/server:8080 allowed 2× shop/server:80 not-isolated allowed-by-rule",
        ]
    );
}

#[test]
fn s4_what_policy_denies_is_no_allowed_flow() {
    let (cluster, mut ledger) = (cluster(), Ledger::new(0));
    let unanswered =
        Sighting { answered: false, ..sighting("10.0.0.2", "10.0.0.3", 8_080, Direction::Egress) };
    look(&mut ledger, &cluster, &[unanswered], 1);
    assert_eq!(lines(&ledger), [""; 0]);
    let decision = Decision {
        direction: Direction::Ingress,
        reason: "no-rule",
        isolated_by: vec!["shop/server".to_owned()],
        by: Vec::new(),
        nearest: None,
        audit: None,
    };
    let denial = Denial {
        from: FlowEnd::Workload("shop/stranger".to_owned()),
        to: FlowEnd::Workload("shop/server".to_owned()),
        protocol: "TCP".to_owned(),
        port: Some(8_080),
        decision,
    };
    ledger.denied(denial, 5);
    assert_eq!(lines(&ledger), ["shop/stranger → shop/server:8080 denied 1×  no-rule"]);
    let denied: Vec<_> = ledger.uses().map(|(key, it)| (key.rule, it.denied)).collect();
    assert_eq!(denied, [(None, 1), (Some(0), 0)]);
}

/// A drop is reported at once, its policy is known to the store after the next look.
#[test]
fn a_denial_before_the_first_look_counts() {
    let (cluster, mut ledger) = (cluster(), Ledger::new(0));
    let decision = Decision {
        direction: Direction::Ingress,
        reason: "no-rule",
        isolated_by: vec!["shop/server".to_owned(), "shop/gone".to_owned()],
        by: Vec::new(),
        nearest: None,
        audit: None,
    };
    let denial = Denial {
        from: FlowEnd::Node,
        to: FlowEnd::Workload("shop/server".to_owned()),
        protocol: "TCP".to_owned(),
        port: Some(8_080),
        decision,
    };
    ledger.denied(denial, 5);
    look(&mut ledger, &cluster, &[], 10);
    let denied: Vec<_> = ledger.uses().map(|(key, it)| (key.rule, it.denied)).collect();
    assert_eq!(denied, [(None, 1), (Some(0), 0)]);
}

#[test]
fn the_use_of_rules_is_counted_until_they_change() {
    let (mut cluster, mut ledger) = (cluster(), Ledger::new(0));
    let seen = sighting("10.0.0.3", "10.0.0.1", 8_080, Direction::Ingress);
    look(&mut ledger, &cluster, &[seen.clone(), seen.clone()], 7);
    // The sender's interface does not count for the receiver's rule.
    let sent = sighting("10.0.0.1", "10.0.0.3", 8_080, Direction::Egress);
    look(&mut ledger, &cluster, &[sent], 9);
    let used = |ledger: &Ledger| {
        let (_, it) = ledger.uses().find(|(key, _)| key.rule == Some(0)).unwrap();
        (it.connections, it.since, it.last_used)
    };
    assert_eq!(used(&ledger), (2, 7, Some(7)));
    for policy in cluster.policies.values_mut() {
        policy.egress = Some(Vec::new());
    }
    look(&mut ledger, &cluster, &[], 20);
    assert_eq!(used(&ledger), (0, 20, None));
    cluster.policies.clear();
    look(&mut ledger, &cluster, &[], 30);
    assert_eq!(ledger.uses().count(), 0);
}

/// A pod that scans the network, or clients that do, displace only their own records.
#[test]
fn records_are_bounded_and_shared_fairly() {
    let (cluster, mut ledger) = (cluster(), Ledger::new(0));
    let quiet = sighting("10.0.0.1", "10.0.0.3", 8_080, Direction::Egress);
    look(&mut ledger, &cluster, &[quiet], 1);
    for time in 2..200 {
        let scan = (0..70).map(|port| Sighting {
            endpoint: 2,
            ..sighting("10.0.0.2", "192.0.2.1", time * 100 + port, Direction::Egress)
        });
        look(&mut ledger, &cluster, &scan.collect::<Vec<_>>(), time.into());
    }
    let lines = lines(&ledger);
    assert!((RECORDS - 128..=RECORDS).contains(&lines.len()), "{}", lines.len());
    assert!(lines[0].starts_with("shop/client → shop/server:8080 allowed 1×"), "{}", lines[0]);
    assert_eq!(ledger.missed() + lines.len() as u64, 198 * 70 + 1);
}

#[test]
fn many_addresses_are_one_end() {
    let (cluster, mut ledger) = (cluster(), Ledger::new(0));
    for host in 0..100 {
        let client = format!("192.0.2.{host}");
        let seen =
            Sighting { endpoint: host, ..sighting("10.0.0.3", &client, 8_080, Direction::Ingress) };
        look(&mut ledger, &cluster, &[seen], 1);
    }
    let lines = lines(&ledger);
    assert_eq!(lines.len(), 65);
    let last = lines.last().unwrap();
    assert!(last.starts_with("outside → shop/server:8080 allowed 36×"), "{last}");
}

#[test]
fn news_have_each_connection_once() {
    let (cluster, mut ledger) = (cluster(), Ledger::new(0));
    let seen = sighting("10.0.0.1", "10.0.0.3", 8_080, Direction::Egress);
    look(&mut ledger, &cluster, &[seen.clone(), seen.clone()], 1);
    let news = |ledger: &mut Ledger| ledger.take_news().iter().map(|it| it.2).collect::<Vec<_>>();
    assert_eq!(news(&mut ledger), [2]);
    assert_eq!(news(&mut ledger), [0; 0]);
    look(&mut ledger, &cluster, &[Sighting { new: 0, ..seen.clone() }], 2);
    assert_eq!(news(&mut ledger), [0; 0]);
    look(&mut ledger, &cluster, &[seen], 3);
    assert_eq!(news(&mut ledger), [1]);
    let revision = ledger.revision();
    assert_eq!((ledger.list(revision).len(), ledger.list(revision - 1).len()), (0, 1));
}

/// The connections that matter most are those that never end.
#[test]
fn an_open_connection_is_reported_when_a_policy_comes_into_audit() {
    let (mut cluster, mut ledger) = (cluster(), Ledger::new(0));
    let mut policy = cluster.policies.pop_first().unwrap().1;
    let open = sighting("10.0.0.3", "10.0.0.2", 8_080, Direction::Ingress);
    look(&mut ledger, &cluster, std::slice::from_ref(&open), 1);
    policy.audit = true;
    cluster.policies.insert(policy.id.clone(), policy);
    for now in 2..4 {
        let owners = |address: IpAddr| explain::owners(&cluster, address);
        let view = View::new(&cluster, &owners);
        ledger.begin(2, cluster.policies.values(), now);
        let pod = explain::owners(&cluster, open.local)[0];
        ledger.take(&view, pod, &Sighting { new: 0, ..open.clone() }, "TCP");
        ledger.end(0);
        let news: Vec<u64> = ledger.take_audit().into_iter().map(|it| it.2).collect();
        assert_eq!(news, if now == 2 { vec![1] } else { vec![] });
    }
    assert!(lines(&ledger).iter().any(|it| it.contains("would-deny 1×")), "{:?}", lines(&ledger));
}
