//! Where the cluster's state comes from.
//!
//! [`convert`] turns Kubernetes objects into the model, purely; [`manifests`] reads them from
//! files and watches those, [`kubernetes`] watches an API server.

pub mod convert;
pub mod kubernetes;
pub mod manifests;
mod typed;
mod update;

pub use update::{Remark, Remarks, Update};
