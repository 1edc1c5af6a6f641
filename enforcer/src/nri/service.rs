//! What the runtime may ask of the plugin.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use ttrpc::asynchronous::{MethodHandler, Service, TtrpcContext};
use ttrpc::{Code, Request, Response, get_status};

use super::messages::{
    ConfigureRequest, ConfigureResponse, PLUGIN_SERVICE, PodRequest, PodSandbox, StateChangeEvent,
    SynchronizeRequest, SynchronizeResponse, event,
};
use super::sandbox::Announced;
use super::{Event, Observer, Outcome, State};
use crate::node::namespace_id;
use enforcer_core::model::Sandbox;

/// How long the runtime waits for an answer if it does not say (nri,
/// `DefaultPluginRequestTimeout`).
const RUNTIMES_PATIENCE: Duration = Duration::from_secs(2);

/// The calls that the plugin answers. All others are answered with "unimplemented", as a plugin
/// does that has not subscribed to them.
const METHODS: [Method; 7] = [
    Method::Configure,
    Method::Synchronize,
    Method::Shutdown,
    Method::RunPodSandbox,
    Method::StopPodSandbox,
    Method::RemovePodSandbox,
    Method::StateChange,
];

#[derive(Debug, Clone, Copy)]
enum Method {
    Configure,
    Synchronize,
    Shutdown,
    RunPodSandbox,
    StopPodSandbox,
    RemovePodSandbox,
    StateChange,
}

/// One connection's side of the plugin.
pub(super) struct Plugin {
    events: mpsc::UnboundedSender<Event>,
    observer: Arc<dyn Observer>,
    /// How long to let the runtime wait, in milliseconds.
    patience: AtomicU64,
    configured: AtomicBool,
    /// What was listed so far, if the list is not at its end.
    listed: Mutex<Vec<Sandbox>>,
}

impl Plugin {
    pub(super) fn new(
        events: mpsc::UnboundedSender<Event>,
        observer: Arc<dyn Observer>,
    ) -> Arc<Self> {
        let patience = AtomicU64::new(milliseconds(patience(0)));
        let configured = AtomicBool::new(false);
        Arc::new(Self { events, observer, patience, configured, listed: Mutex::default() })
    }

    /// Whether the runtime has accepted the plugin.
    pub(super) fn is_configured(&self) -> bool {
        self.configured.load(Ordering::Relaxed)
    }

    /// The services, as the server wants them.
    pub(super) fn services(self: &Arc<Self>) -> HashMap<String, Service> {
        let method = |method: Method| {
            let handler = Handler { plugin: Arc::clone(self), method };
            (format!("{method:?}"), Box::new(handler) as Box<dyn MethodHandler + Send + Sync>)
        };
        let methods = METHODS.map(method).into();
        let service = Service { methods, streams: HashMap::new() };
        HashMap::from([(PLUGIN_SERVICE.to_owned(), service)])
    }

    async fn answer(&self, method: Method, payload: &[u8]) -> Result<Vec<u8>, prost::DecodeError> {
        let pod = || PodRequest::decode(payload).map(|it| it.pod);
        match method {
            Method::Configure => Ok(self.configure(ConfigureRequest::decode(payload)?)),
            Method::Synchronize => Ok(self.synchronize(SynchronizeRequest::decode(payload)?)),
            Method::Shutdown => {
                tracing::info!("the container runtime shuts down");
                Ok(Vec::new())
            }
            Method::RunPodSandbox => Ok(self.happened(event::RUN_POD_SANDBOX, pod()?).await),
            Method::StopPodSandbox => Ok(self.happened(event::STOP_POD_SANDBOX, pod()?).await),
            Method::RemovePodSandbox => Ok(self.happened(event::REMOVE_POD_SANDBOX, pod()?).await),
            Method::StateChange => {
                let StateChangeEvent { event, pod } = StateChangeEvent::decode(payload)?;
                Ok(self.happened(event, pod).await)
            }
        }
    }

    fn configure(&self, request: ConfigureRequest) -> Vec<u8> {
        let ConfigureRequest { runtime_name, runtime_version, request_timeout } = request;
        let patience = patience(request_timeout);
        self.patience.store(milliseconds(patience), Ordering::Relaxed);
        self.configured.store(true, Ordering::Relaxed);
        let runtime = format!("{runtime_name} {runtime_version}");
        let runtime = runtime.trim().to_owned();
        tracing::info!(%runtime, ?patience, "NRI: the container runtime lets pods wait for their policy");
        self.observer.state(State::Connected { runtime });
        ConfigureResponse { events: event::SANDBOXES }.encode_to_vec()
    }

