//! A stand-in for kube-proxy: makes Services work on the lab's nodes, by the same kinds of rules.
//!
//! What policy has to cope with is what kube-proxy does to packets: it replaces the receiver's
//! address before they are routed and, for some, the sender's when they leave. Here a pure
//! [`Plan`] is made of Services and pods, [`iptables`] and [`nftables`] write it down in the
//! layout of kube-proxy's two modes, and [`KubeProxy`] puts that in force, each family's tables
//! replaced at once.
//!
//! Not done: health-check ports, topology hints, terminating endpoints, source ranges of load
//! balancers; connections that conntrack knows keep their backend, also when it is gone.

mod apply;
mod iptables;
mod nftables;
mod plan;

pub use apply::{KubeProxy, Proxy};
pub use plan::{Backend, Plan, PortPlan, ProxyNode};

/// The bit of the packet mark for *to be masqueraded* (`--iptables-masquerade-bit 14`).
const MASQUERADE_MARK: u32 = 0x4000;
