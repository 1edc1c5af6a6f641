//! Answers denied packets of pods whose namespaces ask for it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use enforcer_ebpf::contract::event::Event;

use super::rejections::{Rejected, Rejections};
use super::shared::Shared;
use super::snapshot::Snapshot;
use crate::observe::address;
use crate::reject::{Limits, Sockets, answer};

/// The time between two attempts to open the sockets.
const RETRY: Duration = Duration::from_secs(5);

/// Answers denied packets.
pub(super) struct Rejector {
    /// `None`: they can't be opened at present.
    sockets: Option<Sockets>,
    tried_at: Instant,
    limits: Limits,
}

impl Rejector {
    /// Opens the sockets. A failure is reported once a pod's packets are to be answered.
    pub(super) fn open(rejections: &Rejections) -> Self {
        let now = Instant::now();
        Self { sockets: sockets(rejections), tried_at: now, limits: Limits::new(now) }
    }

    /// Tries again to open the sockets, if they are wanted and it is time.
    pub(super) fn retry(&mut self, rejections: &Rejections) {
        if self.sockets.is_none() && self.tried_at.elapsed() >= RETRY {
            self.tried_at = Instant::now();
            self.sockets = sockets(rejections);
        }
    }

    /// Answers a dropped packet, if the pod's namespace asks for it and the sender is a pod.
    pub(super) fn take(&mut self, event: &Event, shared: &Shared, snapshot: &Snapshot) {
        if !snapshot.rejecting.contains(&event.endpoint) || !is_from_pod(event, shared) {
            return;
        }
        let (Some(sockets), Some(answer)) = (&self.sockets, answer(event)) else { return };
        let result = if !self.limits.allow(Instant::now(), answer.to) {
            Rejected::Limited
        } else if let Err(error) = sockets.send(&answer) {
            tracing::debug!(to = %answer.to, "cannot reject a packet: {error}");
            Rejected::Failed
        } else {
            Rejected::Sent
        };
        shared.rejections().count(result);
    }
}

fn sockets(rejections: &Rejections) -> Option<Sockets> {
    let sockets = Sockets::open();
    rejections.set_unavailable(sockets.as_ref().err().map(|error| {
        format!(
            "denied packets are dropped instead of rejected: cannot open raw sockets: {error}; the \
             agent's container needs the capability NET_RAW"
        )
    }));
    sockets.ok()
}

/// Whether a pod sent the packet, itself or behind an address of the node (semantics N3).
fn is_from_pod(event: &Event, shared: &Shared) -> bool {
    let hidden = event.sender != [0, 0];
    let sender = if hidden { &event.sender } else { &event.source };
    let is_pod = |it: IpAddr| shared.addresses().read().name(&it).is_some();
    address(sender, event.version).is_some_and(is_pod)
}
