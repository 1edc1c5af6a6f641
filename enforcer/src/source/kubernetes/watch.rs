//! The watch of one kind.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt as _, StreamExt as _};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::mpsc;

use super::backoff;
use super::failure::{asked_to_wait, describe, is_expired, needs_list};
use super::gathering::Gathering;
use super::kind::{Kind, Watch};
use super::object::Watched;
use super::state::{Phase, WatchState, Watches};
use super::tracker::Event;

/// Objects in a page of a list: those in memory at once while listing.
const PAGE: u32 = 500;
/// Seconds that a watch lasts before it is resumed; the client ends it five seconds later if the
/// server does not. Random, so that a thousand agents that started together do not reconnect
/// together.
const WATCH: std::ops::Range<u64> = 200..280;

/// A list that is needed sooner than this after another one waits.
const RELIST: Duration = Duration::from_secs(60);

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
    let mut gathering = Gathering::default();
    loop {
        let mut stream = pin!(watcher(api.clone(), config.clone()));
        loop {
            let event = match stream.next().now_or_never() {
                Some(event) => event,
                None => {
                    if let Some(pause) = gathering.pause(Instant::now()) {
                        tokio::time::sleep(pause).await;
                    }
                    stream.next().await
                }
            };
            // The stream does not end by itself.
            let Some(event) = event else { break };
            match pass_on(event, &mut gathering, &watches, &events).await {
                Next::Read => {}
                Next::List => break,
                Next::End => return,
            }
        }
    }
}

/// What a watch does next.
enum Next {
    Read,
    List,
    /// Nobody receives its events any more.
    End,
}

/// Passes an event on, or waits after a failure.
async fn pass_on<K: Watch>(
    event: watcher::Result<watcher::Event<Watched<K>>>,
    gathering: &mut Gathering,
    watches: &Watches,
    events: &mpsc::Sender<Received>,
) -> Next {
    let error = match event {
        Ok(event) => {
            if let watcher::Event::Apply(_) | watcher::Event::Delete(_) = &event {
                gathering.note();
            }
            note(K::KIND, watches, &event);
            let sent = events.send((K::KIND, translate(event), Instant::now())).await;
            return if sent.is_ok() { Next::Read } else { Next::End };
        }
        Err(error) => error,
    };
    let list_again = needs_list(&error);
    let wait = fail(K::KIND, watches, &error).max(asked_to_wait(&error));
    tokio::select! {
        () = tokio::time::sleep(wait) => if list_again { Next::List } else { Next::Read },
        () = events.closed() => Next::End,
    }
}

fn watch_timeout() -> u32 {
    let seconds = WATCH.start + backoff::number() % (WATCH.end - WATCH.start);
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

/// Notes a failure; returns the wait before the next attempt.
fn fail(kind: Kind, watches: &Watches, error: &watcher::Error) -> Duration {
    let (expired, text) = (is_expired(error), describe(kind, error));
    let lists = expired || needs_list(error);
    let (mut known, mut wait) = (false, Duration::ZERO);
    watches.change(kind, |state| {
        wait = if lists { before_list(state) } else { after_failure(state) };
        if lists {
            // The known state is not the server's any more.
            state.phase = Phase::Listing;
        } else if state.phase == Phase::Synced {
            state.phase = Phase::Reconnecting;
        }
        if !expired {
            state.errors += 1;
            known = state.failing.replace(text.clone()).as_ref() == Some(&text);
        }
    });
    if expired {
        tracing::info!(kind = kind.resource(), ?wait, "the watch expired: listing again");
    } else if known {
        tracing::debug!(?wait, "{text} (again)");
    } else {
        tracing::warn!(?wait, "{text}; the known state stays in effect");
    }
    wait
}

fn after_failure(state: &mut WatchState) -> Duration {
    state.failures = state.failures.saturating_add(1);
    backoff::after(state.failures)
}

/// The wait before a list: none, unless the last one led to nothing.
fn before_list(state: &mut WatchState) -> Duration {
    let now = tokio::time::Instant::now();
    let is_soon = state.relisted_at.is_some_and(|it| now.saturating_duration_since(it) < RELIST);
    state.relists = if is_soon { state.relists.saturating_add(1) } else { 0 };
    let wait = backoff::before_list(state.relists);
    state.relisted_at = Some(now + wait);
    wait
}
