//! Generators of small, adversarial clusters, and of the addresses and traffic to test them with.
//!
//! They use few labels, subnets and ports, so that selectors match, blocks overlap pods and ranges
//! touch far more often than in a real cluster. Frames belong to [`frame`](crate::frame).
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
mod size;
mod smaller;

use std::collections::BTreeSet;

use enforcer_core::model::{Cluster, PodId};
use proptest::collection::{btree_set, vec};
use proptest::strategy::Strategy;

pub use pod::NODE;
pub use probe::{addresses, traffic};
pub use size::Size;
pub use smaller::smaller;

/// Clusters of the default size.
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

/// The pods of [`NODE`], whether or not policies apply to them.
pub fn local(cluster: &Cluster) -> BTreeSet<PodId> {
    let here = cluster.pods.values().filter(|pod| pod.node.as_deref() == Some(NODE));
    here.map(|pod| pod.id.clone()).collect()
}
