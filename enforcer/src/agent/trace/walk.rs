//! The way of a packet through the programs of this node.

use std::collections::BTreeMap;
use std::net::IpAddr;

use enforcer_core::model::{PodId, Traffic};
use enforcer_ebpf::contract::mark::{Deferred, Mark};
use enforcer_ebpf::contract::verdict::{Direction, Reason};

use super::packet::Packet;
use crate::inspect::{Explanation, KernelEnd, Pair, Through, TraceStep, TracedConnection};
use crate::kernel::{KernelError, RunInput, RunProgram, Trial};

/// An interface of a pod of this node.
#[derive(Debug, Clone)]
pub(super) struct PodPlace {
    pub(super) ifindex: u32,
    pub(super) name: String,
    /// Its endpoint's id.
    pub(super) id: u32,
}

/// This node, as far as packets go.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) node: String,
    /// The pods of this node, by name.
    pub(super) pods: BTreeMap<PodId, PodPlace>,
    /// An interface that leads out of the node.
    pub(super) uplink: (u32, String),
    /// The node's own addresses.
    pub(super) addresses: std::collections::BTreeSet<IpAddr>,
    /// The lowest bit of the programs' marks.
    pub(super) mark_shift: u32,
}

/// An end of a connection, as this node sees it.
enum End<'a> {
    Pod(&'a PodId, &'a PodPlace),
    Node,
    Elsewhere,
}

/// What the packet carries from program to program.
#[derive(Debug, Clone, Copy, Default)]
struct Carried {
    mark: u32,
    index: u32,
    origin: u32,
}

/// The way so far.
struct Walk<'a> {
    trial: &'a mut Trial,
    place: &'a Place,
    ids: Vec<u32>,
    carried: Carried,
    is_dropped: bool,
    steps: Vec<TraceStep>,
    counted: Vec<(u32, Direction, Reason)>,
}

/// Runs the programs of this node on the first packet of a connection. `None`: no pod of this node is an
/// end.
pub(super) fn walk(
    trial: &mut Trial,
    place: &Place,
    pair: &Pair,
    explanation: &Explanation,
) -> Result<Option<TracedConnection>, KernelError> {
    let (from, to, traffic) = (pair.from.address, pair.to.site.address, pair.to.traffic);
    let [sender, receiver] = [(from, "egress"), (to, "ingress")]
        .map(|(address, it)| place.end(explanation, address, it));
    if !matches!((&sender, &receiver), (End::Pod(..), _) | (_, End::Pod(..))) {
        return Ok(None);
    }
    let arrived = Packet { from, to, traffic };
    let sent = match (&pair.to.service, traffic) {
        (Some(Through { address: Some(to), port, .. }), Traffic::Port(protocol, _)) => {
            Packet { to: *to, traffic: Traffic::Port(protocol, *port), ..arrived }
        }
        // A Service without an address of its own: the sender knows its pods'.
        _ => arrived,
    };
    let ids = [&sender, &receiver].into_iter().filter_map(End::id).collect();
    let mut walk = Walk::new(trial, place, ids);
    walk.send(&sender, &sent)?;
    walk.receive(&sender, &receiver, &arrived)?;
    let ends = walk.kernel_ends(&sender, &receiver);
    Ok(Some(TracedConnection::new(explanation.clone(), walk.steps, ends)))
}

impl Place {
    fn end(&self, explanation: &Explanation, address: IpAddr, direction: &str) -> End<'_> {
        if self.addresses.contains(&address) {
            return End::Node;
        }
        let ends = explanation.ends.iter().filter(|it| it.direction == direction);
        let known =
            ends.filter_map(|end| self.pods.iter().find(|(pod, _)| pod.to_string() == end.pod));
        known.map(|(pod, place)| End::Pod(pod, place)).next().unwrap_or(End::Elsewhere)
    }
}

impl End<'_> {
    fn id(&self) -> Option<u32> {
        match self {
            Self::Pod(_, place) => Some(place.id),
            Self::Node | Self::Elsewhere => None,
        }
    }
}

impl<'a> Walk<'a> {
    fn new(trial: &'a mut Trial, place: &'a Place, ids: Vec<u32>) -> Self {
        let carried = Carried::default();
        let (steps, counted) = (Vec::new(), Vec::new());
        Self { trial, place, ids, carried, is_dropped: false, steps, counted }
    }

