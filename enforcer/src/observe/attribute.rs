//! The policies behind a drop: which isolate the pod, and which nearly allows the packet.

use std::collections::BTreeSet;
use std::net::IpAddr;

use enforcer_core::explain::{self, Outcome, RuleResult, Why, Workload};
use enforcer_core::model::{Cluster, Pod, PodId, PolicyId, Protocol, Traffic, View};
use enforcer_ebpf::contract::verdict::{Direction, Reason};

use super::attribution::{Attribution, Nearest};
use super::drops::{DropRecord, End};

impl Attribution {
    /// The attribution of a drop. Only denials have policies. `owners`: the pods of an address, see
    /// [`explain::owners`].
    #[must_use]
    pub fn of<'a>(
        record: &DropRecord,
        cluster: &'a Cluster,
        owners: impl Fn(IpAddr) -> Vec<&'a Pod>,
    ) -> Self {
        let sender = record.sender.as_ref().or(record.source.as_ref());
        let ends = sender.zip(record.destination.as_ref());
        let Some((from, to)) = ends.map(|(from, to)| (from.address, to.address)) else {
            return Self::default();
        };
        Self {
            from_workload: workload(&owners(from)),
            to_workload: workload(&owners(to)),
            ..policies(record, cluster, &owners, from, to).unwrap_or_default()
        }
    }
}

fn policies<'a>(
    record: &DropRecord,
    cluster: &'a Cluster,
    owners: &impl Fn(IpAddr) -> Vec<&'a Pod>,
    from: IpAddr,
    to: IpAddr,
) -> Option<Attribution> {
    if record.reason != Reason::Denied.name() {
        return None;
    }
    let (namespace, name) = record.pod.as_ref()?.split_once('/')?;
    let direction = Direction::ALL.into_iter().find(|it| it.name() == record.direction)?;
    let peer = match direction {
        Direction::Ingress => from,
        Direction::Egress => to,
    };
    let pod = PodId::new(namespace, name);
    // A later fragment has no ports, and is denied with its first: no rule is nearest.
    let traffic = traffic(record);
    let asked = traffic.unwrap_or(Traffic::Portless);
    let enforced = View::Enforced;
    let why = explain::why_among(cluster, enforced, &pod, direction, peer, owners(peer), asked);
    let nearest = match &why {
        Why::Denied { nearest: Some(nearest), .. } if traffic.is_some() => Some(of(nearest)),
        _ => None,
    };
    let would = explain::would_be(cluster, &pod, direction, peer, owners(peer), asked, &why);
    let audit = would.filter(|_| traffic.is_some()).map(|it| match it {
        Why::Allowed { by, .. } => by.iter().map(|it| it.rule.policy.to_string()).collect(),
        _ => BTreeSet::new(),
    });
    Some(Attribution {
        isolated_by: why.isolating().iter().map(PolicyId::to_string).collect(),
        nearest,
        would_allow: audit.into_iter().flatten().collect(),
        ..Attribution::default()
    })
}

/// What policy sees of the packet; `None`: its ports could not be read.
fn traffic(record: &DropRecord) -> Option<Traffic> {
    let Some(protocol) = Protocol::ALL.into_iter().find(|it| it.name() == record.protocol) else {
        return Some(Traffic::Portless);
    };
    record.destination.as_ref()?.port.map(|port| Traffic::Port(protocol, port))
}

fn of(result: &RuleResult) -> Nearest {
    let differences = match &result.outcome {
        Outcome::Misses(changes) => explain::differences(changes),
        Outcome::Allows | Outcome::Never => Vec::new(),
    };
    Nearest { policy: result.rule.policy.to_string(), path: result.path(), differences }
}

fn workload(owners: &[&Pod]) -> Option<String> {
    owners.first().map(|pod| Workload::of(pod).to_string())
}

