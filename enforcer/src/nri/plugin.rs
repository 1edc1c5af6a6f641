//! The connection to the runtime, with reconnection.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message as _;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::error::Elapsed;
use ttrpc::asynchronous::transport::{Listener, Socket};
use ttrpc::asynchronous::{Client, Server};
use ttrpc::{Request, Response};

use super::messages::{RUNTIME_SERVICE, RegisterPluginRequest};
use super::multiplex::multiplex;
use super::service::Plugin;
use super::{Event, Observer, Options, State};

/// The plugin's name.
const NAME: &str = "enforcer";
/// Plugins are called in ascending order of their index. This one is late, so that other plugins
/// have completed their changes to the pod's network.
const INDEX: &str = "90";

/// The time limit of the registration, longer than the runtime's own (nri,
/// `DefaultPluginRegistrationTimeout`).
const REGISTRATION: Duration = Duration::from_secs(10);

/// The first pause before another attempt; each failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause. It is short, because a runtime that has restarted may start pods at once.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The reason why there is no connection.
#[derive(Debug, thiserror::Error)]
enum PluginError {
    #[error("cannot connect to {path}: {source}")]
    Connect { path: String, source: io::Error },
    #[error("the container runtime did not accept the plugin: {0}")]
    Register(String),
    #[error(
        "the container runtime did not answer the plugin's registration within {REGISTRATION:?}"
    )]
    Silent,
    #[error("the container runtime closed the connection before it accepted the plugin")]
    Closed,
    #[error("lost the connection to the container runtime: {0}")]
    Broken(io::Error),
}

impl PluginError {
    /// Whether it means that no runtime with NRI listens at the socket.
    fn is_absence(&self) -> bool {
        let absent = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        matches!(self, Self::Connect { source, .. } if absent.contains(&source.kind()))
    }
}

/// Keeps a plugin connected to the runtime while it is polled.
pub async fn run(
    options: &Options,
    events: mpsc::UnboundedSender<Event>,
    observer: Arc<dyn Observer>,
) {
    let mut pause = FIRST_PAUSE;
    let mut reported = None;
    loop {
        let started_at = Instant::now();
        let state = match serve(&options.socket, &events, &observer).await {
            Ok(()) => {
                State::Absent { why: "the container runtime closed the connection".to_owned() }
            }
            Err(error) if error.is_absence() => State::Absent { why: error.to_string() },
            Err(error) => State::Refused { why: error.to_string() },
        };
        // From here on, sandboxes start and end unnoticed.
        let _ = events.send(Event::Lost);
        observer.state(state.clone());
        if started_at.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        if reported.as_ref() != Some(&state) {
            if let State::Absent { why } | State::Refused { why } = &state {
                tracing::warn!(
                    "NRI: {why}; pods may run before they are programmed until this works"
                );
            }
            reported = Some(state);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Connects, registers, and answers requests until the connection ends. Returns success if the
/// runtime had accepted the plugin by then.
async fn serve(
    socket: &Path,
    events: &mpsc::UnboundedSender<Event>,
    observer: &Arc<dyn Observer>,
) -> Result<(), PluginError> {
    let path = || socket.display().to_string();
    let trunk = UnixStream::connect(socket).await;
    let trunk = trunk.map_err(|source| PluginError::Connect { path: path(), source })?;
    let ([called, calling], carry) = multiplex(trunk);
    tokio::pin!(carry);
    let plugin = Plugin::new(events.clone(), Arc::clone(observer));
    let only = futures::stream::iter([Ok(called)]);
    let mut server =
        Server::new().add_listener(Listener::new(only)).register_service(plugin.services());
    server.start().await.map_err(|error| PluginError::Register(error.to_string()))?;
    let client = Client::new(Socket::new(calling));
    let registered = tokio::time::timeout(REGISTRATION, client.request(registration()));
    tokio::pin!(registered);
    tokio::select! {
        ended = &mut carry => {
            // An answer explains more than the end of the connection.
            accepted(registered.await)?;
            ended.map_err(PluginError::Broken)?;
            return Err(PluginError::Closed);
        }
        answer = &mut registered => accepted(answer)?,
    }
    carry.await.map_err(PluginError::Broken)?;
    if plugin.is_configured() { Ok(()) } else { Err(PluginError::Closed) }
}

fn accepted(answer: Result<ttrpc::Result<Response>, Elapsed>) -> Result<(), PluginError> {
    match answer {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(ttrpc::Error::RpcStatus(status))) => Err(PluginError::Register(status.message)),
        Ok(Err(_)) => Err(PluginError::Closed),
        Err(_) => Err(PluginError::Silent),
    }
}

fn registration() -> Request {
    let registration =
        RegisterPluginRequest { plugin_name: NAME.to_owned(), plugin_idx: INDEX.to_owned() };
    let mut request = Request::new();
    request.service = RUNTIME_SERVICE.to_owned();
    request.method = "RegisterPlugin".to_owned();
    request.payload = registration.encode_to_vec();
    request
}
