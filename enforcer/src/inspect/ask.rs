//! A question about connections, and its answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_core::explain::{self, Consent, RuleResult, Translation, Why};
use enforcer_core::model::{Cluster, Peer, Pod, PodId, Protocol, Service, ServicePort, Traffic};

use super::answer::{Answer, Explanation, end, essence, some};
use super::end::{End, EndError, Port, find, split};
use super::state::State;

/// A question.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// The sender.
    pub from: String,
    /// The receiver, with a port or without.
    pub to: String,
    /// The namespace of names without one.
    pub namespace: String,
    /// Whether every rule is shown.
    pub all: bool,
}

/// One address of an end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Site {
    /// The name of the group that it belongs to.
    name: String,
    address: IpAddr,
    pod: Option<PodId>,
}

/// What a connection goes to.
#[derive(Debug, Clone)]
struct Target {
    site: Site,
    traffic: Traffic,
    service: Option<String>,
}

/// The address that stands for the other end's node, if it is unknown: of ranges for documentation.
const NODES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 254)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfffe)),
];

/// Answers a question.
///
/// # Errors
/// An end does not exist, or the text is no end.
pub fn ask(state: &State, question: &Question) -> Result<Answer, EndError> {
    let (to, port) = split(&question.to)?;
    let from_end = find(state, &question.namespace, &question.from)?;
    let to_end = find(state, &question.namespace, to)?;
    let mut asker = Asker { state, notes: BTreeSet::new(), groups: BTreeMap::new() };
    let view = view(state, &from_end, &to_end);
    let sources = asker.sites(&from_end, &question.from)?;
    let targets = asker.targets(&to_end, to, port.as_ref())?;
    let pods: BTreeSet<&PodId> = sources
        .iter()
        .chain(targets.iter().map(|it| &it.site))
        .filter_map(|it| it.pod.as_ref())
        .collect();
    let alone = pods.len() == 1;
    for source in &sources {
        for target in &targets {
            // A pod's connections to itself are of interest only if it was asked about alone.
            let itself = source.pod.is_some() && source.pod == target.site.pod;
            if source.address.is_ipv4() == target.site.address.is_ipv4() && (!itself || alone) {
                asker.add(&view, source, target, question.all);
            }
        }
    }
    if asker.groups.is_empty() {
        asker.notes.insert("the ends have no addresses of the same family".to_owned());
    }
    asker.note_assumptions(&sources, &targets);
    Ok(Answer::new(asker.groups.into_values().collect(), asker.notes.into_iter().collect()))
}

/// The cluster as the question sees it: `node` is the other end's own node.
fn view(state: &State, from: &End, to: &End) -> Cluster {
    let mut cluster = state.cluster.clone();
    if matches!(from, End::Node) || matches!(to, End::Node) {
        cluster.node_addresses.extend(NODES);
    }
    cluster
}

struct Asker<'s> {
    state: &'s State,
    notes: BTreeSet<String>,
    groups: BTreeMap<(String, String, Traffic, Option<String>, String), Explanation>,
}

