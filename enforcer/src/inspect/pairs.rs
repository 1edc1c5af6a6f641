//! The pairs of addresses that a question is about.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_core::explain::{self, Translation};
use enforcer_core::model::{Cluster, Peer, PodId, Protocol, Service, ServicePort, Traffic};

use super::answer::some;
use super::end::{End, EndError, Port, find, split};
use super::question::Question;
use super::state::State;

/// One address of an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The name of the group that it belongs to.
    pub name: String,
    /// The address.
    pub address: IpAddr,
    /// The pod that has it, if the end is a pod.
    pub pod: Option<PodId>,
}

/// What a connection goes to.
#[derive(Debug, Clone)]
pub struct Target {
    /// The receiver, after a Service's translation.
    pub site: Site,
    /// The traffic there.
    pub traffic: Traffic,
    /// The Service that leads there.
    pub service: Option<Through>,
}

/// A Service's port that a connection goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Through {
    /// The Service and its port, as `namespace/name:port`.
    pub name: String,
    /// The address that the sender uses; `None`: the Service has none of this family.
    pub address: Option<IpAddr>,
    /// The port that the sender uses.
    pub port: u16,
}

/// A sender and a receiver of the same family.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The sender.
    pub from: Site,
    /// The receiver.
    pub to: Target,
}

/// All pairs of a question.
pub(super) struct Pairs {
    pub(super) list: Vec<Pair>,
    /// The cluster as the question sees it: `node` is the other end's own node.
    pub(super) view: Cluster,
    pub(super) notes: BTreeSet<String>,
}

/// The address that stands for the other end's node, if it is unknown: of ranges for documentation.
const NODES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 254)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfffe)),
];

/// Finds the pairs of a question.
pub(super) fn pairs(state: &State, question: &Question) -> Result<Pairs, EndError> {
    let (to, port) = split(&question.to)?;
    let (cluster, workloads) = (&state.cluster, &state.workloads);
    let from_end = find(cluster, workloads, &question.namespace, &question.from)?;
    let to_end = find(cluster, workloads, &question.namespace, to)?;
    let mut finder = Finder { state, notes: BTreeSet::new() };
    let view = view(state, &from_end, &to_end);
    let sources = finder.sites(&from_end, &question.from)?;
    let targets = finder.targets(&to_end, to, port.as_ref())?;
    let pods: BTreeSet<&PodId> = sources
        .iter()
        .chain(targets.iter().map(|it| &it.site))
        .filter_map(|it| it.pod.as_ref())
        .collect();
    let alone = pods.len() == 1;
    let mut list = Vec::new();
    for source in &sources {
        for target in &targets {
            // A pod's connections to itself are of interest only if it was asked about alone.
            let itself = source.pod.is_some() && source.pod == target.site.pod;
            if source.address.is_ipv4() == target.site.address.is_ipv4() && (!itself || alone) {
                list.push(Pair { from: source.clone(), to: target.clone() });
            }
        }
    }
    if list.is_empty() {
        finder.notes.insert("the ends have no addresses of the same family".to_owned());
    }
    finder.note_assumptions(&sources, &targets);
    Ok(Pairs { list, view, notes: finder.notes })
}

fn view(state: &State, from: &End, to: &End) -> Cluster {
    let mut cluster = state.cluster.clone();
    if matches!(from, End::Node) || matches!(to, End::Node) {
        cluster.node_addresses.extend(NODES);
    }
    cluster
}

/// The node's addresses: of each family, one that others can reach if it is known.
fn nodes(state: &State) -> Vec<IpAddr> {
    let reachable = |it: &&IpAddr| match it {
        IpAddr::V4(it) => !(it.is_loopback() || it.is_link_local()),
        IpAddr::V6(it) => !(it.is_loopback() || it.is_unicast_link_local()),
    };
    let known = |assumed: IpAddr| {
        let mut own = state.cluster.node_addresses.iter().filter(reachable);
        own.find(|it| state.node.is_some() && it.is_ipv4() == assumed.is_ipv4()).copied()
    };
    NODES.map(|it| known(it).unwrap_or(it)).to_vec()
}

struct Finder<'s> {
    state: &'s State,
    notes: BTreeSet<String>,
}

impl Finder<'_> {
    fn sites(&mut self, end: &End, text: &str) -> Result<Vec<Site>, EndError> {
        let site = |name: &str, address| Site { name: name.to_owned(), address, pod: None };
        Ok(match end {
            End::Node => nodes(self.state).into_iter().map(|it| site("node", it)).collect(),
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
            return Ok(found.iter().flat_map(|it| self.through(it, None)).collect());
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
            Some(translation) => {
                let port = match traffic {
                    Traffic::Port(_, port) => port,
                    Traffic::Portless => translation.port,
                };
                self.through(&translation, Some((site.address, port)))
            }
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

    /// The backends of a Service's port, by the address and port that the sender uses, if they are known.
    fn through(&mut self, translation: &Translation, by: Option<(IpAddr, u16)>) -> Vec<Target> {
        let name = format!("{}:{}", translation.service, translation.port);
        if translation.backends.is_empty() {
            self.notes.insert(format!("Service {name} has no backends"));
        }
        let backends = translation.backends.iter();
        let targets = backends.filter_map(|backend| {
            let pod = self.state.cluster.pods.get(&backend.pod)?;
            let site = Site {
                name: self.state.workloads.of(pod).to_string(),
                address: backend.address,
                pod: Some(backend.pod.clone()),
            };
            let traffic = Traffic::Port(translation.protocol, backend.port);
            let known = self.state.cluster.services.get(&translation.service);
            let is_same_family = |it: &IpAddr| it.is_ipv4() == backend.address.is_ipv4();
            let own = known.and_then(|service| service.addresses().find(is_same_family));
            let (address, port) =
                by.map_or((own, translation.port), |(address, port)| (Some(address), port));
            let service = Some(Through { name: name.clone(), address, port });
            Some(Target { site, traffic, service })
        });
        targets.collect()
    }

    fn note_assumptions(&mut self, sources: &[Site], targets: &[Target]) {
        let sites = sources.iter().chain(targets.iter().map(|it| &it.site));
        let pods: BTreeSet<&PodId> = sites.filter_map(|it| it.pod.as_ref()).collect();
        let assumed: Vec<&PodId> =
            pods.into_iter().filter(|it| self.state.assumed.contains(*it)).collect();
        if !assumed.is_empty() && self.state.has_blocks() {
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
