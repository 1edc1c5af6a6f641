//! No file makes the reader panic, and every model can be written and read back.

#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

use std::collections::BTreeSet;
use std::net::IpAddr;

use enforcer::source::manifests::{Manifests, Update};
use enforcer_core::model::{
    Block, Cluster, ContainerPort, Distribution, Labels, Namespace, Peer, Pod, PodId, Policy,
    PolicyId, PortRange, PortRule, PortSpec, Protocol, Requirement, Rule, Selector, Service,
    ServiceId, ServicePort, TargetPort, TrafficPolicy,
};
use enforcer_tests::render;
use ipnet::IpNet;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

fn word() -> impl Strategy<Value = String> {
    // Words that YAML takes for other types matter most.
    prop_oneof![
        "[a-z]([a-z0-9-]{0,6}[a-z0-9])?",
        Just("true".to_owned()),
        Just("null".to_owned()),
        Just("no".to_owned()),
        Just("1e3".to_owned()),
        Just("80".to_owned()),
        Just("0x1f".to_owned()),
    ]
}

fn requirement() -> impl Strategy<Value = Requirement> {
    (0..4_u8, word(), btree_set(prop_oneof![word(), Just(String::new())], 1..3)).prop_map(
        |(operator, key, values)| match operator {
            0 => Requirement::In(key, values.into()),
            1 => Requirement::NotIn(key, values.into()),
            2 => Requirement::Exists(key),
            _ => Requirement::DoesNotExist(key),
        },
    )
}

fn selector() -> impl Strategy<Value = Selector> {
    btree_set(requirement(), 0..3)
        .prop_map(|requirements| Selector { requirements: requirements.into() })
}

fn network(bits: u8) -> impl Strategy<Value = IpNet> {
    let v4 = (any::<[u8; 4]>(), bits..=32)
        .prop_map(|(address, prefix)| IpNet::new(IpAddr::from(address), prefix).unwrap().trunc());
    let v6 = (any::<[u8; 16]>(), bits..=128).prop_map(|(mut address, prefix)| {
        // Out of ::ffff:0:0/96, which means IPv4.
        address[0] |= 0x20;
        IpNet::new(IpAddr::from(address), prefix).unwrap().trunc()
    });
    prop_oneof![v4, v6]
}

fn block() -> impl Strategy<Value = Block> {
    (network(4), vec(any::<u32>(), 0..3)).prop_map(|(cidr, mut picks)| {
        if cidr.prefix_len() == cidr.max_prefix_len() {
            // An exception must be smaller than its block.
            picks.clear();
        }
        let longer = cidr.prefix_len().saturating_add(3).min(cidr.max_prefix_len());
        let subnets: Vec<IpNet> = cidr.subnets(longer).unwrap().collect();
        let pick = |pick: u32| subnets[pick as usize % subnets.len()];
        Block { cidr, except: picks.into_iter().map(pick).collect() }
    })
}

fn peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        (option::of(selector()), selector())
            .prop_map(|(namespaces, pods)| Peer::Pods { namespaces, pods }),
        block().prop_map(Peer::Block),
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)]
}

fn port_rule() -> impl Strategy<Value = PortRule> {
    let range = (1..=u16::MAX, 1..=u16::MAX)
        .prop_map(|(a, b)| PortSpec::Range(PortRange { first: a.min(b), last: a.max(b) }));
    let port = prop_oneof![Just(PortSpec::All), range, "[a-z]{1,15}".prop_map(PortSpec::Named)];
    (protocol(), port).prop_map(|(protocol, port)| PortRule { protocol, port })
}

fn rules() -> impl Strategy<Value = Option<Vec<Rule>>> {
    let rule = (vec(peer(), 0..4), vec(port_rule(), 0..4));
    option::of(vec(rule.prop_map(|(peers, ports)| Rule { peers, ports }), 0..4))
}

fn a_policy() -> impl Strategy<Value = Policy> {
    let id =
        ("[a-z]{1,8}", "[a-z]{1,8}").prop_map(|(namespace, name)| PolicyId::new(namespace, name));
    (id, selector(), rules(), rules(), any::<bool>())
        .prop_filter("a policy without a type can't be written", |(_, _, ingress, egress, _)| {
            ingress.is_some() || egress.is_some()
        })
        .prop_map(|(id, subjects, ingress, egress, audit)| Policy {
            id,
            subjects,
            ingress,
            egress,
            audit,
        })
}

fn labels() -> impl Strategy<Value = Labels> {
    btree_map(word(), word(), 0..4).prop_map(|labels| labels.into_iter().collect())
}

fn addresses() -> impl Strategy<Value = BTreeSet<IpAddr>> {
    btree_set(network(32).prop_map(|it| it.addr()), 0..3)
}

fn a_pod() -> impl Strategy<Value = Pod> {
    let id = ("[a-z]{1,8}", "[a-z]{1,8}").prop_map(|(namespace, name)| PodId::new(namespace, name));
    let port = ("[a-z]{0,15}", protocol(), 1..=u16::MAX)
        .prop_map(|(name, protocol, port)| ContainerPort { name, protocol, port });
    let fields = (labels(), option::of("[a-z]{1,8}"), addresses(), btree_set(port, 0..3));
    (id, "[a-z]{0,2}", fields, any::<[bool; 3]>()).prop_map(
        |(id, uid, (labels, node, addresses, ports), [host_network, finished, terminating])| Pod {
            id,
            uid: uid.into(),
            labels,
            node: node.map(Into::into),
            addresses: addresses.into(),
            host_network,
            finished,
            terminating,
            ports: ports.into(),
        },
    )
}

