//! Which namespaces are in audit: when that changes, so does the effect of all their policies.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::touched::Touched;
use crate::model::{Cluster, PolicyId};

/// What the last update found in audit as a whole.
#[derive(Debug, Default)]
pub(super) struct Audits {
    everything: bool,
    namespaces: BTreeSet<String>,
}

impl Audits {
    /// What was touched, and the policies of namespaces that are newly in audit or no longer.
    pub(super) fn with_policies<'a>(
        &mut self,
        cluster: &Cluster,
        touched: &'a Touched,
    ) -> Cow<'a, Touched> {
        let mut all = Cow::Borrowed(touched);
        if std::mem::replace(&mut self.everything, cluster.audit) != cluster.audit {
            all.to_mut().policies.extend(cluster.policies.keys().cloned());
        }
        for name in &touched.namespaces {
            let is_in_audit = cluster.namespaces.get(name).is_some_and(|it| it.audit);
            let changed = match is_in_audit {
                true => self.namespaces.insert(name.clone()),
                false => self.namespaces.remove(name),
            };
            if changed {
                let policies = cluster.policies.range(PolicyId::new(name.as_str(), "")..);
                let own = policies.map(|(id, _)| id).take_while(|id| id.namespace == *name);
                all.to_mut().policies.extend(own.cloned());
            }
        }
        all
    }
}
