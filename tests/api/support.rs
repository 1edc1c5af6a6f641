//! A server with a client, and the state that kube's watcher reports.

use std::collections::BTreeMap;
use std::time::Duration;

use enforcer_tests::api::{ApiServer, Kind, Listening, kinds};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::watcher::{self, Event};
use kube::{Client, Config};
use serde_json::{Value, json};

/// Ample; only a failing test waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A listening server and a client.
pub(crate) struct Stage {
    pub server: ApiServer,
    pub listening: Listening,
    pub client: Client,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::of(ApiServer::new().unwrap())
    }

    pub(crate) fn of(server: ApiServer) -> Self {
        let listening = server.listen_on_loopback(0).unwrap();
        let url = format!("http://{}", listening.address());
        let client = Client::try_from(Config::new(url.parse().unwrap())).unwrap();
        Self { server, listening, client }
    }

    /// kube's client for all objects of a kind.
    pub(crate) fn api(&self, kind: &Kind) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &resource(kind))
    }

    pub(crate) fn api_in(&self, kind: &Kind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &resource(kind))
    }

    /// Creates pods `default/NAME`.
    pub(crate) fn pods(&self, names: &[&str]) {
        for name in names {
            self.server.store().create(&kinds::PODS, "default", pod(name)).unwrap();
        }
    }

    pub(crate) fn label(&self, name: &str, value: &str) {
        let key = enforcer_tests::api::Key::new("default", name);
        let edit = |pod: &mut Value| pod["metadata"]["labels"]["at"] = value.into();
        assert!(self.server.store().edit(&kinds::PODS, &key, edit));
    }

    pub(crate) fn follow(&self, kind: &Kind, config: watcher::Config) -> Follower {
        Follower::new(self.api(kind), config)
    }
}

fn resource(kind: &Kind) -> ApiResource {
    let gvk = GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
    ApiResource::from_gvk_with_plural(&gvk, kind.plural)
}

pub(crate) fn pod(name: &str) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "containers": [{ "name": "main", "image": "example.org/main" }] },
    })
}

/// The state that kube's watcher reports for a kind.
pub(crate) struct Follower {
    events: BoxStream<'static, Result<Event<DynamicObject>, watcher::Error>>,
    /// The objects' label `at`, empty if missing, by `namespace/name`.
    pub known: BTreeMap<String, String>,
    /// The objects of an incomplete list.
    listed: BTreeMap<String, String>,
    /// The watcher's errors.
    pub errors: Vec<String>,
    /// The number of complete lists.
    pub lists: usize,
}

impl Follower {
    pub(crate) fn new(api: Api<DynamicObject>, config: watcher::Config) -> Self {
        Self {
            events: watcher::watcher(api, config).boxed(),
            known: BTreeMap::new(),
            listed: BTreeMap::new(),
            errors: Vec::new(),
            lists: 0,
        }
    }

    /// Follows until the condition holds.
    pub(crate) async fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let followed = async {
            while !condition(self) {
                self.one().await;
            }
        };
        let done = tokio::time::timeout(PATIENCE, followed).await.is_ok();
        assert!(done, "never {what}: {:?}, {:?}", self.known, self.errors);
    }

    /// Follows until exactly these objects are known, in the namespace `default`.
    pub(crate) async fn until_known(&mut self, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|it| format!("default/{it}")).collect();
        self.until(&format!("exactly {names:?}"), |it| {
            it.lists > 0 && it.known.keys().eq(names.iter())
        })
        .await;
    }

    /// Follows for a while.
    pub(crate) async fn during(&mut self, time: Duration) {
        let forever = async {
            loop {
                self.one().await;
            }
        };
        let _: Result<std::convert::Infallible, _> = tokio::time::timeout(time, forever).await;
    }

    async fn one(&mut self) {
        match self.events.try_next().await {
            Ok(Some(event)) => self.take(event),
            Ok(None) => panic!("the watcher ended"),
            Err(error) => {
                self.errors.push(format!("{error:?}"));
                // The watcher retries without a pause.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    fn take(&mut self, event: Event<DynamicObject>) {
        let entry = |object: &DynamicObject| {
            let meta = &object.metadata;
            let namespace = meta.namespace.as_deref().unwrap_or_default();
            let label = meta.labels.as_ref().and_then(|it| it.get("at"));
            let name = meta.name.as_deref().unwrap_or_default();
            (format!("{namespace}/{name}"), label.cloned().unwrap_or_default())
        };
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(object) => self.listed.extend([entry(&object)]),
            Event::InitDone => {
                self.lists += 1;
                self.known = std::mem::take(&mut self.listed);
            }
            Event::Apply(object) => self.known.extend([entry(&object)]),
            Event::Delete(object) => drop(self.known.remove(&entry(&object).0)),
        }
    }
}