fn service_port() -> impl Strategy<Value = ServicePort> {
    let target = prop_oneof![
        (1..=u16::MAX).prop_map(TargetPort::Number),
        "[a-z]{1,15}".prop_map(TargetPort::Named),
    ];
    let number = 1..=u16::MAX;
    ("[a-z]{0,8}", protocol(), number.clone(), target, option::of(number)).prop_map(
        |(name, protocol, port, target, node_port)| ServicePort {
            name,
            protocol,
            port,
            target,
            node_port,
        },
    )
}

fn a_service() -> impl Strategy<Value = Service> {
    let one = |(key, value)| Requirement::In(key, [value].into());
    let selector = btree_map(word(), word(), 1..3)
        .prop_map(move |labels| Selector { requirements: labels.into_iter().map(one).collect() });
    let traffic = || prop_oneof![Just(TrafficPolicy::Cluster), Just(TrafficPolicy::Local)];
    let distribution = (traffic(), traffic(), option::of(1..=86_400_u32));
    let id =
        ("[a-z]{1,8}", "[a-z]{1,8}").prop_map(|(namespace, name)| ServiceId::new(namespace, name));
    (id, option::of(selector), addresses(), addresses(), vec(service_port(), 0..3), distribution)
        .prop_map(|(id, selector, cluster, external, ports, distribution)| Service {
            id,
            selector,
            cluster_addresses: cluster,
            external_addresses: external,
            ports,
            distribution: Distribution {
                external: distribution.0,
                internal: distribution.1,
                affinity: distribution.2,
            },
        })
}

fn cluster() -> impl Strategy<Value = Cluster> {
    let namespaces = vec(("[a-z]{1,8}", labels(), any::<bool>()), 0..3);
    (vec(a_policy(), 0..4), vec(a_pod(), 0..4), vec(a_service(), 0..3), namespaces).prop_map(
        |(policies, pods, services, namespaces)| {
            let mut cluster = Cluster::default();
            let used = policies.iter().map(|it| it.id.namespace.to_string());
            let used = used.chain(pods.iter().map(|it| it.id.namespace.to_string()));
            let used = used.chain(services.iter().map(|it| it.id.namespace.to_string()));
            let implied = used.map(|name| (name, Labels::new(), false));
            for (name, labels, audit) in implied.chain(namespaces) {
                let namespace = Namespace { audit, ..Namespace::new(name.clone(), labels) };
                cluster.namespaces.insert(name, namespace);
            }
            cluster.policies.extend(policies.into_iter().map(|it| (it.id.clone(), it)));
            cluster.pods.extend(pods.into_iter().map(|it| (it.id.clone(), it)));
            cluster.services.extend(services.into_iter().map(|it| (it.id.clone(), it)));
            cluster
        },
    )
}

/// The first update from a text as the only manifest, and its reports as lines.
fn read(text: &str) -> (Update, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f.yaml"), text).unwrap();
    let update = Manifests::new(vec![folder.path().to_owned()]).unwrap().rescan();
    let path = format!("{}/", folder.path().display());
    let lines = update.reports.iter().map(|it| it.to_string().replace(&path, "")).collect();
    (update, lines)
}

/// The manifests without the quotes around words, except in policies: `n` is a boolean then, `80` a number.
fn without_quotes(text: &str) -> String {
    let bare = |line: &str| {
        let (key, value) = line.split_once(": \"")?;
        let (word, end) = value.rsplit_once('"')?;
        let plain = |it: char| it.is_ascii_alphanumeric() || "-.".contains(it);
        let is_word = !word.is_empty() && word != "null" && word.chars().all(plain);
        is_word.then(|| format!("{key}: {word}{end}"))
    };
    let document = |document: &str| {
        if document.contains("NetworkPolicy") {
            return document.to_owned();
        }
        let line = |line: &str| bare(line).unwrap_or_else(|| line.to_owned()) + "\n";
        document.lines().map(line).collect()
    };
    text.split("---\n").map(document).collect::<Vec<String>>().join("---\n")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(cluster in cluster()) {
        let (update, lines) = read(&render::manifests(&cluster));
        prop_assert!(lines.is_empty(), "{:?}", lines);
        let mut again = Cluster::default();
        for change in update.changes {
            prop_assert!(again.apply(change.clone()), "no change: {:?}", change);
        }
        prop_assert_eq!(&again, &cluster);
    }

    #[test]
    fn without_quotes_the_same_is_read(cluster in cluster()) {
        let text = without_quotes(&render::manifests(&cluster));
        let (update, lines) = read(&text);
        let all = lines.iter().all(|it| it.contains("which Kubernetes refuses; read as text"));
        prop_assert!(all, "{:?} of {}", lines, text);
        let mut again = Cluster::default();
        for change in update.changes {
            again.apply(change);
        }
        prop_assert_eq!(&again, &cluster);
    }

    #[test]
    fn damaged_manifests_never_panic(cluster in cluster(), cuts in vec((any::<u16>(), "[ -~\n\t]{0,4}"), 1..4)) {
        let mut text = render::manifests(&cluster);
        for (at, insert) in cuts {
            let at = at as usize % (text.len() + 1);
            if text.is_char_boundary(at) {
                text.insert_str(at, &insert);
                text.truncate(text.len().saturating_sub(usize::from(insert.len() == 3)));
            }
        }
        let (_, lines) = read(&text);
        prop_assert!(lines.iter().all(|line| line.starts_with("f.yaml:")), "{:?}", lines);
    }
}
