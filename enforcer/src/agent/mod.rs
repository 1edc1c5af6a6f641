//! The running agent: sources and the node's interfaces in, tables and programs out.
//!
//! One loop takes small changes, applies them to the cluster's state, and once all sources have
//! shown everything (semantics C4) lets the [`Engine`] carry them to the kernel. Pods that the
//! container runtime is about to start wait for that ([`crate::nri`]).

mod accounts;
mod announcer;
mod engine;
mod flows;
mod heart;
mod homes;
mod listen;
mod observed;
mod owners;
mod problems;
mod run;
mod sandboxes;
mod source;
mod starts;

pub use engine::{Engine, EngineError, Reconciled};
pub use listen::Listeners;
pub use observed::SharedEngine;
pub use owners::UnknownPod;
pub use run::{Attach, Options, run};
pub use source::{AnnounceOptions, Observable, SourceOptions};
