//! Kubernetes Events on policies.
//!
//! Every node that runs a pod which a policy selects has the same to say about it. So an Event's
//! name follows from the policy and what is said: the first node to say it makes the Event, and the
//! others find it there. The API server forgets Events after an hour; what still holds then is said
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

/// How many Events wait at most for being sent; more are tried again later.
const WAITING: usize = 64;
/// The time between two.
const PACE: Duration = Duration::from_secs(1);
/// For how long the API server keeps an Event, unless told otherwise.
const KEPT: Duration = Duration::from_secs(3600);
/// Bytes that an Event's note may have.
const LONGEST: usize = 1024;
/// Bytes that an object's name may have.
const LONGEST_NAME: usize = 253;

/// What became of the Events.
#[derive(Debug, Default)]
pub struct EventCounts {
    /// Made.
    pub posted: AtomicU64,
    /// Another node had made the same.
    pub existing: AtomicU64,
    /// Not made: the server can't be reached, or does not allow it.
    pub failed: AtomicU64,
    /// Put off, because too many waited.
    pub put_off: AtomicU64,
}

/// Says things once.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Sender<Finding>,
    said: BTreeMap<Finding, Instant>,
    counts: Arc<EventCounts>,
}

impl Events {
    /// Events of this node's agent; they are sent by a task of their own.
    #[must_use]
    pub fn new(client: Client, node_name: String, counts: Arc<EventCounts>) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        tokio::spawn(post_all(client, node_name, waiting, Arc::clone(&counts)));
        Self { queue, said: BTreeMap::new(), counts }
    }

    /// Says what holds at present, unless that was said a short while ago.
    pub fn say(&mut self, findings: BTreeSet<Finding>, now: Instant) {
        self.said.retain(|_, since| now.saturating_duration_since(*since) < KEPT);
        for finding in findings {
            if self.said.contains_key(&finding) {
                continue;
            }
            if self.queue.try_send(finding.clone()).is_ok() {
                self.said.insert(finding, now);
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
                tracing::debug!(policy = %finding.policy, "cannot make an Event: {error}");
                &counts.failed
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PACE).await;
    }
}

/// Makes an Event; whether there was none yet.
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
            namespace: Some(finding.policy.namespace.clone()),
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
            namespace: Some(finding.policy.namespace.clone()),
            name: Some(finding.policy.name.clone()),
            uid: policy.uid.clone(),
            resource_version: policy.resource_version.clone(),
            ..ObjectReference::default()
        }),
        ..Event::default()
    }
}

/// The same on each node: a mistake reads the same everywhere, and that a policy does not fit need
/// not be said of each node.
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

/// As much of a text as fits.
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

    /// A server with the policy a/web where Events can be made in that namespace.
    fn server() -> Client {
        let made = Arc::new(Mutex::new(BTreeSet::new()));
        let answer = move |request: Request<Body>| {
            let made = Arc::clone(&made);
            async move {
                let (head, body) = request.into_parts();
                let is_policy = head.uri.path().ends_with("/namespaces/a/networkpolicies/web");
                let bytes = body.collect().await.unwrap().to_bytes();
                let event: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                let new = || {
                    let name = event["metadata"]["name"].as_str().unwrap_or_default();
                    made.lock().unwrap().insert(name.to_owned())
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
    async fn the_first_node_makes_the_event_and_others_find_it() {
        let (client, counts) = (server(), Arc::new(EventCounts::default()));
        let gone = Finding { policy: PolicyId::new("a", "gone"), ..finding(Reason::Mistake, "x") };
        let both = BTreeSet::from([finding(Reason::Mistake, "x"), gone]);
        for node in ["one", "two", "three"] {
            let (client, counts) = (client.clone(), Arc::clone(&counts));
            Events::new(client, node.to_owned(), counts).say(both.clone(), Instant::now());
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        let counts = [&counts.posted, &counts.existing, &counts.failed, &counts.put_off];
        assert_eq!(counts.map(|it| it.load(Ordering::Relaxed)), [1, 2, 3, 0]);
    }

    #[tokio::test]
    async fn what_holds_is_said_once_an_hour() {
        let (queue, mut waiting) = mpsc::channel(1);
        let counts = Arc::new(EventCounts::default());
        let mut events = Events { queue, said: BTreeMap::new(), counts: Arc::clone(&counts) };
        let (one, two) = (finding(Reason::Mistake, "1"), finding(Reason::Mistake, "2"));
        let now = Instant::now();
        let both = || BTreeSet::from([one.clone(), two.clone()]);
        events.say(both(), now);
        assert_eq!(waiting.try_recv().ok(), Some(one.clone()));
        assert_eq!(counts.put_off.load(Ordering::Relaxed), 1);
        events.say(both(), now);
        assert_eq!(waiting.try_recv().ok(), Some(two.clone()));
        events.say(both(), now + KEPT / 2);
        assert!(waiting.try_recv().is_err());
        events.say(BTreeSet::from([one.clone()]), now + KEPT);
        assert_eq!(waiting.try_recv().ok(), Some(one));
    }
}
