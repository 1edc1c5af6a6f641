//! How the API server is reached.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Response, Uri, header};
use http_body_util::BodyExt as _;
use hyper_util::client::proxy::matcher::Matcher;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::util::MapResponseLayer;

use super::kind::Kind;
use super::state::{Phase, Watches};

/// For how long the server may be silent. Watches have a bookmark each minute if nothing else.
const SILENCE: Duration = Duration::from_secs(90);
const CONNECT: Duration = Duration::from_secs(10);
/// The user agent of all requests.
const USER_AGENT: &str = concat!("enforcer/", env!("CARGO_PKG_VERSION"));

/// Which API server, and as whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientOptions {
    /// A kubeconfig file; `None`: that of the environment, or of the pod that this runs in.
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; `None`: its current one.
    pub context: Option<String>,
}

/// Why the API server can't be reached at all.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing says where it is.
    #[error(
        "no Kubernetes API server to ask: this is not a pod with a service account \
         (KUBERNETES_SERVICE_HOST is not set), and there is no kubeconfig. Give --kubeconfig FILE, \
         set KUBECONFIG, or read manifests from files by --manifests DIR"
    )]
    Nowhere,
    /// A kubeconfig is not usable.
    #[error("kubeconfig {}", origin)]
    Kubeconfig {
        /// Where it is from.
        origin: String,
        /// What is wrong with it.
        source: kube::config::KubeconfigError,
    },
    /// The pod's service account is not usable.
    #[error("the pod's service account is not usable: is automountServiceAccountToken off?")]
    InCluster(#[from] kube::config::InClusterError),
    /// The proxy's address is none.
    #[error("the proxy {0} is no URL: set HTTPS_PROXY to one like http://proxy:3128")]
    Proxy(String),
    /// The configuration does not give a client.
    #[error("cannot make a Kubernetes client")]
    Client(#[from] kube::Error),
}

/// Where the API server is and how to talk to it.
#[derive(Debug, Clone)]
pub struct Connection {
    config: Config,
}

impl Connection {
    /// Finds the API server: by the kubeconfig that is given, or `KUBECONFIG`, or as a pod of the
    /// cluster, or by `~/.kube/config`.
    ///
    /// # Errors
    /// None of them is there, or the first that is is not usable.
    pub async fn find(options: &ClientOptions) -> Result<Self, ClientError> {
        let environment = |name: &str| std::env::var(name).ok().filter(|it| !it.is_empty());
        let mut config = config(options, &environment).await?;
        if config.proxy_url.is_none() {
            config.proxy_url = proxy(&config.cluster_url, &environment)?;
        }
        Ok(Self::new(config))
    }

    /// With a configuration that was found otherwise. Its time limits are replaced.
    #[must_use]
    pub fn new(mut config: Config) -> Self {
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = Some(SILENCE);
        config.reset_reader_on_write = true;
        // Each watch waits for itself, longer each time, and as the server asks.
        config.default_retry = false;
        config.headers.push((header::USER_AGENT, HeaderValue::from_static(USER_AGENT)));
        Self { config }
    }

    /// The server's address.
    #[must_use]
    pub fn server(&self) -> &Uri {
        &self.config.cluster_url
    }

    /// A client.
    ///
    /// # Errors
    /// Certificates or credentials can't be read.
    pub fn client(&self) -> Result<Client, ClientError> {
        Ok(ClientBuilder::try_from(self.config.clone())?.build())
    }

    /// A client for the watch of a kind, which notes each sign of life of the server's: also
    /// bookmarks, and that a watch goes on, of which the library's stream says nothing.
    pub(super) fn watching(
        &self,
        kind: Kind,
        watches: &Arc<Watches>,
    ) -> Result<Client, ClientError> {
        let watches = Arc::clone(watches);
        let listen = MapResponseLayer::new(move |response: Response<_>| {
            if response.status().is_success() {
                watches.change(kind, |state| {
                    state.heard = Some(Instant::now());
                    if state.phase == Phase::Reconnecting {
                        state.phase = Phase::Synced;
                        state.failing = None;
                    }
                });
            }
            let watches = Arc::clone(&watches);
            response.map(|body: Box<kube::client::DynBody>| {
                body.map_frame(move |frame| {
                    watches.change(kind, |state| state.heard = Some(Instant::now()));
                    frame
                })
            })
        });
        let builder = ClientBuilder::try_from(self.config.clone())?;
        Ok(builder.with_layer(&listen).build())
    }
}

async fn config(
    options: &ClientOptions,
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<Config, ClientError> {
    if let Some(path) = &options.kubeconfig {
        let origin = path.display().to_string();
        return read(origin, Kubeconfig::read_from(path), options).await;
    }
    if let Some(origin) = environment("KUBECONFIG") {
        let kubeconfig = Kubeconfig::from_env().map(Option::unwrap_or_default);
        return read(origin, kubeconfig, options).await;
    }
    if options.context.is_none() && environment("KUBERNETES_SERVICE_HOST").is_some() {
        return Ok(Config::incluster()?);
    }
    let home = environment("HOME").map(|it| PathBuf::from(it).join(".kube/config"));
    match home.filter(|it| it.exists()) {
        Some(path) => {
            let origin = path.display().to_string();
            read(origin, Kubeconfig::read_from(path), options).await
        }
        None => Err(ClientError::Nowhere),
    }
}

async fn read(
    origin: String,
    kubeconfig: Result<Kubeconfig, kube::config::KubeconfigError>,
    options: &ClientOptions,
) -> Result<Config, ClientError> {
    let fail = |source| ClientError::Kubeconfig { origin: origin.clone(), source };
    let choice = KubeConfigOptions { context: options.context.clone(), ..Default::default() };
    let kubeconfig = kubeconfig.map_err(fail)?;
    Config::from_custom_kubeconfig(kubeconfig, &choice).await.map_err(fail)
}

/// The proxy to the server as the environment has it. The library asks the environment only for
/// kubeconfigs, and holds `NO_PROXY` against the proxy's own address.
fn proxy(
    server: &Uri,
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<Option<Uri>, ClientError> {
    let either = |upper: &str| environment(upper).or_else(|| environment(&upper.to_lowercase()));
    let wanted = match server.scheme_str() {
        Some("http") => either("HTTP_PROXY"),
        _ => either("HTTPS_PROXY"),
    };
    let Some(wanted) = wanted.or_else(|| either("ALL_PROXY")) else { return Ok(None) };
    let matcher = Matcher::builder()
        .all("http://proxy.invalid")
        .no(either("NO_PROXY").unwrap_or_default())
        .build();
    if matcher.intercept(server).is_none() {
        return Ok(None);
    }
    let url = if wanted.contains("://") { wanted.clone() } else { format!("http://{wanted}") };
    let known = |it: &Uri| matches!(it.scheme_str(), Some("http" | "https" | "socks5"));
    url.parse().ok().filter(known).map(Some).ok_or(ClientError::Proxy(wanted))
}
