//! The connection to the API server.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Uri, header};
use hyper_util::client::proxy::matcher::Matcher;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::layer::layer_fn;

use super::kind::Kind;
use super::requests::Requests;
use super::state::Watches;
use super::transport::{Transport, transport};

/// The longest time until the server answers, and between the parts of an answer: a server gives up
/// after a minute itself (`--request-timeout`). It does not apply to a watch that has begun: that of a
/// quiet kind carries nothing for minutes.
const SILENCE: Duration = Duration::from_secs(65);
/// The user agent of all requests.
const USER_AGENT: &str = concat!("enforcer/", env!("CARGO_PKG_VERSION"));

/// Which API server, and with which credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientOptions {
    /// A kubeconfig file; `None` for that of the environment, or for the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; `None` for its current one.
    pub context: Option<String>,
}

/// Errors that prevent any connection to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No configuration names a server.
    #[error(
        "no Kubernetes API server is configured: this is not a pod with a service account \
         (KUBERNETES_SERVICE_HOST is not set), and there is no kubeconfig. Use --kubeconfig FILE, \
         set KUBECONFIG, or read manifests from files with --manifests DIR"
    )]
    Nowhere,
    /// A kubeconfig can't be used.
    #[error("kubeconfig {}", origin)]
    Kubeconfig {
        /// Its path.
        origin: String,
        /// The cause.
        source: kube::config::KubeconfigError,
    },
    /// The pod's service account can't be used.
    #[error("the pod's service account is not usable: is automountServiceAccountToken off?")]
    InCluster(#[from] kube::config::InClusterError),
    /// The address of the proxy is not a URL.
    #[error("the proxy {0} is not a URL: set HTTPS_PROXY to one such as http://proxy:3128")]
    Proxy(String),
    /// No client can be created from the configuration.
    #[error("cannot make a Kubernetes client")]
    Client(#[from] kube::Error),
}

/// The address of the API server, and a factory of clients for it.
#[derive(Clone)]
pub struct Connection {
    server: Uri,
    silence: Duration,
    builder: Arc<dyn Fn() -> kube::Result<ClientBuilder<Transport>> + Send + Sync>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Connection {
    /// Finds the API server by the given kubeconfig, `KUBECONFIG`, the pod's service account, or
    /// `~/.kube/config`, in this order.
    ///
    /// # Errors
    /// None of them exists, or the first that exists can't be used.
    pub async fn find(options: &ClientOptions) -> Result<Self, ClientError> {
        let environment = |name: &str| std::env::var(name).ok().filter(|it| !it.is_empty());
        let mut config = config(options, &environment).await?;
        if config.proxy_url.is_none() {
            config.proxy_url = proxy(&config.cluster_url, &environment)?;
        }
        Ok(Self::new(config))
    }

    /// A connection by this configuration, except for its time limits.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::with_silence(config, SILENCE)
    }

    /// The same, with another limit on the server's silence.
    pub(super) fn with_silence(mut config: Config, silence: Duration) -> Self {
        config.headers.push((header::USER_AGENT, HeaderValue::from_static(USER_AGENT)));
        let server = config.cluster_url.clone();
        Self { server, silence, builder: Arc::new(move || transport(&config)) }
    }

    /// A connection to a server within this process.
    #[cfg(test)]
    pub(super) fn of_service(
        builder: impl Fn() -> ClientBuilder<Transport> + Send + Sync + 'static,
    ) -> Self {
        let builder = Arc::new(move || Ok(builder()));
        Self { server: Uri::default(), silence: SILENCE, builder }
    }

    /// The server's address.
    #[must_use]
    pub fn server(&self) -> &Uri {
        &self.server
    }

    /// A client.
    ///
    /// # Errors
    /// Certificates or credentials can't be read.
    pub fn client(&self) -> Result<Client, ClientError> {
        self.limited(&None)
    }

    /// A client for the watch of a kind that records when the server last sent something.
    pub(super) fn watching(
        &self,
        kind: Kind,
        watches: &Arc<Watches>,
    ) -> Result<Client, ClientError> {
        self.limited(&Some((kind, Arc::clone(watches))))
    }

    fn limited(&self, noted: &Option<(Kind, Arc<Watches>)>) -> Result<Client, ClientError> {
        let silence = self.silence;
        let limits = layer_fn(|inner| Requests::new(inner, silence, noted.clone()));
        Ok((self.builder)()?.with_layer(&limits).build())
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

/// The proxy that the environment sets for the server. The library reads the environment only for
/// kubeconfigs, and matches `NO_PROXY` against the proxy's own address.
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
    let without = either("NO_PROXY").unwrap_or_default();
    let matcher = Matcher::builder().all("http://proxy.invalid").no(&*without).build();
    if without.trim() == "*" || matcher.intercept(server).is_none() {
        return Ok(None);
    }
    let url = if wanted.contains("://") { wanted.clone() } else { format!("http://{wanted}") };
    let known = |it: &Uri| matches!(it.scheme_str(), Some("http" | "https" | "socks5"));
    url.parse().ok().filter(known).map(Some).ok_or(ClientError::Proxy(wanted))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn proxied(server: &str, environment: &[(&str, &str)]) -> Result<Option<String>, String> {
        let environment: BTreeMap<_, _> = environment.iter().copied().collect();
        let get = |name: &str| environment.get(name).map(|it| (*it).to_owned());
        let proxy = proxy(&server.parse().unwrap(), &get).map_err(|it| it.to_string())?;
        Ok(proxy.map(|it| it.to_string()))
    }

    #[test]
    fn proxies_of_the_environment() {
        let server = "https://10.0.0.1:443";
        let through = |list: &[(&str, &str)]| proxied(server, list).unwrap();
        assert_eq!(through(&[]), None);
        assert_eq!(through(&[("HTTP_PROXY", "http://p:1")]), None, "only for http");
        for (name, url) in [
            ("HTTPS_PROXY", "http://p:1/"),
            ("https_proxy", "http://u:w@p:1/"),
            ("ALL_PROXY", "socks5://p:1/"),
        ] {
            assert_eq!(through(&[(name, url)]).as_deref(), Some(url));
        }
        assert_eq!(through(&[("HTTPS_PROXY", "p:1")]).as_deref(), Some("http://p:1/"));
        for none in ["*", "10.0.0.1", "a.example,10.0.0.0/8"] {
            assert_eq!(
                through(&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", none)]),
                None,
                "{none}"
            );
        }
        // It is about the server, not about the proxy.
        let list = [("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "p,10.1.0.0/16")];
        assert!(through(&list).is_some());
        let list = [("HTTPS_PROXY", "http://p:1"), ("no_proxy", ".example.org")];
        assert_eq!(proxied("https://api.example.org", &list), Ok(None));
        let wrong = proxied(server, &[("HTTPS_PROXY", "ftp://p:1")]).unwrap_err();
        assert!(wrong.starts_with("the proxy ftp://p:1 is not a URL"), "{wrong}");
    }

    const KUBECONFIG: &str = r#"
apiVersion: v1
kind: Config
clusters:
- {name: one, cluster: {server: "https://one.example:6443"}}
- {name: two, cluster: {server: "https://two.example:6443"}}
users: [{name: me, user: {}}]
contexts:
- {name: first, context: {cluster: one, user: me}}
- {name: second, context: {cluster: two, user: me}}
current-context: first
"#;

    async fn found(options: ClientOptions, environment: &[(&str, &str)]) -> Result<String, String> {
        let environment: BTreeMap<_, _> = environment.iter().copied().collect();
        let get = |name: &str| environment.get(name).map(|it| (*it).to_owned());
        let config = config(&options, &get).await.map_err(|it| it.to_string())?;
        Ok(config.cluster_url.to_string())
    }

    #[tokio::test]
    async fn a_kubeconfig_and_its_contexts() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".kube");
        let file = folder.join("config");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(&file, KUBECONFIG).unwrap();
        let (one, two) = ("https://one.example:6443/", "https://two.example:6443/");
        let environment = [("HOME", home.path().to_str().unwrap())];
        let with = |kubeconfig: Option<&PathBuf>, context: Option<&str>| ClientOptions {
            kubeconfig: kubeconfig.cloned(),
            context: context.map(ToOwned::to_owned),
        };
        assert_eq!(found(with(Some(&file), None), &[]).await.as_deref(), Ok(one));
        assert_eq!(found(with(Some(&file), Some("second")), &[]).await.as_deref(), Ok(two));
        assert_eq!(found(with(None, None), &environment).await.as_deref(), Ok(one));
        let wrong = found(with(Some(&file), Some("third")), &[]).await.unwrap_err();
        assert!(wrong.starts_with("kubeconfig ") && wrong.ends_with("/config"), "{wrong}");
        assert!(found(with(Some(&folder), None), &environment).await.is_err(), "no other instead");
    }

    #[tokio::test]
    async fn an_error_names_the_remedies() {
        let wrong = found(ClientOptions::default(), &[("HOME", "/nowhere")]).await.unwrap_err();
        for hint in ["--kubeconfig", "KUBECONFIG", "--manifests", "service account"] {
            assert!(wrong.contains(hint), "{wrong}");
        }
        let pod = [("KUBERNETES_SERVICE_HOST", "10.0.0.1")];
        let wrong = found(ClientOptions::default(), &pod).await.unwrap_err();
        assert!(wrong.contains("service account is not usable"), "{wrong}");
    }
}
