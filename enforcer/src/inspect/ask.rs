//! A question about connections, and its answer.

use std::collections::BTreeMap;
use std::net::IpAddr;

use enforcer_core::explain::{self, Consent, RuleResult, Why};
use enforcer_core::model::{Cluster, Pod, PodId, Traffic};
use enforcer_ebpf::contract::verdict::Direction;

use super::answer::{Answer, Explanation, end, essence};
use super::end::EndError;
use super::pairs::{Pair, Pairs, pairs};
use super::question::Question;
use super::state::State;

/// Answers a question.
///
/// # Errors
/// An end does not exist, or the text is no end.
pub fn ask(state: &State, question: &Question) -> Result<Answer, EndError> {
    let Pairs { list, view, notes } = pairs(state, question)?;
    let mut groups: BTreeMap<_, Explanation> = BTreeMap::new();
    for pair in &list {
        let decided = Decided::of(state, &view, pair);
        match groups.get_mut(&decided.key()) {
            Some(known) => known.pairs += 1,
            None => drop(groups.insert(decided.key(), decided.explanation(question.all))),
        }
    }
    Ok(Answer::new(groups.into_values().collect(), notes.into_iter().collect()))
}

/// The explanations of pairs of addresses.
#[derive(Debug, Clone)]
pub struct Each {
    /// Each pair, and its explanation.
    pub pairs: Vec<(Pair, Explanation)>,
    /// What they assume, or leave out.
    pub notes: Vec<String>,
}

/// Explains each pair of addresses by itself.
///
/// # Errors
/// As [`ask`].
pub fn ask_each(state: &State, question: &Question) -> Result<Each, EndError> {
    let Pairs { list, view, notes } = pairs(state, question)?;
    let explained = list.into_iter().map(|pair| {
        let explanation = Decided::of(state, &view, &pair).explanation(question.all);
        (pair, explanation)
    });
    Ok(Each { pairs: explained.collect(), notes: notes.into_iter().collect() })
}

/// The decisions on a pair.
struct Decided<'a> {
    state: &'a State,
    view: &'a Cluster,
    pair: &'a Pair,
    /// Each end's, and the opposite one if no policy were in audit.
    consents: Vec<(Consent, Option<Why>)>,
}

/// What pairs with the same explanation have in common.
type Key = (String, String, Traffic, Option<String>, String);

impl<'a> Decided<'a> {
    fn of(state: &'a State, view: &'a Cluster, pair: &'a Pair) -> Self {
        let (from, to, traffic) = (pair.from.address, pair.to.site.address, pair.to.traffic);
        let consents =
            explain::connection(view, from, to, traffic).into_iter().map(|mut consent| {
                let other = other(&consent, pair);
                if on_own_node(&state.cluster, &consent.pod, other) {
                    consent.why = Why::Node;
                } else if is_of_another_node(state, &consent, other) {
                    consent.why =
                        explain::why(view, &consent.pod, consent.direction, other, traffic);
                }
                let would = would_be(view, &consent, other, traffic);
                (consent, would)
            });
        let consents = consents.collect();
        Self { state, view, pair, consents }
    }

    fn service(&self) -> Option<String> {
        self.pair.to.service.as_ref().map(|it| it.name.clone())
    }

    fn key(&self) -> Key {
        let Pair { from, to } = self.pair;
        let essence = essence(self.state, &self.consents, [from.address, to.site.address]);
        (from.name.clone(), to.site.name.clone(), to.traffic, self.service(), essence)
    }

    fn explanation(&self, all: bool) -> Explanation {
        let Pair { from, to } = self.pair;
        let ends = self.consents.iter().map(|(consent, would)| {
            let other = other(consent, self.pair);
            let rules = if all { rules(self.view, consent, other, to.traffic) } else { Vec::new() };
            end(self.state, consent, would.as_ref(), &rules)
        });
        let (protocol, port) = match to.traffic {
            Traffic::Port(protocol, port) => (Some(protocol.to_string()), Some(port)),
            Traffic::Portless => (None, None),
        };
        Explanation {
            from: from.name.clone(),
            from_address: from.address.to_string(),
            to: to.site.name.clone(),
            to_address: to.site.address.to_string(),
            protocol,
            port,
            service: self.service(),
            allowed: self.consents.iter().all(|(it, _)| it.why.allows()),
            pairs: 1,
            ends: ends.collect(),
        }
    }
}

/// The address at the other end of the connection.
fn other(consent: &Consent, pair: &Pair) -> IpAddr {
    match consent.direction {
        Direction::Egress => pair.to.site.address,
        Direction::Ingress => pair.from.address,
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

/// Whether the address is the agent's node's, and the pod is elsewhere: to it, other nodes are addresses like
/// any (semantics A5).
fn is_of_another_node(state: &State, consent: &Consent, address: IpAddr) -> bool {
    let Some(node) = &state.node else { return false };
    let pod = state.cluster.pods.get(&consent.pod).and_then(|it| it.node.as_ref());
    consent.why == Why::Node
        && state.cluster.node_addresses.contains(&address)
        && pod.is_some_and(|it| it != node.as_str())
}

/// Whether the address is that of a pod's own node, by the pods that use the host's network there.
fn on_own_node(cluster: &Cluster, pod: &PodId, address: IpAddr) -> bool {
    let Some(node) = cluster.pods.get(pod).and_then(|it| it.node.as_ref()) else { return false };
    let is_there = |it: &Pod| it.node.as_ref() == Some(node) && it.addresses.contains(&address);
    cluster.pods.values().any(|it| it.host_network && is_there(it))
}
