//! A Kubernetes API server for tests: real HTTP, for real clients, with faults on demand.
//!
//! It keeps what NetworkPolicy is about (pods, namespaces, policies, Services, nodes, and what
//! belongs to these), and does with it what kube's clients and `kubectl` expect: discovery, lists
//! in pages, watches with bookmarks, patches, tables. Nobody is asked who they are; what they do
//! is written down in a [`Journal`].
//!
//! ```text
//!   client ── HTTP ──► server ──► request ──► read, watching, write ──► store
//!                        ▲                                                │
//!                        └── reply, spoilt by faults ◄────────────────────┘
//! ```

mod admission;
mod assign;
mod discovery;
mod exec;
mod faults;
mod journal;
pub mod kinds;
mod kubeconfig;
mod manifests;
mod names;
mod object;
mod patch;
mod protobuf;
mod read;
mod replay;
mod reply;
mod request;
mod selector;
mod server;
mod status;
mod store;
mod strategic;
mod table;
mod typed;
mod watching;
mod write;

pub use discovery::MINOR;
pub use exec::Executor;
pub use faults::{Fault, Faults, Hits, Rule};
pub use journal::{Entry, Journal};
pub use kinds::Kind;
pub use kubeconfig::{KUBECTL, kubectl, write as write_kubeconfig};
pub use manifests::ManifestError;
pub(crate) use object::now;
pub use replay::{Replay, ReplayError};
pub use request::Verb;
pub use server::{ApiServer, Listening};
pub use status::Refusal;
pub use store::{Key, Store};
