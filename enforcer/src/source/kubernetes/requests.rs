//! Time limits of requests, the rate limit of watches, and the record of the server's signs of life.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use kube::client::{Body, DynBody};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tower::{BoxError, Service};

use super::kind::Kind;
use super::state::{Phase, Watches};
use super::transport::Transport;

/// A watch that ends in an orderly way is restarted at once, but no more often than this: some
/// proxies end every watch.
const BURST: usize = 5;
const BURST_TIME: Duration = Duration::from_secs(5);

/// A transport with time limits, which notes what the server sends.
pub(super) struct Requests {
    inner: Transport,
    /// The longest time until the head of an answer, and between the parts of one that is no watch.
    limit: Duration,
    /// The kind that is watched, and its state.
    noted: Option<(Kind, Arc<Watches>)>,
    /// When the last watches were started.
    started: VecDeque<Instant>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Requests {
    pub(super) fn new(
        inner: Transport,
        limit: Duration,
        noted: Option<(Kind, Arc<Watches>)>,
    ) -> Self {
        Self { inner, limit, noted, started: VecDeque::with_capacity(BURST), pause: None }
    }

    /// Notes the start of a watch.
    fn start(&mut self) {
        let now = Instant::now();
        if self.started.len() == BURST
            && let Some(oldest) = self.started.pop_front()
            && oldest + BURST_TIME > now
        {
            self.pause = Some(Box::pin(sleep_until(oldest + BURST_TIME)));
        }
        self.started.push_back(now);
    }
}

type Answered = Result<Response<Box<DynBody>>, BoxError>;

impl Service<Request<Body>> for Requests {
    type Response = Response<Box<DynBody>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Answered> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let query = request.uri().query().unwrap_or_default();
        let is_watch = query.split('&').any(|it| it == "watch=true");
        if is_watch {
            self.start();
        }
        let answer = self.inner.call(request);
        let (limit, noted) = (self.limit, self.noted.clone());
        Box::pin(async move {
            let response = timeout(limit, answer).await.map_err(|_| silent(limit))??;
            let is_watch = is_watch && response.status().is_success();
            let response = match noted {
                Some((kind, watches)) => note(response, kind, watches, is_watch),
                None => response,
            };
            // A watch lasts as long as its connection, which notices by itself that it is dead.
            Ok(if is_watch { response } else { response.map(|body| limited(body, limit)) })
        })
    }
}

/// Notes an answer and the arrival of its parts. That includes bookmarks and resumed watches, which
/// the library's stream does not report.
fn note(
    response: Response<Box<DynBody>>,
    kind: Kind,
    watches: Arc<Watches>,
    is_watch: bool,
) -> Response<Box<DynBody>> {
    if response.status().is_success() {
        watches.change(kind, |state| {
            state.received_at = Some(std::time::Instant::now());
            state.failures = 0;
            if is_watch && state.phase == Phase::Reconnecting {
                state.phase = Phase::Synced;
                state.failing = None;
                tracing::info!(kind = kind.resource(), "watch resumed");
            }
        });
    }
    response.map(|body| {
        let noted = body.map_frame(move |frame| {
            watches.change(kind, |state| state.received_at = Some(std::time::Instant::now()));
            frame
        });
        Box::new(noted) as Box<DynBody>
    })
}

fn silent(limit: Duration) -> BoxError {
    format!("the server sent nothing for {limit:?}").into()
}

fn limited(body: Box<DynBody>, limit: Duration) -> Box<DynBody> {
    Box::new(Limited { body, limit, pause: Box::pin(sleep(limit)) })
}

/// A body whose parts must follow each other in time.
struct Limited {
    body: Box<DynBody>,
    limit: Duration,
    pause: Pin<Box<Sleep>>,
}

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let limit = self.limit;
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.pause.as_mut().reset(Instant::now() + limit);
            return Poll::Ready(frame);
        }
        ready!(self.pause.as_mut().poll(context));
        Poll::Ready(Some(Err(silent(limit))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
