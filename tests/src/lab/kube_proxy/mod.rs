//! A stand-in for kube-proxy: implements Services on the lab's nodes with the same kinds of rules.
//!
//! kube-proxy replaces a packet's destination before routing and, for some packets, the source when
//! they leave; policy has to cope with that. Here a pure [`Plan`] is computed from Services and
//! pods, [`iptables`], [`nftables`] and [`ipvs`] render it in the layout of kube-proxy's modes, and
//! [`KubeProxy`] applies it, replacing each family's tables atomically (except in the ipvs mode, which
//! has several parts).
//!
//! Not supported: health-check ports, topology hints, terminating endpoints, source ranges of load
//! balancers. Connections known to conntrack keep their backend, even after it has ended.

mod apply;
mod iptables;
mod ipvs;
mod nftables;
mod plan;

pub(crate) use apply::KubeProxy;
pub use apply::Proxy;
pub(crate) use plan::{Backend, Plan, PortPlan, ProxyNode};

/// The bit of the packet mark that requests masquerading (`--iptables-masquerade-bit 14`).
const MASQUERADE_MARK: u32 = 0x4000;
