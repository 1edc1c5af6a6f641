//! Where the cluster's state comes from.
//!
//! [`convert`] turns Kubernetes objects into the model, purely; [`manifests`] reads them from
//! files and watches those, [`kubernetes`] watches an API server; [`render`] writes a model out as
//! manifests.

pub mod convert;
pub mod kubernetes;
pub mod manifests;
pub mod render;
mod typed;
mod update;

pub use update::{Remark, Remarks, Update};
