//! Creation of Kubernetes Events.
//!
//! All nodes with a pod that a policy selects have the same finding on it. So the name of an Event
//! follows from the policy and the finding: the first node creates the Event, and the others find that it
//! exists. The API server deletes Events after an hour; a finding that still holds then is reported
//! again with the next change.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::mpsc;

use super::finding::{Finding, Reason};

/// The number of Events that may wait; more are tried again later.
const WAITING: usize = 64;
/// The time between two Events.
const PACE: Duration = Duration::from_secs(1);
/// The time that the API server keeps an Event by default.
const KEPT: Duration = Duration::from_secs(3600);
/// The longest note of an Event, in bytes.
const LONGEST: usize = 1024;
/// The longest name of an object, in bytes.
const LONGEST_NAME: usize = 253;

/// The results of the Events.
#[derive(Debug, Default)]
pub struct EventCounts {
    /// Created.
    pub posted: AtomicU64,
    /// Another node had created the same Event.
    pub existing: AtomicU64,
    /// Not created: the server can't be reached, or does not allow it.
    pub failed: AtomicU64,
    /// Put off because too many waited.
    pub put_off: AtomicU64,
}

/// Reports each finding once an hour.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Sender<Finding>,
    reported: BTreeMap<Finding, Instant>,
    counts: Arc<EventCounts>,
}

