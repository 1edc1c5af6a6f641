//! The verdict that from_pod deferred, given where the packet has its final destination: at the
//! receiving pod's interface, or where it leaves the node (semantics N1, C2).

use enforcer_ebpf::contract::endpoint::Endpoint;
use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::lookup;
use enforcer_ebpf::contract::mark::{Deferred, Mark};
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use enforcer_ebpf::packet::{Packet, role};

use crate::program::family::Family;
use crate::program::frame::Frame;
use crate::program::hook::{FromPod, Hook, ToPod};
use crate::program::maps::KernelTables;
use crate::program::policy;
use crate::program::remote::HIDDEN_PORT;
use crate::program::report;

/// Returns whether the packet may proceed. A drop is counted against the sender's endpoint.
#[inline(always)]
pub(crate) fn passes<F: Family>(
    frame: &Frame,
    mark: Mark,
    packet: &Packet<F::Address>,
    receiver: Option<&Endpoint>,
) -> bool {
    // A sender that no longer exists has no policy that could allow the packet.
    let Some(sender) = lookup::sender(&KernelTables, mark.sender()) else { return false };
    // A link-local address is the receiver's, too, but policy knows only its others.
    let destination = match receiver {
        Some(receiver) if F::is_link_local(&packet.destination) => F::own(receiver),
        _ => None,
    };
    let entry = F::entry(sender.order(), &destination.unwrap_or(packet.destination));
    let reason = verdict::<F>(sender, mark.deferred(), packet, entry);
    if !reason.is_drop() {
        return true;
    }
    report::count(sender, Direction::Egress, reason as u32, frame.length());
    report::dropped::<FromPod, F>(frame, sender, reason as u32, packet);
    false
}

#[inline(always)]
fn verdict<F: Family>(
    sender: &Endpoint,
    deferred: Deferred,
    packet: &Packet<F::Address>,
    entry: Entry,
) -> Reason {
    if sender.flags & (FromPod::ISOLATED | FromPod::CLOSED) == 0 {
        return Reason::NotIsolated;
    }
    let reason = policy::verdict::<FromPod, F>(sender, packet, entry);
    // Translation hides both the port that the client asked for and the one that the pod answers
    // from: it is enough that policy allows the client some port.
    if reason.is_drop()
        && matches!(deferred, Deferred::Reply)
        && (policy::forward_allows::<ToPod>(sender, entry, packet.protocol, HIDDEN_PORT)
            || is_allowed_error(sender, packet, entry))
    {
        return Reason::Reply;
    }
    reason
}

/// Whether the packet is an error about packets of a peer to which the sender may send something:
/// its real address was hidden where the flow was found.
#[inline(always)]
fn is_allowed_error<A>(sender: &Endpoint, packet: &Packet<A>, entry: Entry) -> bool {
    packet.role & role::ERROR != 0
        && policy::forward_allows::<FromPod>(sender, entry, packet.protocol, HIDDEN_PORT)
}
