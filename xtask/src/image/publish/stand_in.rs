//! A registry on loopback that checks what clients send, as far as the specification says "MUST".
//! Source: <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md>

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::artifact::digest;

/// What a registry holds.
#[derive(Default)]
pub(super) struct Store {
    /// By repository and digest.
    pub(super) blobs: BTreeMap<(String, String), Vec<u8>>,
    /// By repository and digest or tag: media type and content.
    pub(super) manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    /// Whether it lists referrers. Older registries, and ghcr.io, do not.
    lists_referrers: bool,
    /// The password that it requires.
    password: Option<&'static str>,
}

/// A running registry.
pub(super) struct StandIn {
    pub(super) address: SocketAddr,
    store: Arc<Mutex<Store>>,
}

impl StandIn {
    pub(super) fn start(lists_referrers: bool, password: Option<&'static str>) -> Self {
        let store = Store { lists_referrers, password, ..Store::default() };
        let store = Arc::new(Mutex::new(store));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(store.clone());
        // It ends with the test program.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, router).await.unwrap();
            });
        });
        Self { address, store }
    }

    pub(super) fn store<R>(&self, read: impl FnOnce(&Store) -> R) -> R {
        read(&self.store.lock().unwrap())
    }
}

async fn answer(
    State(store): State<Arc<Mutex<Store>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut store = store.lock().unwrap();
    if !store.knows(&headers) {
        return (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Basic realm=\"test\"")])
            .into_response();
    }
    let path = uri.path().trim_start_matches("/v2/");
    if path.is_empty() {
        return StatusCode::OK.into_response();
    }
    for (part, handle) in [
        ("/blobs/uploads/", Store::upload as Handler),
        ("/blobs/", Store::blob),
        ("/manifests/", Store::manifest),
        ("/referrers/", Store::referrers),
    ] {
        if let Some((repository, rest)) = path.split_once(part) {
            let request = Request { method, repository, rest, uri: &uri, headers: &headers, body };
            return handle(&mut store, &request);
        }
    }
    StatusCode::NOT_FOUND.into_response()
}

type Handler = fn(&mut Store, &Request<'_>) -> Response;

struct Request<'a> {
    method: Method,
    repository: &'a str,
    rest: &'a str,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    body: Bytes,
}

impl Request<'_> {
    fn key(&self, name: &str) -> (String, String) {
        (self.repository.to_owned(), name.to_owned())
    }
}

fn created(location: String) -> Response {
    (StatusCode::CREATED, [(LOCATION, location)]).into_response()
}

impl Store {
    /// Whether the request has the password of the user "user".
    fn knows(&self, headers: &HeaderMap) -> bool {
        use base64::Engine as _;
        let Some(password) = self.password else { return true };
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("user:{password}"));
        headers
            .get(AUTHORIZATION)
            .is_some_and(|it| it.as_bytes() == format!("Basic {pair}").as_bytes())
    }

    fn upload(&mut self, request: &Request<'_>) -> Response {
        let repository = request.repository;
        if request.method == Method::POST {
            let location = format!("/v2/{repository}/blobs/uploads/1?state=a");
            return (StatusCode::ACCEPTED, [(LOCATION, location)]).into_response();
        }
        let query = request.uri.query().unwrap_or_default().replace("%3A", ":");
        let wanted = query.split('&').find_map(|it| it.strip_prefix("digest=")).unwrap_or_default();
        if request.method != Method::PUT || digest(&request.body) != wanted {
            return StatusCode::BAD_REQUEST.into_response();
        }
        self.blobs.insert(request.key(wanted), request.body.to_vec());
        created(format!("/v2/{repository}/blobs/{wanted}"))
    }

    fn blob(&mut self, request: &Request<'_>) -> Response {
        match self.blobs.get(&request.key(request.rest)) {
            Some(content) => content.clone().into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }

    fn manifest(&mut self, request: &Request<'_>) -> Response {
        let key = request.key(request.rest);
        if request.method != Method::PUT {
            return match self.manifests.get(&key) {
                Some((media_type, content)) => {
                    let found = digest(content);
                    let headers = [("content-type", media_type), ("docker-content-digest", &found)];
                    (headers.map(|(name, value)| (name, value.clone())), content.clone())
                        .into_response()
                }
                None => StatusCode::NOT_FOUND.into_response(),
            };
        }
        let media_type = request.headers[CONTENT_TYPE].to_str().unwrap().to_owned();
        let manifest: Value = serde_json::from_slice(&request.body).unwrap();
        let digest = digest(&request.body);
        let by_digest = request.rest.starts_with("sha256:");
        if manifest["mediaType"] != media_type
            || by_digest && request.rest != digest
            || !self.has_parts(request, &manifest)
        {
            return StatusCode::BAD_REQUEST.into_response();
        }
        for name in [request.rest, &digest] {
            self.manifests.insert(request.key(name), (media_type.clone(), request.body.to_vec()));
        }
        created(format!("/v2/{}/manifests/{digest}", request.repository))
    }

    /// Whether everything that a manifest names is there.
    fn has_parts(&self, request: &Request<'_>, manifest: &Value) -> bool {
        let list = |name: &str| manifest[name].as_array().cloned().unwrap_or_default();
        let there = |it: &Value| {
            let key = request.key(it["digest"].as_str().unwrap());
            let blob = self.blobs.get(&key).map(Vec::len);
            let length = blob.or_else(|| self.manifests.get(&key).map(|(_, it)| it.len()));
            length.map(|it| it as u64) == it["size"].as_u64()
        };
        let config = manifest.get("config").into_iter().cloned();
        config.chain(list("layers")).chain(list("manifests")).all(|it| there(&it))
    }

    fn referrers(&mut self, request: &Request<'_>) -> Response {
        if !self.lists_referrers {
            return StatusCode::NOT_FOUND.into_response();
        }
        let all = self.manifests.iter().filter(|((repository, name), (_, content))| {
            let manifest: Value = serde_json::from_slice(content).unwrap();
            repository == request.repository
                && name.starts_with("sha256:")
                && manifest["subject"]["digest"] == request.rest
        });
        let all: Vec<_> = all
            .map(|((_, name), (media_type, content))| {
                json!({"mediaType": media_type, "digest": name, "size": content.len()})
            })
            .collect();
        let index = "application/vnd.oci.image.index.v1+json";
        let body = json!({"schemaVersion": 2, "mediaType": index, "manifests": all});
        ([(CONTENT_TYPE, index)], body.to_string()).into_response()
    }
}