impl Events {
    /// Starts a task that creates the Events of this node.
    #[must_use]
    pub fn new(client: Client, node_name: String) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let counts = Arc::new(EventCounts::default());
        tokio::spawn(post_all(client, node_name, waiting, Arc::clone(&counts)));
        Self { queue, reported: BTreeMap::new(), counts }
    }

    /// The results of the Events.
    #[must_use]
    pub fn counts(&self) -> Arc<EventCounts> {
        Arc::clone(&self.counts)
    }

    /// Reports the present findings, except those that were reported within the last hour.
    pub fn report(&mut self, findings: BTreeSet<Finding>, now: Instant) {
        self.reported.retain(|_, since| now.saturating_duration_since(*since) < KEPT);
        for finding in findings {
            if self.reported.contains_key(&finding) {
                continue;
            }
            if self.queue.try_send(finding.clone()).is_ok() {
                self.reported.insert(finding, now);
            } else {
                self.counts.put_off.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

async fn post_all(
    client: Client,
    node_name: String,
    mut waiting: mpsc::Receiver<Finding>,
    counts: Arc<EventCounts>,
) {
    while let Some(finding) = waiting.recv().await {
        let count = match post(&client, &node_name, &finding).await {
            Ok(true) => &counts.posted,
            Ok(false) => &counts.existing,
            Err(error) => {
                tracing::debug!(policy = %finding.policy, "cannot create an Event: {error}");
                &counts.failed
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PACE).await;
    }
}

/// Creates an Event. Returns false if it exists.
async fn post(client: &Client, node_name: &str, finding: &Finding) -> kube::Result<bool> {
    let namespace = &finding.policy.namespace;
    let policies: Api<NetworkPolicy> = Api::namespaced(client.clone(), namespace);
    let policy = policies.get_metadata(&finding.policy.name).await?.metadata;
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let event = event(finding, &policy, node_name, Timestamp::now());
    match events.create(&PostParams::default(), &event).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

fn event(finding: &Finding, policy: &ObjectMeta, node_name: &str, now: Timestamp) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(name(finding, policy.uid.as_deref().unwrap_or_default())),
            namespace: Some(finding.policy.namespace.to_string()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        reporting_controller: Some("enforcer".to_owned()),
        reporting_instance: Some(node_name.to_owned()),
        action: Some("Enforce".to_owned()),
        reason: Some(finding.reason.name().to_owned()),
        note: Some(cut(&finding.note, LONGEST).to_owned()),
        type_: Some("Warning".to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some("networking.k8s.io/v1".to_owned()),
            kind: Some("NetworkPolicy".to_owned()),
            namespace: Some(finding.policy.namespace.to_string()),
            name: Some(finding.policy.name.to_string()),
            uid: policy.uid.clone(),
            resource_version: policy.resource_version.clone(),
            ..ObjectReference::default()
        }),
        ..Event::default()
    }
}

/// The name of an Event, the same on each node. Mistakes have the same note everywhere; a policy that
/// does not fit is reported once, not once for each node.
fn name(finding: &Finding, uid: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (uid, finding.reason).hash(&mut hasher);
    if finding.reason == Reason::Mistake {
        finding.note.hash(&mut hasher);
    }
    let digest = format!(".{:016x}", hasher.finish());
    let policy = cut(&finding.policy.name, LONGEST_NAME - digest.len());
    format!("{}{digest}", policy.trim_end_matches(['.', '-']))
}

/// The longest prefix of a text that fits.
fn cut(text: &str, bytes: usize) -> &str {
    let fits = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..fits.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::{Method, Request, Response};
    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;
    use enforcer_core::model::PolicyId;

    fn finding(reason: Reason, note: &str) -> Finding {
        Finding { policy: PolicyId::new("a", "web"), reason, note: note.to_owned() }
    }

    #[test]
    fn names_are_the_same_on_each_node() {
        let mistake = finding(Reason::Mistake, "x");
        assert_eq!(name(&mistake, "u"), name(&mistake.clone(), "u"));
        assert!(name(&mistake, "u").starts_with("web."));
        assert_ne!(name(&mistake, "u"), name(&mistake, "v"), "another policy of that name");
        assert_ne!(name(&mistake, "u"), name(&finding(Reason::Mistake, "y"), "u"));
        let misfit = |note| name(&finding(Reason::DoesNotFit, note), "u");
        assert_eq!(misfit("here"), misfit("there"));
        assert_ne!(misfit("x"), name(&mistake, "u"));
    }

    #[test]
    fn long_names_and_notes_fit() {
        let policy = PolicyId::new("a", "p.".repeat(126));
        let long = Finding { policy, reason: Reason::Mistake, note: "ü".repeat(1000) };
        let event = event(&long, &ObjectMeta::default(), "n", Timestamp::UNIX_EPOCH);
        let name = event.metadata.name.unwrap();
        assert!(name.len() <= 253 && !name.contains(".."), "{name}");
        assert_eq!(event.note.unwrap(), "ü".repeat(512));
    }

    /// A server with the policy a/web that accepts Events in that namespace.
    fn server() -> Client {
        let created = Arc::new(Mutex::new(BTreeSet::new()));
        let answer = move |request: Request<Body>| {
            let created = Arc::clone(&created);
            async move {
                let (head, body) = request.into_parts();
                let is_policy = head.uri.path().ends_with("/namespaces/a/networkpolicies/web");
                let bytes = body.collect().await.unwrap().to_bytes();
                let event: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                let new = || {
                    let name = event["metadata"]["name"].as_str().unwrap_or_default();
                    created.lock().unwrap().insert(name.to_owned())
                };
                let (code, answer) = match head.method {
                    Method::GET if is_policy => (200, json!({"metadata": {"uid": "u"}})),
                    Method::GET => (404, json!({"code": 404})),
                    _ if event["regarding"]["uid"] != "u" => (400, json!({"code": 400})),
                    _ if new() => (201, event),
                    _ => (409, json!({"code": 409})),
                };
                let body = Body::from(answer.to_string().into_bytes());
                Response::builder().status(code).body(body)
            }
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_node_creates_the_event_and_others_find_it() {
        let client = server();
        let gone = Finding { policy: PolicyId::new("a", "gone"), ..finding(Reason::Mistake, "x") };
        let both = BTreeSet::from([finding(Reason::Mistake, "x"), gone]);
        let counts = ["one", "two", "three"].map(|node| {
            let mut events = Events::new(client.clone(), node.to_owned());
            events.report(both.clone(), Instant::now());
            events.counts()
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        let sum = |of: fn(&EventCounts) -> &AtomicU64| {
            counts.iter().map(|it| of(it).load(Ordering::Relaxed)).sum::<u64>()
        };
        let sums = [sum(|it| &it.posted), sum(|it| &it.existing), sum(|it| &it.failed)];
        assert_eq!((sums, sum(|it| &it.put_off)), ([1, 2, 3], 0));
    }

    #[tokio::test]
    async fn a_finding_is_reported_once_an_hour() {
        let (queue, mut waiting) = mpsc::channel(1);
        let counts = Arc::default();
        let mut events = Events { queue, reported: BTreeMap::new(), counts };
        let (one, two) = (finding(Reason::Mistake, "1"), finding(Reason::Mistake, "2"));
        let now = Instant::now();
        let both = || BTreeSet::from([one.clone(), two.clone()]);
        events.report(both(), now);
        assert_eq!(waiting.try_recv().ok(), Some(one.clone()));
        assert_eq!(events.counts.put_off.load(Ordering::Relaxed), 1);
        events.report(both(), now);
        assert_eq!(waiting.try_recv().ok(), Some(two.clone()));
        events.report(both(), now + KEPT / 2);
        assert!(waiting.try_recv().is_err());
        events.report(BTreeSet::from([one.clone()]), now + KEPT);
        assert_eq!(waiting.try_recv().ok(), Some(one));
    }
}
