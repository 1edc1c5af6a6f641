//! Connections to the API server, with detection of dead ones.
//!
//! A watch may carry nothing for minutes (the server sends bookmarks only if the version of its kind
//! has moved), so silence proves nothing. TCP's keep-alive probes do: the other end's kernel answers
//! them. The library's own client sends none.

use std::time::Duration;

use http::{Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt as _, DynBody};
use kube::{Config, Error};
use tower::util::BoxService;
use tower::{BoxError, ServiceBuilder, ServiceExt as _};

/// The transport of all requests.
pub(super) type Transport = BoxService<Request<Body>, Response<Box<DynBody>>, BoxError>;

/// The time for TCP's handshake. Together with the longest wait between attempts it bounds the time
/// until a server is found that has returned.
const CONNECT: Duration = Duration::from_secs(2);

/// The first keep-alive probe of a silent connection, the time between further ones, and their
/// number: a dead connection is noticed after 25 seconds.
const KEEP_ALIVE: (Duration, Duration, u32) = (Duration::from_secs(10), Duration::from_secs(5), 3);

/// The time for the acknowledgement of sent data.
const UNACKNOWLEDGED: Duration = Duration::from_secs(25);

/// A client's transport, through the configuration's proxy if there is one.
///
/// # Errors
/// The certificates, credentials or headers of the configuration can't be used, or its proxy is of
/// an unknown kind.
pub(super) fn transport(config: &Config) -> kube::Result<ClientBuilder<Transport>> {
    let direct = connector();
    let Some(proxy) = &config.proxy_url else { return build(config, direct) };
    match proxy.scheme_str() {
        Some("socks5") => build(config, SocksV5::new(proxy.clone(), direct)),
        Some("http") => build(config, tunnel(proxy, direct)),
        Some("https") => {
            let secure = config.rustls_https_connector_with_connector(direct)?;
            build(config, tunnel(proxy, secure))
        }
        _ => {
            let proxy_url = Box::new(proxy.clone());
            Err(Error::ProxyProtocolUnsupported { proxy_url })
        }
    }
}

fn connector() -> HttpConnector {
    let (first, interval, probes) = KEEP_ALIVE;
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_keepalive(Some(first));
    connector.set_keepalive_interval(Some(interval));
    connector.set_keepalive_retries(Some(probes));
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    connector
}

/// Connections by the proxy's CONNECT, with the credentials in its address.
fn tunnel<C>(proxy: &Uri, connector: C) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy.clone(), connector);
    let known = Matcher::builder().all(proxy.to_string()).build();
    let found = known.intercept(&Uri::from_static("https://server.invalid"));
    match found.as_ref().and_then(|it| it.basic_auth()) {
        Some(credentials) => tunnel.with_auth(credentials.clone()),
        None => tunnel,
    }
}

fn build<C>(config: &Config, connector: C) -> kube::Result<ClientBuilder<Transport>>
where
    C: tower::Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: hyper_util::client::legacy::connect::Connection
        + hyper::rt::Read
        + hyper::rt::Write
        + Send
        + Unpin
        + 'static,
    C::Future: Send + 'static,
    C::Error: std::error::Error + Send + Sync + 'static,
{
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(client(connector));
    let service = service.map_response(|response| {
        response.map(|body| Box::new(body.map_err(BoxError::from)) as Box<DynBody>)
    });
    let transport = BoxService::new(service.map_err(BoxError::from));
    Ok(ClientBuilder::new(transport, config.default_namespace.clone()))
}

fn client<C: Connect + Clone>(connector: C) -> Client<C, Body> {
    Builder::new(TokioExecutor::new()).build(connector)
}
