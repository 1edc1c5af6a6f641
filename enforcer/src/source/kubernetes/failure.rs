//! Failures of lists and watches: their messages and consequences.

use std::error::Error as _;
use std::time::Duration;

use kube::core::Status;
use kube::runtime::watcher;

use super::kind::Kind;

/// The longest wait that a server may ask for.
const LONGEST: Duration = Duration::from_secs(60);

/// Whether the server no longer has the version to resume from. This is normal.
pub(super) fn is_expired(error: &watcher::Error) -> bool {
    let status = match error {
        watcher::Error::WatchError(status) => status,
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status,
        _ => return false,
    };
    status.code == 410
}

/// Whether the watch can't be resumed and needs a new list: events may have been missed, or the
/// server rejects the version. The library itself lists again only when a watch *event* reports
/// expiry.
pub(super) fn needs_list(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => match status.code {
            // Temporary, or a matter of rights: the same request may succeed later.
            401 | 403 | 429 | 500 | 502 | 503 => false,
            // 504: the server does not have this version yet; it may be another server's.
            code => code >= 400,
        },
        // An unreadable event is a missed event.
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

/// How long the server asks clients to wait.
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

/// Returns the failure as one sentence, with what to do about it.
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
    let message = if status.message.is_empty() { &status.reason } else { &status.message };
    match status.code {
        401 => format!("{message} (401: is the agent's token one of this cluster?)"),
        403 => {
            format!("{message} (403: let the agent's service account list and watch {resource})")
        }
        code => format!("{message} ({code})"),
    }
}

/// An error and its causes, each once: the texts of some errors contain their cause.
pub(super) fn chain(error: &kube::Error) -> String {
    // The prefix of a service error adds nothing.
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
