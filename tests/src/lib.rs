//! The lab (network namespaces as nodes and pods), and the tools shared by the tests.
//!
//! - `lab`, `probe`, `matrix`, `session`, `command`: the lab, connections in it, their table, the
//!   lab with its agents, and the program `enforcer-lab`;
//! - `api`, `runtime`: stand-ins for the Kubernetes API server and the container runtime;
//! - `generate`, `frame`, `rig`, `failure`: generated clusters and packets, the loaded programs;
//! - `simulator`: the programs, interpreted, to count what they do;
//! - `soak`: the agent under churn, kills, floods and traffic together;
//! - `bench`, `vm`: benchmarks, and the tests in virtual machines.
//!
//! Tests themselves are in the folders beside `src`, except unit tests of these tools.

pub mod api;
pub mod bench;
pub mod command;
pub mod documents;
pub mod failure;
pub mod frame;
pub mod generate;
mod host;
pub mod lab;
pub mod matrix;
pub mod probe;
pub mod render;
pub mod rig;
pub mod runtime;
pub mod session;
pub mod simulator;
pub mod soak;
pub mod vm;

pub use host::{at_once, patient, sibling};
