//! The server: listeners, connections, and the dispatch of requests.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{self, Response, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::Value;
use tokio::task::{JoinHandle, JoinSet};

use super::absent;
use super::body::{deletion, object_of};
use super::discovery;
use super::exec::{self, Executor};
use super::faults::{Fault, Faults, spoil};
use super::journal::{Entry, Journal};
use super::kinds::{NAMESPACES, PODS};
use super::logs::{self, Logger};
use super::object;
use super::patch::Patch;
use super::portforward::{self, Forwarder};
use super::read;
use super::reply::{Cut, Reply};
use super::request::{Request, Verb, text_of};
use super::status::Refusal;
use super::store::Store;
use super::typed::Unknown;
use super::watching;
use super::workloads;
use super::write::{Manner, Written};

/// The largest accepted body in bytes.
const LARGEST: usize = 3 << 20;

pub(super) const FIRST_NAMESPACES: [&str; 4] =
    ["default", "kube-node-lease", "kube-public", "kube-system"];

/// A server. Clones share its state.
#[derive(Debug, Clone, Default)]
pub struct ApiServer {
    store: Store,
    faults: Faults,
    journal: Journal,
    graceful: bool,
    executor: Option<Executor>,
    forwarder: Option<Forwarder>,
    logger: Option<Logger>,
}

/// A listening server. Dropping it stops listening and cuts its connections.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listening {
    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops, and waits until the address is free again.
    pub async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl ApiServer {
    /// A server with the namespaces of every cluster.
    pub fn new() -> Result<Self, Refusal> {
        let server = Self::default();
        for name in FIRST_NAMESPACES {
            let object = serde_json::json!({ "metadata": { "name": name } });
            server.store.create(&NAMESPACES, "", object)?;
        }
        Ok(server)
    }

    /// Makes the deletion of pods with a node graceful: they are only marked, until
    /// [`Store::remove`] removes them for their node.
    pub fn graceful(self) -> Self {
        Self { graceful: true, ..self }
    }

    /// Supports commands in pods.
    pub fn with_executor(self, executor: Executor) -> Self {
        Self { executor: Some(executor), ..self }
    }

    /// Supports connections to pods' ports.
    pub fn with_forwarder(self, forwarder: Forwarder) -> Self {
        Self { forwarder: Some(forwarder), ..self }
    }

    /// Supports pods' logs.
    pub fn with_logger(self, logger: Logger) -> Self {
        Self { logger: Some(logger), ..self }
    }

    /// The objects.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The faults.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The record of requests.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Listens on a socket, which may belong to another network namespace.
    pub fn listen(&self, listener: TcpListener) -> io::Result<Listening> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let task = tokio::spawn(accept(self.clone(), listener));
        Ok(Listening { address, task })
    }

    /// Listens on a port of this namespace's loopback; 0: any free port.
    pub fn listen_on_loopback(&self, port: u16) -> io::Result<Listening> {
        self.listen(TcpListener::bind(("127.0.0.1", port))?)
    }
}

async fn accept(server: ApiServer, listener: tokio::net::TcpListener) {
    // Dropping the set ends all connections.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    connections.spawn(connection(server.clone(), stream));
                }
                // Probably out of descriptors: some will be closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
        }
    }
}

async fn connection(server: ApiServer, stream: tokio::net::TcpStream) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        let server = server.clone();
        async move { server.answer(request).await }
    });
    let _ = Builder::new(TokioExecutor::new())
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await;
}

