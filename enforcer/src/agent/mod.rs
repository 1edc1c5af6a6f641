//! The running agent: sources and the node's interfaces in, tables and programs out.
//!
//! One loop takes small changes, applies them to the cluster's state, and once all sources have
//! shown everything (semantics C4) lets the [`Reconciler`] carry them to the kernel. Pods that the
//! container runtime is about to start wait for that ([`crate::nri`]).

mod claims;
mod flows;
mod kube_writer;
mod listen;
mod pod_starts;
mod problems;
mod reconciler;
mod retired_counters;
mod run;
mod sandboxes;
mod snapshot;
mod source;
mod watchdog;

pub use claims::UnknownPod;
pub use listen::Listeners;
pub use reconciler::{ReconcileError, Reconciled, Reconciler};
pub use run::{Attach, Options, run};
pub use snapshot::SharedReconciler;
pub use source::{KubeWriteOptions, Observable, SourceOptions};
