//! A Kubernetes API server for tests: real HTTP, for real clients, with faults on demand.
//!
//! It stores the objects that concern NetworkPolicy (pods, namespaces, policies, Services, nodes,
//! endpoints, events) and supports the requests of kube's clients and `kubectl`: discovery, paged
//! lists, watches with bookmarks, patches, tables, schemas, exec, logs, portforward. What is missing is answered
//! with "not in this lab". There is no authentication; requests are
//! recorded in a [`Journal`].
//!
//! Here belongs only what a real API server does. What a cluster's controllers and kubelets do
//! with the objects belongs to [`session`](crate::session).
//!
//! ```text
//!   client ── HTTP ──► server ──► request ──► read, watching, write, delete ──► store
//!                        ▲                                                        │
//!                        └── reply, changed by faults ◄───────────────────────────┘
//! ```

mod absent;
mod admission;
mod assign;
mod body;
mod delete;
mod dictionary;
mod discovery;
mod exec;
mod faults;
mod journal;
mod key;
pub mod kinds;
mod kubeconfig;
mod logs;
mod manifests;
mod names;
mod object;
mod patch;
mod portforward;
mod protobuf;
mod read;
mod replay;
mod reply;
mod request;
mod schema;
mod selector;
mod server;
mod spdy;
mod status;
mod store;
mod strategic;
mod table;
mod tunnel;
mod typed;
mod watching;
mod workloads;
mod write;

pub use discovery::MINOR;
pub use exec::Executor;
pub use faults::{Fault, Faults, Hits, Rule};
pub use journal::Journal;
pub use key::Key;
pub use kinds::Kind;
pub use kubeconfig::{kubectl, write as write_kubeconfig};
pub use logs::{Lines, Logger};
pub use manifests::ManifestError;
pub(crate) use object::now;
pub use portforward::Forwarder;
pub use replay::{Replay, ReplayError};
pub use request::Verb;
pub use server::{ApiServer, Listening};
pub use status::Refusal;
pub use store::Store;
