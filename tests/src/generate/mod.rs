//! Generated clusters, small and adversarial, and the questions worth asking about them.
//!
//! Few labels, few subnets and few ports, so that selectors hit, blocks overlap pods and ranges
//! touch far more often than chance in a real cluster would have it.
//!
//! ```
//! use enforcer_tests::generate;
//! use proptest::strategy::{Strategy, ValueTree};
//! use proptest::test_runner::TestRunner;
//!
//! let mut runner = TestRunner::deterministic();
//! let cluster = generate::cluster().new_tree(&mut runner).unwrap().current();
//! for address in generate::addresses(&cluster) {
//!     for traffic in generate::traffic(&cluster) {
//!         // Ask for the verdict of every pod of generate::local(&cluster).
//!     }
//! }
//! ```

mod address;
mod label;
mod pod;
mod policy;
mod probe;
mod smaller;

use std::collections::BTreeSet;

use enforcer_core::model::{Cluster, PodId};
use proptest::collection::{btree_set, vec};
use proptest::strategy::Strategy;

pub use probe::{addresses, traffic};
pub use smaller::smaller;

/// The name of the node whose pods are local.
pub const NODE: &str = "node-here";

/// How large the clusters are; each number is the most of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Pods of all nodes.
    pub pods: usize,
    /// Policies.
    pub policies: usize,
    /// Rules of a policy in one direction.
    pub rules: usize,
    /// Peers of a rule, and ports of a rule.
    pub entries: usize,
}

impl Size {
    /// What one can read: for failures that shall be understood at once.
    pub const TINY: Self = Self { pods: 4, policies: 2, rules: 1, entries: 2 };
    /// Enough for every rule to meet every other.
    pub const SMALL: Self = Self { pods: 12, policies: 8, rules: 2, entries: 3 };
    /// Many columns, rows and port sets.
    pub const LARGE: Self = Self { pods: 60, policies: 30, rules: 3, entries: 4 };
}

/// Clusters of the usual size.
pub fn cluster() -> impl Strategy<Value = Cluster> {
    size(Size::SMALL)
}

/// Clusters up to this size.
pub fn size(size: Size) -> impl Strategy<Value = Cluster> {
    let namespaces = pod::namespaces();
    let pods = vec(pod::pod(), 0..=size.pods);
    let policies = vec(policy::policy(size), 0..=size.policies);
    let node_addresses = btree_set(address::node(), 0..=3);
    (namespaces, pods, policies, node_addresses).prop_map(
        |(namespaces, pods, policies, node_addresses)| Cluster {
            namespaces: namespaces.into_iter().map(|it| (it.name.clone(), it)).collect(),
            pods: pod::numbered(pods),
            policies: policy::numbered(policies),
            node_addresses,
            ..Cluster::default()
        },
    )
}

/// The pods of [`NODE`], subjects or not.
#[must_use]
pub fn local(cluster: &Cluster) -> BTreeSet<PodId> {
    let here = cluster.pods.values().filter(|pod| pod.node.as_deref() == Some(NODE));
    here.map(|pod| pod.id.clone()).collect()
}
