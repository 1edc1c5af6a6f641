//! What went wrong with a list or a watch, in words, and what follows from it.

use std::error::Error as _;
use std::time::Duration;

use kube::core::Status;
use kube::runtime::watcher;

use super::kind::Kind;

/// The longest wait that a server may ask for.
const LONGEST: Duration = Duration::from_secs(60);

/// Whether the server has forgotten what the watch was to go on from. That is how things go.
pub(super) fn is_expired(error: &watcher::Error) -> bool {
    let status = match error {
        watcher::Error::WatchError(status) => status,
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status,
        _ => return false,
    };
    status.code == 410
}

/// Whether going on where the watch left off will not do: something may have been missed, or the
/// server will not have it. The library itself lists anew only when the watch *says* that it is
/// expired.
pub(super) fn needs_list(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => match status.code {
            // Not now, or not to us: the same question may be answered later.
            401 | 403 | 429 | 500 | 502 | 503 => false,
            // 504: the server knows no such version yet; it may be another server's.
            code => code >= 400,
        },
        // An event that can't be read is an event that was missed.
        watcher::Error::WatchFailed(error) => matches!(
            error,
            kube::Error::SerdeError(_)
                | kube::Error::Api(_)
                | kube::Error::LinesCodecMaxLineLengthExceeded
        ),
        watcher::Error::WatchError(status) => status.code != 410,
        _ => false,
    }
}

/// For how long the server wants to be left alone.
pub(super) fn asked_to_wait(error: &watcher::Error) -> Duration {
    let details = status(error).and_then(|it| it.details.as_ref());
    let seconds = details.map(|it| it.retry_after_seconds).unwrap_or_default();
    Duration::from_secs(seconds.into()).min(LONGEST)
}

fn status(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::WatchError(status)
        | watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status),
        _ => None,
    }
}

/// One sentence, with what to do about it.
pub(super) fn describe(kind: Kind, error: &watcher::Error) -> String {
    let resource = kind.resource();
    match error {
        watcher::Error::InitialListFailed(error) => {
            format!("cannot list {resource}: {}", reason(kind, error))
        }
        watcher::Error::WatchStartFailed(error) => {
            format!("cannot watch {resource}: {}", reason(kind, error))
        }
        watcher::Error::WatchFailed(error) => {
            format!("the watch of {resource} broke off: {}", reason(kind, error))
        }
        watcher::Error::WatchError(status) => {
            format!("the server ended the watch of {resource}: {}", of_status(kind, status))
        }
        watcher::Error::NoResourceVersion => {
            format!("the server sent {resource} without a resource version")
        }
    }
}

fn reason(kind: Kind, error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return of_status(kind, status);
    }
    chain(error)
}

fn of_status(kind: Kind, status: &Status) -> String {
    let resource = kind.resource();
    let said = if status.message.is_empty() { &status.reason } else { &status.message };
    match status.code {
        401 => format!("{said} (401: is the agent's token one of this cluster?)"),
        403 => format!("{said} (403: let the agent's service account list and watch {resource})"),
        code => format!("{said} ({code})"),
    }
}

/// An error and its causes, each once: some errors' texts have their cause's already.
pub(super) fn chain(error: &kube::Error) -> String {
    // That it came by way of a service tells nobody anything.
    let (mut text, mut source) = match error {
        kube::Error::Service(error) => (error.to_string(), error.source()),
        error => (error.to_string(), error.source()),
    };
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}