impl DropRecord {
    /// Logs the drop with its parts as fields, for programs; the message is the line for people. At the end
    /// of a repeated attempt, `repeated` has the number of further packets, and the seconds to the last one.
    pub fn log_fields(&self, message: &str, repeated: Option<(u64, u64)>) {
        let address = |end: &Option<End>| end.as_ref().map(|it| it.address.to_string());
        let port = |end: &Option<End>| end.as_ref().and_then(|it| it.port);
        let pod = |end: &Option<End>| end.as_ref().and_then(|it| it.pod.clone());
        let Attribution { from_workload, to_workload, isolated_by, nearest, would_allow } =
            &self.attribution;
        let list = |it: &[String]| (!it.is_empty()).then(|| it.join(","));
        let (isolated_by, would_allow) = (list(isolated_by), list(would_allow));
        let namespace = |end: &Option<End>, workload: &Option<String>| {
            let name = pod(end).or_else(|| workload.clone())?;
            name.split_once('/').map(|(namespace, _)| namespace.to_owned())
        };
        let differences = nearest.as_ref().map(|it| it.differences.join("; "));
        tracing::info!(
            target: "enforcer::drops",
            from_namespace = namespace(&self.source, from_workload),
            from_pod = pod(&self.source),
            from_workload,
            from_address = address(&self.source),
            from_port = port(&self.source),
            sender_address = address(&self.sender),
            to_namespace = namespace(&self.destination, to_workload),
            to_pod = pod(&self.destination),
            to_workload,
            to_address = address(&self.destination),
            to_port = port(&self.destination),
            protocol = self.protocol,
            icmp_type = self.icmp.map(|(kind, _)| kind),
            icmp_code = self.icmp.map(|(_, code)| code),
            pod = self.pod,
            direction = self.direction,
            reason = self.reason,
            isolated_by,
            nearest_policy = nearest.as_ref().map(|it| it.policy.as_str()),
            nearest_path = nearest.as_ref().map(|it| it.path.as_str()),
            nearest_differences = differences,
            would_allow,
            repeats = repeated.map(|(repeats, _)| repeats),
            seconds = repeated.map(|(_, seconds)| seconds),
            "{message}"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use enforcer_core::model::{
        Peer, Policy, PortRange, PortRule, PortSpec, Requirement, Rule, Selector,
    };

    use super::*;

    fn select(key: &str, value: &str) -> Selector {
        let requirement = Requirement::In(key.to_owned(), [value.to_owned()].into());
        Selector { requirements: [requirement].into() }
    }

    fn cluster() -> Cluster {
        let pod = |name: &str, labels: &[(&str, &str)], address: &str| {
            let id = PodId::new("shop", name);
            let labels = labels.iter().copied();
            let addresses = [address.parse().unwrap()].into();
            let pod = Pod { labels: labels.collect(), addresses, ..Pod::new(id.clone()) };
            (id, pod)
        };
        let web = [("app", "web"), ("pod-template-hash", "5d9f")];
        let port = PortSpec::Range(PortRange::single(5432));
        let clients = Policy {
            id: PolicyId::new("shop", "db-clients"),
            subjects: select("app", "db"),
            ingress: Some(vec![Rule {
                peers: vec![Peer::Pods { namespaces: None, pods: select("role", "api") }],
                ports: vec![PortRule { protocol: Protocol::Tcp, port }],
            }]),
            egress: None,
            audit: false,
        };
        let deny = Policy {
            id: PolicyId::new("shop", "default-deny"),
            subjects: Selector::default(),
            ingress: Some(Vec::new()),
            egress: None,
            audit: false,
        };
        Cluster {
            pods: [
                pod("web-5d9f-x7k2p", &web, "10.1.0.4"),
                pod("db-0", &[("app", "db")], "10.1.0.5"),
            ]
            .into(),
            policies: [clients, deny].map(|it| (it.id.clone(), it)).into(),
            ..Cluster::default()
        }
    }

    fn record(protocol: &str, port: Option<u16>) -> DropRecord {
        let end = |address: &str, pod: &str, port| {
            let address = address.parse().unwrap();
            Some(End { address, pod: Some(format!("shop/{pod}")), port })
        };
        DropRecord {
            source: end("10.1.0.4", "web-5d9f-x7k2p", port.map(|_| 43512)),
            destination: end("10.1.0.5", "db-0", port),
            protocol: protocol.to_owned(),
            pod: Some("shop/db-0".to_owned()),
            direction: "ingress".to_owned(),
            reason: "denied".to_owned(),
            ..super::super::fixture::drop()
        }
    }

    fn attributed(mut record: DropRecord) -> DropRecord {
        let cluster = cluster();
        let owners = |address| explain::owners(&cluster, address);
        record.attribution = Attribution::of(&record, &cluster, owners);
        record
    }

    #[test]
    fn a_denial_names_its_policies_and_the_nearest_rule() {
        let record = attributed(record("TCP", Some(5433)));
        let line = "shop/web-5d9f-x7k2p 10.1.0.4:43512 → shop/db-0 10.1.0.5:5433 TCP denied at ingress: \
                    isolated by db-clients, default-deny; nearest: db-clients \
                    ingress[0].from[0].podSelector: lacks label role=api, port 5432 instead of 5433";
        assert_eq!(record.to_string(), line);
        let attribution = &record.attribution;
        assert_eq!(attribution.from_workload.as_deref(), Some("shop/web (deploy)"));
        assert_eq!(attribution.to_workload.as_deref(), Some("shop/db-0"));
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<DropRecord>(&json).unwrap(), record, "{json}");
        assert!(
            json.contains(r#""isolated_by":["shop/db-clients","shop/default-deny"]"#),
            "{json}"
        );
    }

    #[test]
    fn without_ports_to_read_no_rule_is_nearest() {
        let fragment = attributed(record("TCP", None)).attribution;
        assert_eq!((fragment.isolated_by.len(), fragment.nearest), (2, None));
        let ping = attributed(record("ICMP", None)).attribution.nearest.unwrap();
        assert!(
            ping.differences.contains(&"TCP port 5432 instead of a protocol without ports".into())
        );
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The fields of the log's line.
    fn logged(record: &DropRecord, message: &str, repeated: Option<(u64, u64)>) -> Value {
        let written = Written::default();
        let writer = written.clone();
        let logger = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(logger, || record.log_fields(message, repeated));
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let mut line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["target"], "enforcer::drops");
        line["fields"].take()
    }

    /// Programs rely on these fields: `docs/json.md`.
    #[test]
    fn json_logs_have_a_field_for_each_part() {
        let record = attributed(record("TCP", Some(5433)));
        let fields = logged(&record, &record.to_string(), None);
        insta::assert_snapshot!(serde_json::to_string_pretty(&fields).unwrap());
        // The end of a repeated attempt has the same, so that programs need not find its first line.
        let mut end = logged(&record, "it ended", Some((7, 90)));
        assert_eq!((&end["repeats"], &end["seconds"]), (&7.into(), &90.into()));
        for field in ["repeats", "seconds"] {
            end.as_object_mut().unwrap().remove(field);
        }
        end["message"] = fields["message"].clone();
        assert_eq!(end, fields);
    }

    #[test]
    fn other_reasons_have_no_policies() {
        let malformed = DropRecord { reason: "malformed".to_owned(), ..record("TCP", Some(1)) };
        assert_eq!(attributed(malformed).attribution.isolated_by, Vec::<String>::new());
        let unknown = DropRecord { pod: None, ..record("TCP", Some(1)) };
        assert_eq!(attributed(unknown).attribution.isolated_by, Vec::<String>::new());
    }

    /// The real sender counts, not the address that it was given (semantics N3).
    #[test]
    fn n3_the_sender_behind_an_address_is_explained() {
        let node = Some(End { address: "10.1.0.1".parse().unwrap(), pod: None, port: Some(1) });
        let masqueraded = DropRecord { source: node, ..record("TCP", Some(5432)) };
        let sender = record("TCP", Some(5432)).source;
        let attribution = attributed(DropRecord { sender, ..masqueraded }).attribution;
        assert_eq!(attribution.from_workload.as_deref(), Some("shop/web (deploy)"));
    }
}