impl ApiServer {
    /// Answers a request; an error closes the connection.
    async fn answer(&self, request: http::Request<Incoming>) -> Result<Response<Body>, Cut> {
        let (mut head, body) = request.into_parts();
        let request = match Request::read(&head.method, &head.uri, &head.headers) {
            Some(Ok(request)) => request,
            Some(Err(refusal)) => return Ok(Reply::refusal(&refusal).response()),
            None => return Ok(elsewhere(&head.method, &head.uri)),
        };
        self.record(&request, text_of(&head.headers, header::USER_AGENT.as_str()));
        let fault = self.faults.strike(request.verb, request.kind);
        match fault {
            Some(Fault::Stall) => return std::future::pending().await,
            Some(Fault::HangUp) => return Err(Cut),
            Some(Fault::Refuse { code, retry_after }) => {
                return Ok(Reply::refusal(&Refusal::of_code(code, retry_after)).response());
            }
            _ => {}
        }
        if request.part == "exec" && request.kind == &PODS {
            let opened = self.exec(&request, &mut head).await;
            return Ok(opened.unwrap_or_else(|refusal| Reply::refusal(&refusal).response()));
        }
        if request.part == "log" && request.kind == &PODS {
            let opened = self.log(&request);
            return Ok(opened.unwrap_or_else(|refusal| Reply::refusal(&refusal)).response());
        }
        if request.part == "portforward" && request.kind == &PODS {
            let opened = self.forward(&request, &mut head).await;
            return Ok(opened.unwrap_or_else(|refusal| Reply::refusal(&refusal).response()));
        }
        let content_type = text_of(&head.headers, header::CONTENT_TYPE.as_str());
        let reply = match axum::body::to_bytes(Body::new(body), LARGEST).await {
            Ok(body) => self.reply(request, &content_type, &body),
            Err(_) => Err(Refusal::new(413, "RequestEntityTooLarge", "the body is too large")),
        };
        let mut reply = reply.unwrap_or_else(|refusal| Reply::refusal(&refusal));
        if let Some(fault) = fault {
            reply.pieces = spoil(fault, reply.pieces);
        }
        Ok(reply.response())
    }

    async fn exec(
        &self,
        request: &Request,
        head: &mut http::request::Parts,
    ) -> Result<Response<Body>, Refusal> {
        let pod = self.store.get(request.kind, &request.key());
        let pod = pod.ok_or_else(|| Refusal::not_found(request.kind, &request.name))?;
        exec::exec(self.executor.as_ref(), request, &pod, head).await
    }

    fn log(&self, request: &Request) -> Result<Reply, Refusal> {
        let pod = self.store.get(request.kind, &request.key());
        let pod = pod.ok_or_else(|| Refusal::not_found(request.kind, &request.name))?;
        let pieces = logs::logs(self.logger.as_ref(), request, Value::clone(&pod))?;
        Ok(Reply::text(pieces))
    }

    async fn forward(
        &self,
        request: &Request,
        head: &mut http::request::Parts,
    ) -> Result<Response<Body>, Refusal> {
        let pod = self.store.get(request.kind, &request.key());
        let pod = pod.ok_or_else(|| Refusal::not_found(request.kind, &request.name))?;
        portforward::forward(self.forwarder.as_ref(), request, pod, head).await
    }

    fn record(&self, request: &Request, user_agent: String) {
        let mut resource = request.kind.qualified();
        if !request.part.is_empty() {
            resource = format!("{resource}/{}", request.part);
        }
        self.journal.add(Entry { verb: request.verb, resource, user_agent });
    }

    fn reply(&self, request: Request, content_type: &str, body: &Bytes) -> Result<Reply, Refusal> {
        if !is_part(&request) {
            let what = match request.kind {
                // A kind that is unknown here, in a namespace.
                kind if kind == &NAMESPACES => request.part.clone(),
                kind => format!("{kind}/{}", request.part),
            };
            return Err(absent::refusal(&what));
        }
        if request.part == "scale" {
            return self.scale(&request, content_type, body);
        }
        match request.verb {
            Verb::Get => Ok(Reply::object(200, &read::get(&self.store, &request)?)),
            Verb::List => Ok(Reply::object(200, &read::list(&self.store, &request)?)),
            Verb::Watch => Ok(Reply::watch(watching::watch(&self.store, &self.faults, request)?)),
            Verb::Create => {
                let manner = self.manner(&request)?;
                let object = object_of(content_type, body)?;
                written(self.store.create_in(request.kind, &request.namespace, object, &manner)?)
            }
            Verb::Update | Verb::Patch => self.change(&request, content_type, body),
            Verb::Delete | Verb::DeleteCollection => self.delete(&request, body),
        }
    }

