//! The lab (namespaces as nodes and pods), and what the project's tests share.

pub mod api;
pub mod bench;
pub mod command;
pub mod failure;
pub mod frame;
pub mod generate;
mod host;
pub mod lab;
pub mod matrix;
pub mod probe;
pub mod rig;
pub mod runtime;
pub mod session;
pub mod vm;
