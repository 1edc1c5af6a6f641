//! The policy tables that trial programs ([`super::trial`]) share with the attached ones.

use std::os::fd::{AsFd as _, OwnedFd};

use aya::Ebpf;
use aya::maps::Map;
use enforcer_ebpf::contract::table;

use super::KernelError;

/// The tables with pods and policies, which programs only read.
pub(super) const POLICY: [&str; 12] = [
    table::TRIE4,
    table::TRIE6_NODES,
    table::TRIE6_LEAVES,
    table::NETWORKS6,
    table::PORTS,
    table::PORT_SETS,
    table::VERDICTS,
    table::INTERFACES,
    table::ENDPOINTS,
    table::SENDERS,
    table::EXTRA_ADDRESSES,
    table::POD_ADDRESSES,
];

/// A table that further programs may share.
pub(super) type SharedTable = (&'static str, OwnedFd);

/// Opens the policy tables a second time.
pub(super) fn shared_tables(ebpf: &Ebpf) -> Result<Vec<SharedTable>, KernelError> {
    let second = |name| {
        let Some(Map::Array(map) | Map::HashMap(map)) = ebpf.map(name) else {
            return Err(KernelError::NoTable(name));
        };
        let descriptor = map.fd().as_fd().try_clone_to_owned();
        Ok((name, descriptor.map_err(KernelError::table_call(name, "dup"))?))
    };
    // The trial programs only read these.
    POLICY.into_iter().chain([table::ORIGINS]).map(second).collect()
}
