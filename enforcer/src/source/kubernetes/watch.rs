//! The watch of one kind.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::mpsc;

use super::failure::{asked_to_wait, describe, is_expired, needs_list};
use super::kind::{Kind, Watch};
use super::object::Watched;
use super::state::{Phase, Watches};
use super::tracker::Event;

/// Objects in a page of a list: those in memory at once while listing.
const PAGE: u32 = 500;
/// Seconds that a watch lasts before it is resumed; the client ends it five seconds later if the
/// server does not. Random, so that a thousand agents that started together do not reconnect
/// together.
const WATCH: std::ops::Range<u64> = 200..280;

/// An event of a kind, and when it arrived.
pub(super) type Received = (Kind, Event, Instant);

/// Watches all objects of a kind, or those that `fields` selects; ends when the receiver is
/// dropped.
pub(super) async fn watch<K: Watch>(
    client: Client,
    fields: Option<String>,
    watches: Arc<Watches>,
    events: mpsc::Sender<Received>,
) {
    let api: Api<Watched<K>> = Api::all(client);
    let config = watcher::Config {
        page_size: Some(PAGE),
        timeout: Some(watch_timeout()),
        field_selector: fields,
        ..watcher::Config::default()
    };
    let mut backoff = watcher::DefaultBackoff::default();
    loop {
        let mut stream = pin!(watcher(api.clone(), config.clone()));
        // The stream does not end by itself.
        while let Some(event) = stream.next().await {
            match event {
                Ok(event) => {
                    note(K::KIND, &watches, &event);
                    if events.send((K::KIND, translate(event), Instant::now())).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let list_again = needs_list(&error);
                    let wait = backoff.next().unwrap_or_default().max(asked_to_wait(&error));
                    fail(K::KIND, &watches, &error, wait);
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = events.closed() => return,
                    }
                    if list_again {
                        break;
                    }
                }
            }
        }
    }
}

fn watch_timeout() -> u32 {
    let random = RandomState::new().build_hasher().finish();
    let seconds = WATCH.start + random % (WATCH.end - WATCH.start);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

fn translate<K>(event: watcher::Event<Watched<K>>) -> Event {
    match event {
        watcher::Event::Init => Event::Listing,
        watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
            Event::Object(Box::new(object.seen))
        }
        watcher::Event::Delete(object) => Event::Gone(object.seen.key),
        watcher::Event::InitDone => Event::Listed,
    }
}

fn note<K>(kind: Kind, watches: &Watches, event: &watcher::Event<Watched<K>>) {
    watches.change(kind, |state| match event {
        // No response yet: the list is about to be requested.
        watcher::Event::Init => {
            state.lists += 1;
            state.phase = Phase::Listing;
        }
        watcher::Event::InitApply(_) => {}
        watcher::Event::InitDone | watcher::Event::Apply(_) | watcher::Event::Delete(_) => {
            state.phase = Phase::Synced;
            state.failing = None;
        }
    });
}

fn fail(kind: Kind, watches: &Watches, error: &watcher::Error, wait: Duration) {
    if is_expired(error) {
        tracing::info!(kind = kind.resource(), "the watch expired: listing again");
        return;
    }
    let text = describe(kind, error);
    let mut known = false;
    watches.change(kind, |state| {
        state.errors += 1;
        if state.phase == Phase::Synced {
            state.phase = Phase::Reconnecting;
        }
        known = state.failing.replace(text.clone()).as_ref() == Some(&text);
    });
    if known {
        tracing::debug!(?wait, "{text} (again)");
    } else {
        tracing::warn!(?wait, "{text}; the known state stays in effect");
    }
}
