//! The verdict that from_pod deferred, given where the packet has its final destination: at the
//! receiving pod's interface, or where it leaves the node (semantics N1, C2).

use enforcer_ebpf::contract::endpoint::Endpoint;
use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::lookup;
use enforcer_ebpf::contract::mark::{Deferred, Mark};
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use enforcer_ebpf::packet::{Bytes as _, Packet, role};

use crate::program::family::Family;
use crate::program::frame::Frame;
use crate::program::hook::{FromPod, Hook, ToPod};
use crate::program::maps::{KernelTables, POD_ADDRESSES};
use crate::program::remote::HIDDEN_PORT;
use crate::program::{clock, flow_record, flow_table, origin, policy, report, starts};

/// Returns whether the packet may proceed. A drop is counted against the sender's endpoint.
#[inline(always)]
pub(crate) fn passes<F: Family>(
    frame: &Frame,
    mark: Mark,
    packet: &Packet<F::Address>,
    receiver: Option<&Endpoint>,
) -> bool {
    // A copy, so that the compiler may keep the packet's parts in registers.
    let packet = *packet;
    frame.settle(decide::<F>(frame, mark.0, &packet, receiver) as usize) != 0
}

/// The same without calling a function.
#[inline(always)]
pub(crate) fn passes_in_place<F: Family>(
    frame: &Frame,
    mark: Mark,
    packet: &Packet<F::Address>,
    receiver: Option<&Endpoint>,
) -> bool {
    frame.settle(usize::from(may_proceed::<F>(frame, mark, packet, receiver))) != 0
}

/// A function of its own: all its ways come back in one state, so that the verifier proves once what
/// follows.
#[inline(never)]
fn decide<F: Family>(
    frame: &Frame,
    mark: u32,
    packet: &Packet<F::Address>,
    receiver: Option<&Endpoint>,
) -> u32 {
    u32::from(may_proceed::<F>(frame, Mark(mark), packet, receiver))
}

/// What was deferred. A forwarded packet without a mark has lost it, or entered by an interface
/// without hooks. The interface that it entered by names the pod, also after masquerading, unless a
/// bridge has routed it. Then there is only its source, which may be forged. So a pod of this node
/// answers for it, but nobody is trusted because of it.
#[inline(always)]
fn known<F: Family>(frame: &Frame, mark: Mark, packet: &Packet<F::Address>) -> Option<Mark> {
    if !mark.is_empty() {
        return Some(mark);
    }
    let pod = origin::pod(frame);
    if pod != 0 {
        return Some(Mark::pod(pod, Deferred::Lost));
    }
    let id = POD_ADDRESSES.get_ptr(F::wide(&packet.source))?;
    // SAFETY: a live map value.
    Some(Mark::pod(unsafe { *id }, Deferred::Lost))
}

#[inline(always)]
fn may_proceed<F: Family>(
    frame: &Frame,
    mark: Mark,
    packet: &Packet<F::Address>,
    receiver: Option<&Endpoint>,
) -> bool {
    let Some(mark) = known::<F>(frame, mark, packet) else { return true };
    // A sender that no longer exists has no policy that could allow the packet.
    let Some(sender) = lookup::sender(&KernelTables, mark.sender()) else { return false };
    if receiver.is_some_and(|receiver| receiver.id == sender.id) {
        return true;
    }
    // A link-local address is the receiver's, too, but policy knows only its others.
    let destination = match receiver {
        Some(receiver) if F::is_link_local(&packet.destination) => F::own(receiver),
        _ => None,
    };
    let entry = F::entry_in_place(sender.order(), &destination.unwrap_or(packet.destination));
    let reason = match sender.flags & (FromPod::ISOLATED | FromPod::CLOSED) {
        0 => Reason::NotIsolated,
        _ => policy::verdict::<FromPod, F>(sender, packet, entry),
    };
    let mut number = frame.settle(reason as usize) as u32;
    if !Reason::is_drop_number(number) {
        return true;
    }
    match mark.deferred() {
        Deferred::Reply if answers_hidden(sender, packet, entry) => return true,
        Deferred::Lost if answers::<F>(sender, packet, entry) => return true,
        Deferred::Lost => number = Reason::MarkLost as u32,
        _ => {}
    }
    starts::note_miss(sender, packet.protocol, packet.role, clock::now());
    report::count(sender, Direction::Egress, number, frame.length());
    report::dropped::<FromPod, F>(frame, sender, number, packet);
    false
}

/// Whether the packet may answer one of a client that translation hid. It hides both the port that
/// the client asked for and the one that the pod answers from: it is enough that policy allows the
/// client some port.
#[inline(always)]
fn answers_hidden<A>(sender: &Endpoint, packet: &Packet<A>, entry: Entry) -> bool {
    policy::forward_allows::<ToPod>(sender, entry, packet.protocol, HIDDEN_PORT)
        || is_allowed_error(sender, packet, entry)
}

/// Whether the packet answers a living flow that ingress policy allows. A packet without a mark has
/// the same addresses at both hooks, unless the flow is through translation.
#[inline(always)]
fn answers<F: Family>(sender: &Endpoint, packet: &Packet<F::Address>, entry: Entry) -> bool {
    if packet.role & role::ANSWERS == 0 || packet.role & role::FRAGMENT != 0 {
        return false;
    }
    let flow = flow_record::key::<F>(sender, Direction::Egress, packet);
    flow_table::entry_in_place::<F>(&flow, flow_table::hash::<F>(&flow))
        .filter(|found| found.is_alive(clock::now()))
        .is_some_and(|found| found.state.is_initiator(Direction::Ingress))
        && policy::forward_allows::<ToPod>(
            sender,
            entry,
            packet.protocol,
            u32::from(packet.source_port),
        )
}

/// Whether the packet is an error about packets of a peer to which the sender may send something:
/// its real address was hidden where the flow was found.
#[inline(always)]
fn is_allowed_error<A>(sender: &Endpoint, packet: &Packet<A>, entry: Entry) -> bool {
    packet.role & role::ERROR != 0
        && policy::forward_allows::<FromPod>(sender, entry, packet.protocol, HIDDEN_PORT)
}
