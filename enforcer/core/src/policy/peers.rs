//! The grants of pods' addresses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::compiled::{PortSet, Verdict};
use super::grants::{GrantId, Grants};
use super::ports::{NamedPort, named_port};
use super::selectors::{LabelClass, SelectorId};
use super::terms::{MatcherId, Scope, Terms};
use super::verdicts::VerdictId;
use crate::model::{Cluster, ContainerPort, Labels, NAMESPACE_NAME_LABEL, Pod, PortRange};

/// Pods of one namespace that no rule distinguishes.
type Group<'a> = (LabelClass, Vec<&'a ContainerPort>);

/// The matchers and ports of a group of pods, independent of its namespace.
type Matched<'a> = (Vec<MatcherId>, Vec<&'a ContainerPort>);

/// The grant of each pod's address by pod and namespace selectors, if it exceeds that of every
/// address (semantics R2–R4). An address of several pods has the grants of all of them, except for
/// a pod that is being deleted and has passed the address on (semantics C5).
pub(super) fn addresses<'a>(
    cluster: &'a Cluster,
    terms: &Terms<'a>,
    grants: &mut Grants,
) -> BTreeMap<IpAddr, GrantId> {
    let mut addresses = BTreeMap::new();
    let mut peers = Peers::new(terms, grants);
    let passed_on = cluster.passed_on();
    let mut namespace: Option<(&str, Namespace<'a>)> = None;
    for pod in cluster.pods.values().filter(|pod| pod.is_peer()) {
        // Pods are in the order of their namespaces.
        let name = pod.id.namespace.as_str();
        let (_, here) = match namespace.take() {
            Some(same) if same.0 == name => namespace.insert(same),
            _ => namespace.insert((name, Namespace::new(cluster, name, terms))),
        };
        let grant = peers.grant(here, pod);
        if grant == GrantId::NONE {
            continue;
        }
        let own = |it: &&IpAddr| !pod.terminating || !passed_on.contains(*it);
        for address in pod.addresses.iter().filter(own) {
            let known = addresses.entry(*address).or_insert(GrantId::NONE);
            *known = peers.grants.union(*known, grant);
        }
    }
    addresses
}

/// A namespace's matchers, and the grants of its pods.
struct Namespace<'a> {
    /// The matchers with this namespace in their scope, with their pod selectors, sorted.
    matchers: Vec<(SelectorId, MatcherId)>,
    groups: HashMap<Group<'a>, GrantId>,
}

impl<'a> Namespace<'a> {
    fn new(cluster: &Cluster, name: &'a str, terms: &Terms<'a>) -> Self {
        let selectors = match cluster.namespaces.get(name) {
            Some(namespace) => terms.namespace_selectors.matching(&namespace.labels),
            // Not declared: it has only the label that every namespace has (semantics R3).
            None => {
                let label = (NAMESPACE_NAME_LABEL.to_owned(), name.to_owned());
                terms.namespace_selectors.matching(&Labels::from([label]))
            }
        };
        let scopes =
            selectors.into_iter().map(Scope::Matching).chain(std::iter::once(Scope::Own(name)));
        let mut matchers: Vec<_> =
            scopes.filter_map(|scope| terms.scopes.get(&scope)).flatten().copied().collect();
        matchers.sort_unstable();
        Self { matchers, groups: HashMap::new() }
    }

    /// The matchers with these pod selectors.
    fn matched(&self, selectors: &[SelectorId]) -> Vec<MatcherId> {
        let mut matched: Vec<MatcherId> = selectors
            .iter()
            .flat_map(|selector| {
                let first = self.matchers.partition_point(|(it, _)| it < selector);
                self.matchers[first..].iter().take_while(move |(it, _)| it == selector)
            })
            .map(|(_, matcher)| *matcher)
            .collect();
        matched.sort_unstable();
        matched
    }
}

struct Peers<'t, 'a> {
    terms: &'t Terms<'a>,
    grants: &'t mut Grants,
    /// The port names in rules that peers define.
    names: BTreeSet<NamedPort<'a>>,
    /// The pod selectors that match the labels of each class.
    classes: HashMap<LabelClass, Vec<SelectorId>>,
    known: HashMap<Matched<'a>, GrantId>,
}

impl<'t, 'a> Peers<'t, 'a> {
    fn new(terms: &'t Terms<'a>, grants: &'t mut Grants) -> Self {
        let all = terms.matchers.iter().flatten().chain(&terms.every_pod);
        let names = all.flat_map(|term| term.named.iter().copied()).collect();
        Self { terms, grants, names, classes: HashMap::new(), known: HashMap::new() }
    }

    /// The grant of a pod of this namespace.
    fn grant(&mut self, namespace: &mut Namespace<'a>, pod: &'a Pod) -> GrantId {
        if namespace.matchers.is_empty() && self.terms.every_pod.is_empty() {
            return GrantId::NONE;
        }
        let ports = pod.ports.iter().filter(|it| self.names.contains(&named_port(it))).collect();
        let group = (self.terms.pod_selectors.class(&pod.labels), ports);
        if let Some(grant) = namespace.groups.get(&group) {
            return *grant;
        }
        let selectors = self
            .classes
            .entry(group.0.clone())
            .or_insert_with(|| self.terms.pod_selectors.matching(&pod.labels));
        let matched = (namespace.matched(selectors), group.1.clone());
        let grant = self.grant_matched(matched);
        namespace.groups.insert(group, grant);
        grant
    }

    fn grant_matched(&mut self, matched: Matched<'a>) -> GrantId {
        if let Some(grant) = self.known.get(&matched) {
            return *grant;
        }
        let (matchers, ports) = &matched;
        // The numbers of the pod's named ports, each as a verdict (semantics R7).
        let ports: Vec<(NamedPort<'a>, VerdictId)> = ports
            .iter()
            .map(|it| (named_port(it), self.grants.verdicts.intern(number(it))))
            .collect();
        let mut parts = Vec::new();
        let terms = matchers.iter().flat_map(|it| &self.terms.matchers[*it]);
        for term in terms.chain(&self.terms.every_pod) {
            parts.push((term.row, term.always));
            let named = ports.iter().filter(|(name, _)| term.named.contains(name));
            parts.extend(named.map(|(_, verdict)| (term.row, *verdict)));
        }
        let grant = self.grants.intern(parts);
        self.known.insert(matched, grant);
        grant
    }
}

/// The verdict that allows only this port.
fn number(port: &ContainerPort) -> Verdict {
    Verdict::ports(PortSet::new([(port.protocol, PortRange::single(port.port))]))
}
