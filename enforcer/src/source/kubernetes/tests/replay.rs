//! Recordings of a real API server, replayed in any order of the kinds, with interrupted watches and
//! lists.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::collect::Trackers;
use super::super::key::Key;
use super::super::object::{Outcome, Seen, Watched};
use super::super::tracker::Event;
use super::*;
use crate::source::convert::{self, Converted};
use enforcer_core::model::Change;

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!("../../../../tests-data/recordings/", $name))
    };
}

const LISTS: [(Kind, &str); 2] = [
    (Kind::Namespace, recorded!("list-before.namespaces.json")),
    (Kind::Service, recorded!("list-before.services.json")),
];
const WATCHES: [(Kind, &str); 4] = [
    (Kind::Namespace, recorded!("watch.namespaces.jsonl")),
    (Kind::Pod, recorded!("watch.pods.jsonl")),
    (Kind::Policy, recorded!("watch.networkpolicies.jsonl")),
    (Kind::Service, recorded!("watch.services.jsonl")),
];

/// The objects of a kind at each time, beginning with the first list.
struct History {
    kind: Kind,
    events: Vec<(bool, Value)>,
    times: Vec<BTreeMap<Key, Value>>,
}

fn key(object: &Value) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    Key::new(&text("namespace"), &text("name"))
}

