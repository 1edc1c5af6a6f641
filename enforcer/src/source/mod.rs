//! Where the cluster's state comes from.
//!
//! [`convert`] turns Kubernetes objects into the model, purely; [`manifests`] reads them from
//! files and watches those; [`render`] writes a model out as manifests.

pub mod convert;
pub mod manifests;
pub mod render;
