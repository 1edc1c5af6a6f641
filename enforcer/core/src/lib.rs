//! The pure part of the agent: the cluster's state in, ordered writes to the kernel's tables out.
//!
//! ```text
//! model ─► policy ─► tables ─► steps
//! ```
//! [`model`] is the cluster as plain data. [`policy`] compiles it into verdicts. [`tables`] plans
//! the writes that lead from what the kernel holds to what it should hold. [`explain`] says why a
//! connection is allowed or denied, and what a change of policy changes. [`flows`] keeps who talks to
//! whom, and [`suggest`] makes policies of it.
//!
//! What belongs here: semantics, and everything that can be decided without looking at the
//! machine. What does not: I/O, clocks, threads, Kubernetes types, eBPF loading. Cargo enforces it:
//! this crate depends on none of the crates that these need.
//!
//! The whole way, for one pod and a policy that selects it and allows no ingress:
//!
//! ```
//! use std::collections::{BTreeMap, BTreeSet};
//! use std::net::IpAddr;
//!
//! use enforcer_core::model::{Change, Cluster, Pod, PodId, Policy, PolicyId, Selector};
//! use enforcer_core::policy::{Verdict, compile};
//! use enforcer_core::tables::oracle::Image;
//! use enforcer_core::tables::{Desired, Interface, Owner, State};
//! use enforcer_ebpf::contract::verdict::Direction::{Egress, Ingress};
//! use enforcer_ebpf::contract::table::Limits;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let id = PodId::new("shop", "web");
//! let addresses: BTreeSet<IpAddr> = [[10, 0, 0, 1].into()].into();
//! let mut cluster = Cluster::default();
//! cluster.apply(Change::Pod(Pod { addresses: addresses.clone().into(), ..Pod::new(id.clone()) }));
//! cluster.apply(Change::Policy(Policy {
//!     id: PolicyId::new("shop", "deny"),
//!     subjects: Selector::default(),
//!     ingress: Some(vec![]),
//!     egress: None,
//!     audit: false,
//! }));
//!
//! // Verdicts, independent of the kernel.
//! let client = [192, 0, 2, 1].into();
//! let compiled = compile(&cluster, &[id.clone()].into());
//! assert_eq!(compiled.verdict(&id, Ingress, client), Some(&Verdict::Deny));
//! assert_eq!(compiled.verdict(&id, Egress, client), None, "not isolated");
//!
//! // The steps from empty tables to these verdicts, taken by a kernel made of vectors.
//! let owner = Owner::Pod(id);
//! let interface =
//!     Interface { owner, uid: String::new(), identity: 0, addresses, check_source: true };
//! let desired = Desired { compiled, interfaces: BTreeMap::from([(7, interface)]) };
//! let plan = State::new(Limits::DEFAULT).plan(&desired);
//! let mut image = Image::new(Limits::DEFAULT);
//! for step in &plan.steps {
//!     image.apply(step)?;
//! }
//! let (tcp, port) = (6, 80);
//! assert_eq!(image.judge(7, Ingress, client, tcp, port), Some(false));
//! assert_eq!(image.judge(7, Egress, client, tcp, port), Some(true));
//! # Ok(())
//! # }
//! ```

pub mod estates;
pub mod explain;
pub mod flows;
mod interner;
pub mod model;
mod numbered;
pub mod policy;
pub mod suggest;
pub mod tables;
