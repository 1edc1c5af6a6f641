//! The running agent: sources and the node's interfaces in, tables and programs out.
//!
//! One loop takes small changes, applies them to the cluster's state, and once all sources have
//! shown everything (semantics C4) lets the [`Engine`] carry them to the kernel.

mod engine;
mod flows;
mod homes;
mod observed;
mod owners;
mod run;

pub use engine::{Engine, EngineError, Reconciled};
pub use observed::SharedEngine;
pub use owners::UnknownPod;
pub use run::{Options, SourceOptions, run};