    fn change(
        &self,
        request: &Request,
        content_type: &str,
        body: &Bytes,
    ) -> Result<Reply, Refusal> {
        let manner = self.manner(request)?;
        let key = request.key();
        if request.verb == Verb::Update {
            let object = object_of(content_type, body)?;
            return written(self.store.update(request.kind, &key, object, &manner)?);
        }
        let patch = Patch::read(content_type, body)?;
        if matches!(patch, Patch::Apply(_)) && manner.manager.is_empty() {
            let message = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
            return Err(Refusal::new(422, "Invalid", message));
        }
        written(self.store.patch(request.kind, &key, &patch, &manner)?)
    }

    /// Reads or changes the number of a workload's replicas.
    fn scale(&self, request: &Request, content_type: &str, body: &Bytes) -> Result<Reply, Refusal> {
        let (kind, key) = (request.kind, request.key());
        let object = self.store.get(kind, &key);
        let object = object.ok_or_else(|| Refusal::not_found(kind, &key.name))?;
        let mut scale = workloads::scale(&object);
        if request.verb == Verb::Get {
            return Ok(Reply::object(200, &scale));
        }
        if request.verb == Verb::Update {
            scale = object_of(content_type, body)?;
        } else {
            Patch::read(content_type, body)?.apply(&mut scale, None)?;
        }
        let mut changed = object::show(kind, Value::clone(&object));
        changed["spec"]["replicas"] = workloads::wanted(&scale)?.into();
        let written = self.store.update(kind, &key, changed, &self.manner(request)?)?;
        Ok(Reply::object(200, &workloads::scale(&written.object)))
    }

    fn delete(&self, request: &Request, body: &Bytes) -> Result<Reply, Refusal> {
        let deletion = deletion(request, body)?;
        let manner = self.manner(request)?;
        let manner = Manner { dry_run: manner.dry_run || deletion.dry_run, ..manner };
        if request.verb == Verb::Delete {
            let left = self.store.delete(request.kind, &request.key(), &deletion, &manner)?;
            return Ok(Reply::object(200, &left));
        }
        let selection = read::selection(request)?;
        let deleted = self.store.delete_all(request.kind, &selection, &deletion, &manner);
        let list = serde_json::json!({
            "kind": format!("{}List", request.kind.kind), "apiVersion": request.kind.api_version(),
            "metadata": { "resourceVersion": self.store.version().to_string() }, "items": deleted,
        });
        Ok(Reply::object(200, &list))
    }

    fn manner(&self, request: &Request) -> Result<Manner, Refusal> {
        let query = &request.query;
        let unknown = match query.get("fieldValidation") {
            "Strict" => Unknown::Refused,
            "" | "Warn" => Unknown::Warned,
            "Ignore" => Unknown::Ignored,
            other => {
                let message = format!("fieldValidation: Unsupported value: {other:?}");
                return Err(Refusal::new(422, "Invalid", message));
            }
        };
        Ok(Manner {
            dry_run: query.get("dryRun") == "All",
            unknown,
            manager: query.get("fieldManager").to_owned(),
            status_only: request.part == "status",
            graceful: self.graceful,
        })
    }
}

/// Whether the subresource exists and supports the verb.
fn is_part(request: &Request) -> bool {
    match request.part.as_str() {
        "" => true,
        "status" => {
            request.kind.has_status
                && matches!(request.verb, Verb::Get | Verb::Update | Verb::Patch)
        }
        "scale" => {
            request.kind.has_scale()
                && matches!(request.verb, Verb::Get | Verb::Update | Verb::Patch)
        }
        _ => false,
    }
}

fn written(written: Written) -> Result<Reply, Refusal> {
    let code = if written.was_created { 201 } else { 200 };
    Ok(Reply { warnings: written.warnings, ..Reply::object(code, &written.object) })
}

/// Answers requests that are not about objects: discovery, health.
fn elsewhere(method: &http::Method, uri: &http::Uri) -> Response<Body> {
    let path = uri.path();
    if matches!(path, "/healthz" | "/livez" | "/readyz") {
        return Response::new(Body::from("ok"));
    }
    match discovery::about(path) {
        Some(object) => Reply::object(200, &object).response(),
        None => {
            let refusal = absent::of_path(method, uri);
            Reply::refusal(&refusal.unwrap_or_else(|| Refusal::of_code(404, None))).response()
        }
    }
}
