//! Answers denied packets of pods whose namespaces ask for it.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use enforcer_ebpf::contract::event::Event;

use super::shared::Shared;
use super::snapshot::Snapshot;
use crate::observe::{RejectReport, address};
use crate::reject::{Limits, Sockets, answer};

/// The counts of answers, which observers read.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    sent: AtomicU64,
    limited: AtomicU64,
    failed: AtomicU64,
    /// Why none can be sent.
    unavailable: OnceLock<String>,
}

impl Rejections {
    /// The counts. `wanted`: some pod's denied packets are to be answered.
    pub(super) fn report(&self, wanted: bool) -> RejectReport {
        let count = |it: &AtomicU64| it.load(Ordering::Relaxed);
        RejectReport {
            sent: count(&self.sent),
            limited: count(&self.limited),
            failed: count(&self.failed),
            problem: self.unavailable.get().filter(|_| wanted).cloned(),
        }
    }
}

/// Answers denied packets.
pub(super) struct Rejector {
    /// `None`: they can't be opened.
    sockets: Option<Sockets>,
    limits: Limits,
}

impl Rejector {
    /// Opens the sockets. A failure is reported once a pod's packets are to be answered.
    pub(super) fn open(rejections: &Rejections) -> Self {
        let sockets = Sockets::open();
        if let Err(error) = &sockets {
            let _ = rejections.unavailable.set(format!(
                "denied packets are dropped instead of rejected: cannot open raw sockets: {error}; the \
                 agent's container needs the capability NET_RAW"
            ));
        }
        Self { sockets: sockets.ok(), limits: Limits::new(Instant::now()) }
    }

    /// Answers a dropped packet, if the pod's namespace asks for it and the sender is a pod.
    pub(super) fn take(&mut self, event: &Event, shared: &Shared, snapshot: &Snapshot) {
        if !snapshot.rejecting.contains(&event.endpoint) || !is_from_pod(event, shared) {
            return;
        }
        let (Some(sockets), Some(answer)) = (&self.sockets, answer(event)) else { return };
        let rejections = shared.rejections();
        let count = if !self.limits.allow(Instant::now(), answer.to) {
            &rejections.limited
        } else if let Err(error) = sockets.send(&answer) {
            tracing::debug!(to = %answer.to, "cannot reject a packet: {error}");
            &rejections.failed
        } else {
            &rejections.sent
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether a pod sent the packet, itself or behind an address of the node (semantics N3).
fn is_from_pod(event: &Event, shared: &Shared) -> bool {
    let hidden = event.sender != [0, 0];
    let sender = if hidden { &event.sender } else { &event.source };
    let is_pod = |it: IpAddr| shared.addresses().read().name(&it).is_some();
    address(sender, event.version).is_some_and(is_pod)
}
