//! Test runs of the programs, beside the look-ups: a program that decides otherwise than the tables that it
//! reads is drift, too.

use std::collections::BTreeMap;
use std::net::IpAddr;

use enforcer_core::model::{Pod, PodId};
use enforcer_core::tables::Answer;
use enforcer_ebpf::contract::endpoint::Endpoint;
use enforcer_ebpf::contract::mark::{Deferred, Mark};
use enforcer_ebpf::contract::verdict::{Direction, Reason};

use super::question::Question;
use crate::agent::reconciler::Reconciler;
use crate::agent::trace::packet::Packet;
use crate::kernel::{KernelError, RunInput, RunProgram, Trial};

/// The endpoints of this node's pods, by interface.
pub(super) type Records<'r> = BTreeMap<u32, (&'r PodId, &'r Endpoint)>;

impl Reconciler {
    /// How the program at the pod's interface differs from the tables. `None`: it does not, there is no such
    /// packet, or the programs are not loaded at present. The flag says whether one was run.
    pub(super) fn sample(
        &self,
        question: &Question,
        found: &Answer,
        records: &Records<'_>,
    ) -> Result<(bool, Option<String>), KernelError> {
        let Some(packet) = self.packet(question, found) else { return Ok((false, None)) };
        let id = found.endpoint.id;
        let sender = self.sender(question, records);
        let run =
            |trial: &mut Trial| try_packet(trial, question, &packet, sender, id, self.mark_shift);
        let tried = match self.trials.try_with(run) {
            // Netlink will report it.
            Err(error) if error.means_gone() => None,
            tried => tried?.flatten(),
        };
        let Some((passes, reason)) = tried else { return Ok((false, None)) };
        if passes == found.allowed {
            return Ok((true, None));
        }
        let Question { pod, direction, .. } = question;
        let word = |it| if it { "allow" } else { "deny" };
        let reason = reason.map_or("nothing was counted", Reason::name);
        Ok((
            true,
            Some(format!(
                "{pod} {}, {packet}: the programs {} it ({reason}), the tables that they read {} it",
                direction.name(),
                word(passes),
                word(found.allowed)
            )),
        ))
    }

    /// The packet of a question, if only policy decides on it.
    fn packet(&self, question: &Question, found: &Answer) -> Option<Packet> {
        let Question { pod, direction, peer, traffic, .. } = question;
        let subject: &Pod = self.cluster.pods.get(pod)?;
        let own = *subject.addresses.iter().find(|it| it.is_ipv4() == peer.is_ipv4())?;
        let is_special = subject.addresses.contains(peer)
            || self.cluster.node_addresses.contains(peer)
            || found.entry.is_node()
            || found.entry.may_hide_another();
        if is_special || !is_ordinary(peer) {
            return None;
        }
        let (from, to) = match direction {
            Direction::Ingress => (*peer, own),
            Direction::Egress => (own, *peer),
        };
        Some(Packet { from, to, traffic: *traffic })
    }

    /// The endpoint of the other end, if it is one pod of this node.
    fn sender(&self, question: &Question, records: &Records<'_>) -> Option<u32> {
        let addresses = self.addresses.read();
        let pods = addresses.pods(&question.peer, &self.cluster);
        let [pod] = pods.as_slice() else { return None };
        let here = records.values().find(|(id, _)| **id == pod.id);
        here.map(|(_, record)| record.id)
    }
}

/// Whether packets of others come from this address: link-local and multicast ones are the link's.
fn is_ordinary(address: &IpAddr) -> bool {
    let is_of_the_link = match address {
        IpAddr::V4(it) => it.is_link_local() || it.is_broadcast(),
        IpAddr::V6(it) => it.is_unicast_link_local() || it.to_ipv4_mapped().is_some(),
    };
    !(is_of_the_link || address.is_multicast() || address.is_loopback() || address.is_unspecified())
}

/// Whether a packet passes, and why; `None`: it can't be made, or does not get to the pod's interface.
fn try_packet(
    trial: &mut Trial,
    question: &Question,
    packet: &Packet,
    sender: Option<u32>,
    id: u32,
    mark_shift: u32,
) -> Result<Option<(bool, Option<Reason>)>, KernelError> {
    let Some(frame) = packet.frame() else { return Ok(None) };
    // Loopback stands for an uplink: all that counts is that the packet entered by some interface.
    let mut input = RunInput {
        frame: &frame,
        ifindex: question.ifindex,
        ingress_ifindex: 1,
        mark: 0,
        index: 0,
        repeat: 1,
    };
    let program = match (question.direction, sender) {
        (Direction::Egress, _) => RunProgram::FromPod,
        (Direction::Ingress, Some(sender)) => {
            input.mark = Mark::pod(sender, Deferred::Nothing).0 << mark_shift;
            RunProgram::ToPod
        }
        (Direction::Ingress, None) => {
            let entered = RunInput { ifindex: 1, ..input };
            let entered = trial.run(RunProgram::FromWire, &entered, &[])?.run;
            if !entered.passes {
                return Ok(None);
            }
            (input.mark, input.index) = (entered.mark, entered.index);
            RunProgram::ToPod
        }
    };
    let tried = trial.run(program, &input, &[id])?;
    let reason = tried.counted.first().map(|(_, _, reason)| *reason);
    Ok(Some((tried.run.passes, reason)))
}