impl Asker<'_> {
    fn sites(&mut self, end: &End, text: &str) -> Result<Vec<Site>, EndError> {
        let site = |name: &str, address| Site { name: name.to_owned(), address, pod: None };
        Ok(match end {
            End::Node => NODES.map(|it| site("node", it)).to_vec(),
            End::Outside => {
                let found = examples(&self.state.cluster);
                found.into_iter().map(|it| site("outside", it)).collect()
            }
            End::Address(address) => vec![site(&address.to_string(), *address)],
            End::Pods(pods) => pods.iter().flat_map(|id| self.pod_sites(id)).collect(),
            End::Service(_) => {
                let port = "a Service is no sender: name its pods";
                return Err(EndError::Syntax(format!("{text}: {port}")));
            }
        })
    }

    fn pod_sites(&self, id: &PodId) -> Vec<Site> {
        let Some(pod) = self.state.cluster.pods.get(id) else { return Vec::new() };
        let name = self.state.workloads.of(pod).to_string();
        let site = |address: &IpAddr| Site {
            name: name.clone(),
            address: *address,
            pod: Some(id.clone()),
        };
        pod.addresses.iter().map(site).collect()
    }

    fn targets(
        &mut self,
        end: &End,
        text: &str,
        port: Option<&Port>,
    ) -> Result<Vec<Target>, EndError> {
        if let End::Service(id) = end {
            let Some(service) = self.state.cluster.services.get(id) else { return Ok(Vec::new()) };
            let wanted = |it: &ServicePort| match port {
                None => true,
                Some(Port::Number(protocol, number)) => {
                    it.protocol == *protocol && it.port == *number
                }
                Some(Port::Named(name)) => it.name == *name,
                Some(Port::Portless) => false,
            };
            let found = explain::translations(&self.state.cluster, service, wanted);
            if found.is_empty() {
                let ports = service.ports.iter().map(|it| format!("{}/{}", it.port, it.protocol));
                let ports = ports.collect::<Vec<_>>().join(", ");
                return Err(EndError::Port(format!("Service {id} has the ports {ports}")));
            }
            return Ok(found.iter().flat_map(|it| self.through(it)).collect());
        }
        let sites = self.sites(end, text)?;
        let mut targets = Vec::new();
        for site in sites {
            for traffic in self.traffics(&site, port)? {
                targets.extend(self.target(site.clone(), traffic));
            }
        }
        Ok(targets)
    }

    /// The traffic that the question is about; without a port, every port of the receiver.
    fn traffics(&mut self, site: &Site, port: Option<&Port>) -> Result<Vec<Traffic>, EndError> {
        let pod = site.pod.as_ref().and_then(|id| self.state.cluster.pods.get(id));
        let ports = |wanted: &dyn Fn(&str) -> bool| -> BTreeSet<Traffic> {
            let ports = pod.into_iter().flat_map(|it| &it.ports);
            let ports = ports.filter(|it| wanted(&it.name));
            ports.map(|it| Traffic::Port(it.protocol, it.port)).collect()
        };
        Ok(match port {
            Some(Port::Number(protocol, port)) => vec![Traffic::Port(*protocol, *port)],
            Some(Port::Portless) => vec![Traffic::Portless],
            Some(Port::Named(name)) => {
                let found = ports(&|it| it == name);
                if found.is_empty() {
                    let name = format!("{name}: {} has no port of this name", site.name);
                    return Err(EndError::Port(name));
                }
                found.into_iter().collect()
            }
            None => {
                let found = ports(&|_| true);
                if found.is_empty() {
                    let note = format!(
                        "no port was given, and {} declares none: the answer is about protocols \
                         without ports, such as ICMP",
                        site.name
                    );
                    self.notes.insert(note);
                    return Ok(vec![Traffic::Portless]);
                }
                found.into_iter().collect()
            }
        })
    }

    /// The target itself, or the backends if it is a Service's address.
    fn target(&mut self, site: Site, traffic: Traffic) -> Vec<Target> {
        let translation = match traffic {
            Traffic::Port(protocol, port) => self.translate(site.address, protocol, port),
            Traffic::Portless => None,
        };
        match translation {
            Some(translation) => self.through(&translation),
            None => vec![Target { site, traffic, service: None }],
        }
    }

    fn translate(&mut self, address: IpAddr, protocol: Protocol, port: u16) -> Option<Translation> {
        let found = explain::translate(&self.state.cluster, address, protocol, port);
        let mut services = self.state.cluster.services.values();
        if found.is_none()
            && let Some(service) = services.find(|it| it.addresses().any(|it| it == address))
        {
            let note = format!(
                "{address} is an address of Service {}, which has no port {port}/{protocol}",
                service.id
            );
            self.notes.insert(note);
        }
        found
    }

    /// The backends of a Service's port.
    fn through(&mut self, translation: &Translation) -> Vec<Target> {
        let name = format!("{}:{}", translation.service, translation.port);
        if translation.backends.is_empty() {
            self.notes.insert(format!("Service {name} has no backends"));
        }
        let backends = translation.backends.iter();
        let targets = backends.filter_map(|it| {
            let pod = self.state.cluster.pods.get(&it.pod)?;
            let site = Site {
                name: self.state.workloads.of(pod).to_string(),
                address: it.address,
                pod: Some(it.pod.clone()),
            };
            let traffic = Traffic::Port(translation.protocol, it.port);
            Some(Target { site, traffic, service: Some(name.clone()) })
        });
        targets.collect()
    }

    fn add(&mut self, view: &Cluster, source: &Site, target: &Target, all: bool) {
        let Target { site, traffic, service } = target;
        let consents = explain::connection(view, source.address, site.address, *traffic);
        let consents = consents.into_iter().map(|mut consent| {
            let other = if consent.direction.name() == "egress" { site } else { source };
            if on_own_node(&self.state.cluster, &consent.pod, other.address) {
                consent.why = Why::Node;
            }
            let would = would_be(view, &consent, other.address, *traffic);
            (consent, would)
        });
        let consents: Vec<(Consent, Option<Why>)> = consents.collect();
        let key = (
            source.name.clone(),
            site.name.clone(),
            *traffic,
            service.clone(),
            essence(self.state, &consents, [source.address, site.address]),
        );
        if let Some(known) = self.groups.get_mut(&key) {
            known.pairs += 1;
            return;
        }
        let ends = consents.iter().map(|(consent, would)| {
            let other = if consent.direction.name() == "egress" { site } else { source };
            let rules =
                if all { rules(view, consent, other.address, *traffic) } else { Vec::new() };
            end(self.state, consent, would.as_ref(), &rules)
        });
        let (protocol, port) = match traffic {
            Traffic::Port(protocol, port) => (Some(protocol.to_string()), Some(*port)),
            Traffic::Portless => (None, None),
        };
        let explanation = Explanation {
            from: source.name.clone(),
            from_address: source.address.to_string(),
            to: site.name.clone(),
            to_address: site.address.to_string(),
            protocol,
            port,
            service: service.clone(),
            allowed: consents.iter().all(|(it, _)| it.why.allows()),
            pairs: 1,
            ends: ends.collect(),
        };
        self.groups.insert(key, explanation);
    }

    fn note_assumptions(&mut self, sources: &[Site], targets: &[Target]) {
        let sites = sources.iter().chain(targets.iter().map(|it| &it.site));
        let pods: BTreeSet<&PodId> = sites.filter_map(|it| it.pod.as_ref()).collect();
        let assumed: Vec<&PodId> =
            pods.into_iter().filter(|it| self.state.assumed.contains(*it)).collect();
        if !assumed.is_empty() {
            self.notes.insert(format!(
                "without an address yet: {}; addresses of --pod-cidr are assumed, which matters for \
                 ipBlock only",
                some(&assumed)
            ));
        }
        for site in sources.iter().chain(targets.iter().map(|it| &it.site)) {
            if site.name == "outside" {
                let note = format!(
                    "outside: {} stands for addresses that no ipBlock but 0.0.0.0/0 or ::/0 names",
                    site.address
                );
                self.notes.insert(note);
            }
        }
    }
}