    /// Up to the point where the node translates addresses.
    fn send(&mut self, sender: &End<'_>, packet: &Packet) -> Result<(), KernelError> {
        match sender {
            End::Pod(pod, place) => {
                self.carried.origin = place.ifindex;
                let interface = (place.ifindex, place.name.as_str());
                self.run(RunProgram::FromPod, interface, Some(pod), packet)
            }
            // The node's own packets have no origin and no mark.
            End::Node => Ok(()),
            End::Elsewhere => {
                let (ifindex, name) = &self.place.uplink;
                self.carried.origin = *ifindex;
                self.run(RunProgram::FromWire, (*ifindex, name), None, packet)
            }
        }
    }

    /// From there on.
    fn receive(
        &mut self,
        sender: &End<'_>,
        receiver: &End<'_>,
        packet: &Packet,
    ) -> Result<(), KernelError> {
        let End::Pod(pod, place) = receiver else {
            // What stays on the node meets no further program.
            if matches!(receiver, End::Elsewhere) {
                let (ifindex, name) = &self.place.uplink;
                self.run(RunProgram::ToWire, (*ifindex, name), None, packet)?;
            }
            return Ok(());
        };
        let interface = (place.ifindex, place.name.as_str());
        self.run(RunProgram::ToPod, interface, Some(pod), packet)?;
        let is_counted =
            |it: &(u32, Direction, Reason)| (it.0, it.1) == (place.id, Direction::Ingress);
        if let (End::Pod(_, from), false) = (sender, self.counted.iter().any(is_counted)) {
            // The sender's policy denied it here, and the receiver's was not asked.
            let mark = Mark::pod(from.id, Deferred::Nothing).0 << self.place.mark_shift;
            self.carried.mark = mark;
            self.run(RunProgram::ToPod, interface, Some(pod), packet)?;
        }
        Ok(())
    }

    fn run(
        &mut self,
        program: RunProgram,
        (ifindex, name): (u32, &str),
        pod: Option<&PodId>,
        packet: &Packet,
    ) -> Result<(), KernelError> {
        let Some(frame) = packet.frame() else { return Ok(()) };
        let Carried { mark, index, origin } = self.carried;
        let input =
            RunInput { frame: &frame, ifindex, ingress_ifindex: origin, mark, index, repeat: 1 };
        let tried = self.trial.run(program, &input, &self.ids)?;
        let passes = tried.run.passes;
        let reason = tried.counted.iter().find(|(_, _, reason)| reason.is_drop() != passes);
        self.steps.push(TraceStep {
            node: self.place.node.clone(),
            program: program.name().into(),
            interface: name.to_owned(),
            pod: pod.map(ToString::to_string),
            packet: packet.to_string(),
            passes,
            reason: reason.map(|(_, _, reason)| reason.name().into()),
            reached: !self.is_dropped,
        });
        self.counted.extend(tried.counted);
        self.is_dropped |= !passes;
        (self.carried.mark, self.carried.index) = (tried.run.mark, tried.run.index);
        Ok(())
    }

    fn kernel_ends(&self, sender: &End<'_>, receiver: &End<'_>) -> Vec<KernelEnd> {
        let ends = [(sender, Direction::Egress), (receiver, Direction::Ingress)];
        let decided = ends.into_iter().filter_map(|(end, direction)| {
            let End::Pod(pod, place) = end else { return None };
            let counted = self.counted.iter().filter(|it| (it.0, it.1) == (place.id, direction));
            let reasons: Vec<Reason> = counted.map(|it| it.2).collect();
            let dropped = reasons.iter().find(|it| it.is_drop());
            let reason = dropped.or_else(|| reasons.first());
            // A program that drops a packet without a count denies it.
            let is_own = |it: &&TraceStep| it.pod.as_ref() == Some(&pod.to_string());
            let silent =
                self.steps.iter().filter(is_own).any(|it| !it.passes && it.reason.is_none());
            Some(KernelEnd {
                pod: pod.to_string(),
                direction: direction.name().into(),
                allowed: dropped.is_none() && !silent,
                reason: reason.map(|it| it.name().into()),
            })
        });
        decided.collect()
    }
}