    fn synchronize(&self, request: SynchronizeRequest) -> Vec<u8> {
        let SynchronizeRequest { pods, more } = request;
        let pods = pods.into_iter().map(located);
        // Stopped sandboxes are listed with addresses that may be others' by now.
        let living = pods.filter(|it| it.is_alive && !it.host_network && it.is_located());
        let whole = {
            let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
            listed.extend(living.map(|it| it.sandbox));
            (!more).then(|| std::mem::take(&mut *listed))
        };
        if let Some(sandboxes) = whole {
            tracing::debug!(sandboxes = sandboxes.len(), "the container runtime's pods");
            self.tell(Event::All(sandboxes));
        }
        SynchronizeResponse { more }.encode_to_vec()
    }

    /// The answer is empty for all that can happen to a pod.
    async fn happened(&self, event: i32, pod: Option<PodSandbox>) -> Vec<u8> {
        match (event, pod) {
            (event::RUN_POD_SANDBOX, Some(pod)) => self.started(located(pod)).await,
            (event::STOP_POD_SANDBOX | event::REMOVE_POD_SANDBOX, Some(pod)) => {
                self.tell(Event::Ended(pod.id));
            }
            (event, _) => tracing::debug!(event, "an event that was not asked for"),
        }
        Vec::new()
    }

    /// Returns when the pod is programmed, or has to do without.
    async fn started(&self, announced: Announced) {
        let began = Instant::now();
        let pod = announced.sandbox.pod.clone();
        let outcome = if announced.host_network {
            Outcome::HostNetwork
        } else if announced.is_located() {
            self.hold(announced.sandbox).await
        } else {
            Outcome::NotLocated
        };
        self.observer.started(&pod, outcome, began.elapsed());
    }

    async fn hold(&self, sandbox: Sandbox) -> Outcome {
        let (programmed, wait) = oneshot::channel();
        self.tell(Event::Started(sandbox, programmed));
        let patience = Duration::from_millis(self.patience.load(Ordering::Relaxed));
        match tokio::time::timeout(patience, wait).await {
            Ok(Ok(())) => Outcome::Programmed,
            Ok(Err(_)) => Outcome::Superseded,
            Err(_) => Outcome::TimedOut,
        }
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more only when the agent ends.
        let _ = self.events.send(event);
    }
}

/// Reads a message and finds the pod's namespace, if need be.
fn located(pod: PodSandbox) -> Announced {
    let mut announced = Announced::read(pod);
    announced.locate(|path| match namespace_id(path) {
        Ok(id) => id,
        Err(error) => {
            tracing::debug!("{}: {error}", path.display());
            None
        }
    });
    announced
}

/// How long to let the runtime wait that gives a call so many milliseconds: it takes a plugin that
/// lets that time pass for dead.
fn patience(request_timeout: i64) -> Duration {
    let given = u64::try_from(request_timeout).ok().filter(|it| *it > 0);
    given.map_or(RUNTIMES_PATIENCE, Duration::from_millis) * 3 / 4
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

struct Handler {
    plugin: Arc<Plugin>,
    method: Method,
}

#[async_trait]
impl MethodHandler for Handler {
    async fn handler(&self, _: TtrpcContext, request: Request) -> ttrpc::Result<Response> {
        let mut response = Response::new();
        match self.plugin.answer(self.method, &request.payload).await {
            Ok(payload) => {
                response.set_status(get_status(Code::OK, ""));
                response.payload = payload;
            }
            Err(error) => {
                let method = self.method;
                tracing::warn!(?method, "cannot read the container runtime's request: {error}");
                // A refusal of the others would make the pod fail.
                let refuse = matches!(method, Method::Configure | Method::Synchronize);
                response.set_status(match refuse {
                    true => get_status(Code::INVALID_ARGUMENT, error),
                    false => get_status(Code::OK, ""),
                });
            }
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_is_answered_before_it_loses_patience() {
        assert_eq!(patience(0), Duration::from_millis(1500));
        assert_eq!(patience(-1), Duration::from_millis(1500));
        assert_eq!(patience(4000), Duration::from_secs(3));
        assert_eq!(patience(1), Duration::from_micros(750));
        assert!(patience(i64::MAX) > Duration::from_secs(1));
    }
}