/// The opposite decision if no policy were in audit.
fn would_be(cluster: &Cluster, it: &Consent, other: IpAddr, traffic: Traffic) -> Option<Why> {
    let owners = explain::owners(cluster, other);
    explain::would_be(cluster, &it.pod, it.direction, other, owners, traffic, &it.why)
}

/// The answers of every rule of this end.
fn rules(cluster: &Cluster, consent: &Consent, other: IpAddr, traffic: Traffic) -> Vec<RuleResult> {
    explain::results(cluster, &consent.pod, consent.direction, other, traffic)
}

/// Whether the address is that of a pod's own node, by the pods that use the host's network there.
fn on_own_node(cluster: &Cluster, pod: &PodId, address: IpAddr) -> bool {
    let Some(node) = cluster.pods.get(pod).and_then(|it| it.node.as_ref()) else { return false };
    let is_there = |it: &Pod| it.node.as_ref() == Some(node) && it.addresses.contains(&address);
    cluster.pods.values().any(|it| it.host_network && is_there(it))
}

/// An address of each family that no pod, Service or block has, except for blocks of everything.
pub(super) fn examples(cluster: &Cluster) -> Vec<IpAddr> {
    let blocks = cluster.policies.values().flat_map(|it| it.ingress.iter().chain(&it.egress));
    let blocks = blocks.flatten().flat_map(|rule| &rule.peers).filter_map(|peer| match peer {
        Peer::Block(block) => Some(block),
        Peer::Pods { .. } => None,
    });
    let prefixes = blocks.flat_map(|it| std::iter::once(&it.cidr).chain(&it.except));
    let prefixes: Vec<_> = prefixes.filter(|it| it.prefix_len() > 0).collect();
    let used: BTreeSet<IpAddr> = cluster
        .pods
        .values()
        .flat_map(|it| it.addresses.iter().copied())
        .chain(cluster.services.values().flat_map(Service::addresses))
        .collect();
    let free = |it: &IpAddr| !used.contains(it) && !prefixes.iter().any(|net| net.contains(it));
    // Ranges for documentation first, then one address of each large range.
    let four = [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(198, 51, 100, 1)];
    let four = four.into_iter().chain((1..=223).map(|first| Ipv4Addr::new(first, 255, 1, 1)));
    let six = (1..=0xff).map(|it| Ipv6Addr::new(0x2001, 0xdb8, it, 0, 0, 0, 0, 1));
    let four = four.map(IpAddr::V4).find(free);
    let six = six.map(IpAddr::V6).find(free);
    four.into_iter().chain(six).collect()
}
