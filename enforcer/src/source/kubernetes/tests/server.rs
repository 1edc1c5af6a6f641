//! A scripted API server within the process. Time is simulated, so that tests which wait for minutes
//! take none.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use futures::StreamExt as _;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use kube::client::{Body, ClientBuilder, DynBody};
use serde_json::{Value, json};
use tower::util::BoxService;
use tower::{BoxError, Service};

use super::super::Connection;
use super::NODE;

/// The response to a request.
pub(super) enum Answer {
    /// A list: its objects, its version, and the token of the next page.
    List(Vec<Value>, u32, Option<&'static str>),
    /// A `Status`.
    Status(u16, Value),
    /// These pieces, one after the other.
    Pieces(Vec<Piece>),
    /// None: the connection is refused.
    Refused,
    /// That one, later.
    After(Duration, Box<Self>),
}

/// A piece of a response.
pub(super) enum Piece {
    Text(String),
    Wait(Duration),
    /// The connection is reset.
    Cut,
    /// Nothing more is sent.
    Silence,
}

impl Answer {
    /// A watch with these events that stays open.
    pub(super) fn watch(events: impl IntoIterator<Item = String>) -> Self {
        Self::Pieces(lines(events).chain([Piece::Silence]).collect())
    }

    /// A watch with these events that ends.
    pub(super) fn ended(events: impl IntoIterator<Item = String>) -> Self {
        Self::Pieces(lines(events).collect())
    }
}

pub(super) fn lines(events: impl IntoIterator<Item = String>) -> impl Iterator<Item = Piece> {
    events.into_iter().map(|it| Piece::Text(format!("{it}\n")))
}

#[derive(Default)]
struct Script {
    answers: BTreeMap<String, VecDeque<Answer>>,
    asked: Vec<(String, String)>,
    is_down: bool,
}

/// The server. After the scripted answers, lists are empty except for this node, and watches are
/// silent.
#[derive(Clone, Default)]
pub(super) struct Server(Arc<Mutex<Script>>);

impl Server {
    /// Adds answers to the next requests for a resource.
    pub(super) fn on(&self, resource: &str, answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut script = self.0.lock().unwrap();
        script.answers.entry(resource.to_owned()).or_default().extend(answers);
        drop(script);
        self.clone()
    }

    /// Refuses all connections, or ends that.
    pub(super) fn set_down(&self, is_down: bool) {
        self.0.lock().unwrap().is_down = is_down;
    }

    pub(super) fn asked(&self, resource: &str) -> Vec<String> {
        let script = self.0.lock().unwrap();
        let of_it = script.asked.iter().filter(|(it, _)| it == resource);
        of_it.map(|(_, query)| query.clone()).collect()
    }

    pub(super) fn connection(&self) -> Connection {
        let server = self.clone();
        Connection::of_service(move || {
            ClientBuilder::new(BoxService::new(server.clone()), "default")
        })
    }

    fn answer(&self, request: &Request<Body>) -> Answer {
        let path = request.uri().path().to_owned();
        let resource = path.rsplit('/').next().unwrap_or_default().to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let mut script = self.0.lock().unwrap();
        script.asked.push((resource.clone(), query.clone()));
        if script.is_down {
            return Answer::Refused;
        }
        let next = script.answers.get_mut(&resource).and_then(VecDeque::pop_front);
        next.unwrap_or_else(|| match (query.contains("watch=true"), resource.as_str()) {
            (true, _) => Answer::watch([]),
            (false, "nodes") => {
                let node = json!({"metadata": {"name": NODE, "resourceVersion": "1"}});
                Answer::List(vec![node], 1, None)
            }
            (false, _) => Answer::List(Vec::new(), 1, None),
        })
    }
}

type Answered = Result<Response<Box<DynBody>>, BoxError>;

impl Service<Request<Body>> for Server {
    type Response = Response<Box<DynBody>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Answered> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.answer(&request);
        Box::pin(give(answer))
    }
}

fn give(answer: Answer) -> Pin<Box<dyn Future<Output = Answered> + Send>> {
    Box::pin(async {
        let (code, pieces) = match answer {
            Answer::List(items, version, more) => {
                let metadata = json!({"resourceVersion": version.to_string(), "continue": more});
                let list = json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items});
                (200, vec![Piece::Text(list.to_string())])
            }
            Answer::Status(code, mut status) => {
                status["kind"] = json!("Status");
                status["apiVersion"] = json!("v1");
                status["status"] = json!("Failure");
                status["code"] = json!(code);
                (code, vec![Piece::Text(status.to_string())])
            }
            Answer::Pieces(pieces) => (200, pieces),
            Answer::Refused => return Err("connection refused".into()),
            Answer::After(wait, answer) => {
                tokio::time::sleep(wait).await;
                return give(*answer).await;
            }
        };
        Ok(Response::builder().status(code).body(body(pieces)?)?)
    })
}

fn body(pieces: Vec<Piece>) -> Result<Box<DynBody>, Infallible> {
    let frames = futures::stream::iter(pieces).then(|piece| async {
        match piece {
            Piece::Text(text) => Some(Ok(Frame::data(Bytes::from(text)))),
            Piece::Wait(time) => {
                tokio::time::sleep(time).await;
                None
            }
            Piece::Cut => Some(Err(BoxError::from("connection reset by peer"))),
            Piece::Silence => std::future::pending().await,
        }
    });
    let frames = frames.filter_map(std::future::ready).boxed();
    Ok(Box::new(StreamBody::new(frames)))
}
