//! What from_pod left open, judged where the packet has its last destination: at the receiving
//! pod's interface, or where it leaves the node (semantics N1, C2).

use enforcer_ebpf::classify;
use enforcer_ebpf::count::{Direction, Reason};
use enforcer_ebpf::endpoint::Endpoint;
use enforcer_ebpf::mark::{Mark, Pending};
use enforcer_ebpf::packet::Packet;

use crate::family::Family;
use crate::far::HIDDEN_PORT;
use crate::frame::Frame;
use crate::judge::{FromPod, Hook, ToPod, by_policy, forward_allows};
use crate::maps::KernelTables;
use crate::report;

/// Whether the packet may go on. If not, its sender is told of it.
#[inline(always)]
pub(crate) fn passes<F: Family>(frame: &Frame, mark: Mark, packet: &Packet<F::Address>) -> bool {
    // A sender that is gone has no policy by which this could be allowed.
    let Some(sender) = classify::sender(&KernelTables, mark.sender()) else { return false };
    let reason = judge::<F>(sender, mark.pending(), packet);
    if !reason.is_drop() {
        return true;
    }
    report::count(sender, Direction::Egress, reason, frame.length());
    report::dropped::<FromPod, F>(frame, sender, reason, packet);
    false
}

#[inline(always)]
fn judge<F: Family>(sender: &Endpoint, pending: Pending, packet: &Packet<F::Address>) -> Reason {
    let entry = F::entry(&packet.destination);
    if sender.flags & (FromPod::ISOLATED | FromPod::CLOSED) == 0 {
        return Reason::NotIsolated;
    }
    let reason = by_policy::<FromPod, F>(sender, packet, entry);
    // The port that the client asked for is hidden here, and so is the one that the pod answers
    // from: the client must be allowed some.
    if reason.is_drop()
        && matches!(pending, Pending::Reply)
        && forward_allows::<ToPod>(sender, entry, packet.protocol, HIDDEN_PORT)
    {
        return Reason::Reply;
    }
    reason
}
