//! The source from which the lab and its agents read the states of the cases.

use std::collections::BTreeMap;
use std::path::PathBuf;

use enforcer::observe::Status;
use enforcer_tests::api::{Key, Kind, Store, kinds};
use enforcer_tests::session::Session;
use serde_json::{Value, json};

use crate::world::TURN;

/// The source of the cluster for the lab and its agents.
pub(crate) enum Feed {
    /// A folder of manifests.
    Manifests(PathBuf),
    /// An API server.
    Api(ApiFeed),
}

impl Feed {
    /// Whether an agent knows all objects.
    pub(crate) fn is_known(&self, status: &Status) -> bool {
        match self {
            Self::Manifests(_) => true,
            Self::Api(api) => {
                let all = [&kinds::NAMESPACES, &kinds::PODS, &kinds::NETWORK_POLICIES];
                let there = all.map(|kind| api.store.all(kind).len() as u64);
                [status.namespaces, status.pods, status.policies] == there
            }
        }
    }
}

/// The objects of an API server, of which only those change that differ.
pub(crate) struct ApiFeed {
    store: Store,
    given: BTreeMap<(&'static str, Key), Value>,
}

impl ApiFeed {
    pub(crate) fn new(store: Store) -> Self {
        let canaries = json!({ "metadata": { "name": "canary" } });
        store.create(&kinds::NAMESPACES, "", canaries).unwrap();
        Self { store, given: BTreeMap::new() }
    }

    /// Stores exactly these objects. Watches of different kinds have no common order, so the
    /// alternating object of each kind comes last, for pods after all have their addresses.
    pub(crate) async fn give(
        &mut self,
        session: &mut Session,
        documents: Vec<Value>,
    ) -> Vec<String> {
        self.of_kind(&kinds::NAMESPACES, &documents, |_| true);
        self.of_kind(&kinds::PODS, &documents, |pod| !alternates(pod));
        if self.given.keys().all(|(plural, key)| *plural != "pods" || key.namespace != "canary") {
            self.of_kind(&kinds::PODS, &documents, |_| true);
        }
        let notes = session.run_pods().await.unwrap();
        self.of_kind(&kinds::PODS, &documents, |_| true);
        self.of_kind(&kinds::NETWORK_POLICIES, &documents, |_| true);
        notes
    }

    /// Stores the objects of a kind; those that are not chosen stay unchanged.
    fn of_kind(
        &mut self,
        kind: &'static Kind,
        documents: &[Value],
        chosen: impl Fn(&Value) -> bool,
    ) {
        let of_kind = documents.iter().filter(|it| it["kind"] == kind.kind);
        let wanted: Vec<(Key, &Value)> = of_kind.map(|it| (key(it), it)).collect();
        let is_wanted = |key: &Key| wanted.iter().any(|(it, _)| it == key);
        let gone =
            self.given.keys().filter(|(plural, key)| *plural == kind.plural && !is_wanted(key));
        let gone: Vec<_> = gone.cloned().collect();
        for (plural, key) in gone {
            self.store.remove(kind, &key).unwrap();
            self.given.remove(&(plural, key));
        }
        for (key, object) in wanted.iter().filter(|(_, object)| chosen(object)) {
            let place = (kind.plural, key.clone());
            if self.given.get(&place) == Some(*object) {
                continue;
            }
            if object["status"].is_null() {
                self.store.apply_object((*object).clone()).unwrap();
            } else {
                // A pod elsewhere: the lab does not report its status.
                self.store.put(kind, (*object).clone()).unwrap();
            }
            self.given.insert(place, (*object).clone());
        }
    }
}

fn alternates(pod: &Value) -> bool {
    !pod["metadata"]["labels"][TURN].is_null()
}

fn key(object: &Value) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    Key::new(text("namespace"), text("name"))
}
