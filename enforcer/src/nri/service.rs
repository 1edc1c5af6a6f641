//! The plugin's service: the calls of the runtime.

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

/// The runtime's time limit for an answer if it reports none (nri, `DefaultPluginRequestTimeout`).
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);

/// The calls that the plugin answers. The answer to all others is "unimplemented", as from any
/// plugin that has not subscribed to them.
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

/// The plugin's state for one connection.
pub(super) struct Plugin {
    events: mpsc::UnboundedSender<Event>,
    observer: Arc<dyn Observer>,
    /// The time limit for an answer, in milliseconds.
    timeout: AtomicU64,
    configured: AtomicBool,
    /// The sandboxes of an incomplete list.
    listed: Mutex<Vec<Sandbox>>,
}

impl Plugin {
    pub(super) fn new(
        events: mpsc::UnboundedSender<Event>,
        observer: Arc<dyn Observer>,
    ) -> Arc<Self> {
        let timeout = AtomicU64::new(milliseconds(answer_timeout(0)));
        let configured = AtomicBool::new(false);
        Arc::new(Self { events, observer, timeout, configured, listed: Mutex::default() })
    }

    /// Whether the runtime has accepted the plugin.
    pub(super) fn is_configured(&self) -> bool {
        self.configured.load(Ordering::Relaxed)
    }

    /// The services in the format of [`ttrpc::asynchronous::Server`].
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
                tracing::info!("the container runtime is shutting down");
                Ok(Vec::new())
            }
            Method::RunPodSandbox => Ok(self.pod_event(event::RUN_POD_SANDBOX, pod()?).await),
            Method::StopPodSandbox => Ok(self.pod_event(event::STOP_POD_SANDBOX, pod()?).await),
            Method::RemovePodSandbox => Ok(self.pod_event(event::REMOVE_POD_SANDBOX, pod()?).await),
            Method::StateChange => {
                let StateChangeEvent { event, pod } = StateChangeEvent::decode(payload)?;
                Ok(self.pod_event(event, pod).await)
            }
        }
    }

    fn configure(&self, request: ConfigureRequest) -> Vec<u8> {
        let ConfigureRequest { runtime_name, runtime_version, request_timeout } = request;
        let timeout = answer_timeout(request_timeout);
        self.timeout.store(milliseconds(timeout), Ordering::Relaxed);
        self.configured.store(true, Ordering::Relaxed);
        let runtime = format!("{runtime_name} {runtime_version}");
        let runtime = runtime.trim().to_owned();
        tracing::info!(%runtime, ?timeout, "NRI: pods wait until they are programmed");
        self.observer.state(State::Connected { runtime });
        ConfigureResponse { events: event::SANDBOXES }.encode_to_vec()
    }

    fn synchronize(&self, request: SynchronizeRequest) -> Vec<u8> {
        let SynchronizeRequest { pods, more } = request;
        let pods = pods.into_iter().map(located);
        // Stopped sandboxes are listed with addresses that other pods may have by now.
        let living = pods.filter(|it| it.is_alive && !it.host_network && it.is_located());
        let whole = {
            let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
            listed.extend(living.map(|it| it.sandbox));
            (!more).then(|| std::mem::take(&mut *listed))
        };
        if let Some(sandboxes) = whole {
            tracing::debug!(sandboxes = sandboxes.len(), "received the container runtime's pods");
            self.send(Event::All(sandboxes));
        }
        SynchronizeResponse { more }.encode_to_vec()
    }

    /// Handles an event of a pod; the answer is always empty.
    async fn pod_event(&self, event: i32, pod: Option<PodSandbox>) -> Vec<u8> {
        match (event, pod) {
            (event::RUN_POD_SANDBOX, Some(pod)) => self.started(located(pod)).await,
            (event::STOP_POD_SANDBOX | event::REMOVE_POD_SANDBOX, Some(pod)) => {
                self.send(Event::Ended(pod.id));
            }
            (event, _) => tracing::debug!(event, "ignored an event without subscription"),
        }
        Vec::new()
    }

    /// Returns once the pod is programmed or the time limit is over.
    async fn started(&self, announced: Announced) {
        let started_at = Instant::now();
        let pod = announced.sandbox.pod.clone();
        let outcome = if announced.host_network {
            Outcome::HostNetwork
        } else if announced.is_located() {
            self.wait_until_programmed(announced.sandbox).await
        } else {
            Outcome::NotLocated
        };
        self.observer.started(&pod, outcome, started_at.elapsed());
    }

    async fn wait_until_programmed(&self, sandbox: Sandbox) -> Outcome {
        let (programmed, wait) = oneshot::channel();
        self.send(Event::Started(sandbox, programmed));
        let timeout = Duration::from_millis(self.timeout.load(Ordering::Relaxed));
        match tokio::time::timeout(timeout, wait).await {
            Ok(Ok(())) => Outcome::Programmed,
            Ok(Err(_)) => Outcome::Superseded,
            Err(_) => Outcome::TimedOut,
        }
    }

    fn send(&self, event: Event) {
        // The receiver is gone only when the agent ends.
        let _ = self.events.send(event);
    }
}

/// Reads a message and looks the pod's namespace up, if needed.
fn located(pod: PodSandbox) -> Announced {
    let mut announced = Announced::read(pod);
    announced.locate(|path| match namespace_id(path) {
        Ok(id) => id,
        Err(error) => {
            tracing::debug!("cannot use the network namespace {}: {error}", path.display());
            None
        }
    });
    announced
}

/// The time limit for an answer, given the runtime's own in milliseconds, which must not pass: the
/// runtime then disconnects the plugin.
fn answer_timeout(request_timeout: i64) -> Duration {
    let given = u64::try_from(request_timeout).ok().filter(|it| *it > 0);
    given.map_or(DEFAULT_TIMEOUT, Duration::from_millis) * 3 / 4
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
                // An error for another method would make the pod fail.
                let reject = matches!(method, Method::Configure | Method::Synchronize);
                response.set_status(match reject {
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
    fn the_answer_comes_before_the_runtimes_time_limit() {
        assert_eq!(answer_timeout(0), Duration::from_millis(1500));
        assert_eq!(answer_timeout(-1), Duration::from_millis(1500));
        assert_eq!(answer_timeout(4000), Duration::from_secs(3));
        assert_eq!(answer_timeout(1), Duration::from_micros(750));
        assert!(answer_timeout(i64::MAX) > Duration::from_secs(1));
    }
}