impl History {
    fn read(kind: Kind) -> Self {
        let of = |all: &[(Kind, &'static str)]| all.iter().find(|it| it.0 == kind).map(|it| it.1);
        let list = of(&LISTS).map(|it| serde_json::from_str::<Value>(it).unwrap());
        let first = list.iter().flat_map(|it| it["items"].as_array().unwrap());
        let mut now: BTreeMap<Key, Value> = first.map(|it| (key(it), it.clone())).collect();
        let (mut events, mut times) = (Vec::new(), vec![now.clone()]);
        let lines = of(&WATCHES).unwrap().lines();
        for line in lines.map(|it| serde_json::from_str::<Value>(it).unwrap()) {
            let object = &line["object"];
            match line["type"].as_str().unwrap() {
                "BOOKMARK" => continue,
                "DELETED" => {
                    now.remove(&key(object)).unwrap();
                    events.push((false, object.clone()));
                }
                _ => {
                    now.insert(key(object), object.clone());
                    events.push((true, object.clone()));
                }
            }
            times.push(now.clone());
        }
        Self { kind, events, times }
    }

    fn seen(&self, object: &Value) -> Seen {
        fn read<K: kind::Watch>(object: &Value) -> Seen {
            serde_json::from_str::<Watched<K>>(&object.to_string()).unwrap().seen
        }
        match self.kind {
            Kind::Namespace => read::<Namespace>(object),
            Kind::Pod => read::<Pod>(object),
            Kind::Policy => read::<NetworkPolicy>(object),
            Kind::Service => read::<Service>(object),
            Kind::Node => read::<Node>(object),
        }
    }

    /// The conversion of the complete objects.
    fn cluster(&self, time: usize) -> Cluster {
        fn change<K: serde::de::DeserializeOwned, M>(
            object: &Value,
            convert: impl Fn(&K) -> Converted<M>,
            change: impl Fn(M) -> Change,
        ) -> Change {
            change(convert(&serde_json::from_value(object.clone()).unwrap()).value.unwrap())
        }
        let mut cluster = Cluster::default();
        for object in self.times[time].values() {
            cluster.apply(match self.kind {
                Kind::Namespace => change(object, convert::namespace, Change::Namespace),
                Kind::Pod => change(object, convert::pod, Change::Pod),
                Kind::Policy => change(object, convert::policy, Change::Policy),
                Kind::Service => change(object, convert::service, Change::Service),
                Kind::Node => continue,
            });
        }
        cluster
    }

    /// The events of the list at a time; an interrupted one has only some.
    fn list(&self, before: usize, time: usize, broken: Option<Index>) -> Vec<Step> {
        let objects: Vec<&Value> = self.times[time].values().collect();
        let count = broken.map_or(objects.len(), |it| it.index(objects.len() + 1));
        let then = Expected::Between(before, time);
        let mut steps = vec![(Event::Listing, then)];
        let seen = objects.iter().take(count).map(|it| self.seen(it));
        steps.extend(seen.map(|seen| (Event::Object(Box::new(seen)), then)));
        if broken.is_none() {
            steps.push((Event::Listed, Expected::At(time)));
        }
        steps
    }

    /// The events that a client receives if its watch is interrupted like this.
    fn received(&self, faults: &[(Index, Index, Option<Index>)]) -> Vec<Step> {
        let mut steps = self.list(0, 0, None);
        let end = self.events.len();
        let mut time = 0;
        for (duration, missed, broken) in faults {
            let until = time + duration.index(end - time + 1);
            self.watch(time..until, &mut steps);
            time = until + missed.index(end - until + 1);
            if broken.is_some() {
                steps.extend(self.list(until, time, *broken));
            }
            steps.extend(self.list(until, time, None));
        }
        self.watch(time..end, &mut steps);
        steps
    }

    fn watch(&self, times: std::ops::Range<usize>, steps: &mut Vec<Step>) {
        for time in times {
            let (is_there, object) = &self.events[time];
            let event = if *is_there {
                Event::Object(Box::new(self.seen(object)))
            } else {
                Event::Gone(key(object))
            };
            steps.push((event, Expected::At(time + 1)));
        }
    }
}

/// The expected cluster after an event.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// The objects at that time.
    At(usize),
    /// At least the objects of both times, and none of neither.
    Between(usize, usize),
}

type Step = (Event, Expected);

/// The cluster's objects of a kind.
fn only(kind: Kind, cluster: &Cluster) -> Cluster {
    let mut only = Cluster::default();
    match kind {
        Kind::Namespace => only.namespaces.clone_from(&cluster.namespaces),
        Kind::Pod => only.pods.clone_from(&cluster.pods),
        Kind::Policy => only.policies.clone_from(&cluster.policies),
        Kind::Service => only.services.clone_from(&cluster.services),
        Kind::Node => {}
    }
    only
}

fn names(cluster: &Cluster) -> std::collections::BTreeSet<String> {
    let namespaces = cluster.namespaces.keys().cloned();
    let pods = cluster.pods.keys().map(ToString::to_string);
    let policies = cluster.policies.keys().map(ToString::to_string);
    namespaces
        .chain(pods)
        .chain(policies)
        .chain(cluster.services.keys().map(ToString::to_string))
        .collect()
}

fn check(history: &History, expected: Expected, is_complete: bool, cluster: &Cluster) {
    let now = only(history.kind, cluster);
    match expected {
        Expected::At(time) => assert_eq!(now, history.cluster(time), "at {time}"),
        Expected::Between(before, after) => {
            let [now, before, after] =
                [now, history.cluster(before), history.cluster(after)].map(|it| names(&it));
            assert!(now.is_subset(&(&before | &after)), "{now:?}");
            // C4: not even during a new list.
            assert!(!is_complete || (&before & &after).is_subset(&now), "{now:?}");
        }
    }
}

fn faults() -> impl Strategy<Value = Vec<(Index, Index, Option<Index>)>> {
    let broken = proptest::option::of(any::<Index>());
    proptest::collection::vec((any::<Index>(), any::<Index>(), broken), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn c4_the_cluster_is_what_the_server_has_whatever_is_interrupted(
        faults in proptest::array::uniform4(faults()),
        order in proptest::collection::vec(any::<Index>(), 400),
    ) {
        let histories = WATCHES.map(|(kind, _)| History::read(kind));
        let mut received: Vec<_> = histories
            .iter()
            .zip(&faults)
            .map(|(history, faults)| history.received(faults).into_iter())
            .collect();
        let (mut trackers, watches) = (Trackers::new(), Watches::new());
        let mut cluster = Cluster::default();
        // In that order, and the rest kind by kind.
        let picks = order.iter().map(|it| it.index(received.len()));
        let rest = (0..histories.len()).flat_map(|it| std::iter::repeat_n(it, 1000));
        for pick in picks.collect::<Vec<_>>().into_iter().chain(rest) {
            let Some((event, expected)) = received[pick].next() else { continue };
            let history = &histories[pick];
            let is_complete = trackers.of(history.kind).unwrap().is_complete();
            let update = trackers.take([(history.kind, event, std::time::Instant::now())].into_iter(), &watches);
            prop_assert_eq!(update.remarks, []);
            for change in update.changes {
                cluster.apply(change);
            }
            check(history, expected, is_complete, &cluster);
        }
        for history in &histories {
            check(history, Expected::At(history.events.len()), true, &cluster);
        }
    }
}

/// The fields that are left out do not matter.
#[test]
fn pruned_objects_mean_the_same() {
    for (kind, _) in WATCHES {
        let history = History::read(kind);
        assert!(history.events.len() > 5);
        for (time, (is_there, object)) in history.events.iter().enumerate() {
            let Outcome::Good(Some(change)) = history.seen(object).outcome else {
                panic!("{object}")
            };
            let mut cluster = history.cluster(time + 1);
            assert_eq!(cluster.apply(change), !is_there, "{object}");
        }
    }
}
