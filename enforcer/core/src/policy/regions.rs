//! Nested blocks: the grants of prefixes, and which prefixes the result needs.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::grants::{GrantId, Grants};
use super::terms::extent;
use crate::model::Block;

/// Everything that begins or ends at a prefix. Prefixes nest or are disjoint, so all addresses of
/// a prefix that are in no longer prefix are alike.
#[derive(Debug, Default)]
struct Mark {
    /// The grants of the blocks that are this prefix.
    cidrs: Vec<GrantId>,
    /// The grants of the blocks that except this prefix.
    excepts: Vec<GrantId>,
    /// The grant of the pods with this address.
    host: Option<GrantId>,
    /// Whether this is one of the node's own addresses.
    node: bool,
}

/// A prefix that contains the current one.
struct Region {
    prefix: IpNet,
    /// The number of blocks of each grant that match its addresses.
    blocks: BTreeMap<GrantId, usize>,
    /// Their grant together.
    grant: GrantId,
}

/// The prefixes and their grants, by longest prefix. Prefixes with the same grant as the next
/// shorter one are left out, except for the node's own addresses.
pub(super) fn addresses(
    blocks: &[(&Block, GrantId)],
    hosts: impl IntoIterator<Item = (IpNet, GrantId)>,
    node: &BTreeSet<IpNet>,
    grants: &mut Grants,
) -> BTreeMap<IpNet, GrantId> {
    let mut addresses = BTreeMap::new();
    // Regions that contain the current prefix, longest last.
    let mut around: Vec<Region> = Vec::new();
    // In order: each prefix follows all those that contain it.
    for (prefix, mark) in marks(blocks, hosts, node) {
        while around.last().is_some_and(|it| !it.prefix.contains(&prefix)) {
            around.pop();
        }
        let outer = around.last();
        let outside = outer.map_or(GrantId::NONE, |it| it.grant);
        let mut inside = outside;
        if !mark.cidrs.is_empty() || !mark.excepts.is_empty() {
            let region = region(prefix, outer, &mark, grants);
            inside = region.grant;
            around.push(region);
        }
        // A pod's address in a block has both grants (semantics R6).
        let grant = grants.union(inside, mark.host.unwrap_or(GrantId::NONE));
        if grant != outside || mark.node {
            addresses.insert(prefix, grant);
        }
    }
    addresses
}

fn marks(
    blocks: &[(&Block, GrantId)],
    hosts: impl IntoIterator<Item = (IpNet, GrantId)>,
    node: &BTreeSet<IpNet>,
) -> BTreeMap<IpNet, Mark> {
    let mut marks: BTreeMap<IpNet, Mark> = BTreeMap::new();
    for (host, grant) in hosts {
        marks.entry(host).or_default().host = Some(grant);
    }
    for address in node {
        marks.entry(*address).or_default().node = true;
    }
    for (block, grant) in blocks {
        let Some((cidr, excepts)) = extent(block) else { continue };
        marks.entry(cidr).or_default().cidrs.push(*grant);
        for except in excepts {
            marks.entry(except).or_default().excepts.push(*grant);
        }
    }
    marks
}

/// The blocks that match the prefix: those around it, without those that except it, and those that
/// are this prefix (semantics R5: an exception subtracts from its own block only).
fn region(prefix: IpNet, outer: Option<&Region>, mark: &Mark, grants: &mut Grants) -> Region {
    let mut blocks = outer.map(|it| it.blocks.clone()).unwrap_or_default();
    // A block's exceptions are disjoint and within the block, so each ends the block once.
    for grant in &mark.excepts {
        if let Some(count) = blocks.get_mut(grant) {
            *count -= 1;
        }
    }
    for grant in &mark.cidrs {
        *blocks.entry(*grant).or_default() += 1;
    }
    blocks.retain(|_, count| *count > 0);
    let grant = grants.sum(blocks.keys().copied());
    Region { prefix, blocks, grant }
}
