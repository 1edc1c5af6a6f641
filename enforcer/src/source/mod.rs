//! Sources of the cluster's state.
//!
//! [`convert`] turns Kubernetes objects into the model, purely; [`manifests`] reads them from
//! files and watches those, [`kubernetes`] watches an API server. Both send [`Update`]s. What the
//! agent makes of them does not belong here.

pub mod convert;
pub mod kubernetes;
pub mod manifests;
pub(crate) mod nearest;
mod remark;
mod typed;
mod update;

pub use remark::{Remark, Remarks, Severity};
pub use update::Update;
