//! The running agent: it connects the sources, the node, the container runtime and the kernel.
//!
//! One loop ([`run`]) receives changes and applies them to the cluster's state. Once all sources are
//! complete (semantics C4), the [`Reconciler`] brings the kernel to that state. Pods that the container
//! runtime is about to start wait for it ([`crate::nri`]).
//!
//! Belongs here: state that lives as long as the agent, and the order of its steps. Does not belong
//! here: reading Kubernetes objects ([`crate::source`]) or netlink ([`crate::node`]), compiling policy
//! ([`enforcer_core`]), calls to BPF ([`crate::kernel`]), output formats ([`crate::observe`]).

mod activity;
mod attach;
mod audit;
mod claims;
mod cni_results;
mod descriptors;
mod drift;
mod drop_log;
mod drops;
mod flow_log;
mod flow_watch;
mod flows;
mod forgetting;
mod guard;
mod hooks;
mod kube_writer;
mod listen;
mod main_loop;
mod older_flows;
mod options;
mod pace;
mod page;
mod pod_addresses;
mod pod_starts;
mod problems;
mod protection;
mod publish;
mod reconciler;
mod records;
mod rejections;
mod rejector;
mod retired_counters;
mod run;
mod sandboxes;
mod seen_flows;
mod shared;
mod shared_counters;
mod snapshot;
mod source;
mod source_thread;
mod thread;
mod trace;
mod wakeups;
mod watchdog;

pub use flow_log::FlowLogTarget;
pub use options::{Attach, KubeWriteOptions, Listeners, Options, SourceOptions, UnknownPod};
pub use reconciler::{Reconciled, Reconciler};
pub use run::run;
pub use shared::Shared;
pub use source::Observable;
