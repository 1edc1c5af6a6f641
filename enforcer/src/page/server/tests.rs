use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use async_trait::async_trait;
use ipnet::IpNet;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::inspect::State;
use crate::page::{Activity as _, ActivityReport, Clusters, NoActivity};

const MANIFESTS: &str = "
apiVersion: v1
kind: Pod
metadata: { namespace: shop, name: web, labels: { app: web } }
spec: { containers: [{ name: web, image: web, ports: [{ containerPort: 80 }] }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: shop, name: db, labels: { app: db } }
spec: { containers: [{ name: db, image: db, ports: [{ containerPort: 5432 }] }] }
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { namespace: shop, name: db }
spec:
  podSelector: { matchLabels: { app: db } }
  ingress:
    - from: [{ podSelector: { matchLabels: { app: api } } }]
";

struct Fixed;

#[async_trait]
impl Clusters for Fixed {
    async fn state(&self, _: bool) -> anyhow::Result<Arc<State>> {
        let mut state = State::of_text(Path::new("shop.yaml"), MANIFESTS)?;
        state.assume(self.pod_cidr());
        Ok(Arc::new(state))
    }

    fn name(&self) -> String {
        "shop.yaml".to_owned()
    }

    fn pod_cidr(&self) -> Option<IpNet> {
        None
    }
}

/// A request: its first line, further fields, a body.
struct Client {
    address: SocketAddr,
    token: String,
}

impl Client {
    async fn raw(&self, line: &str, fields: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\n{fields}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), body.to_owned())
    }

    fn fields(&self) -> String {
        format!("host: {}\r\nauthorization: Bearer {}\r\n", self.address, self.token)
    }

    async fn get(&self, path: &str) -> (String, String) {
        self.raw(&format!("GET {path}"), &self.fields(), "").await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let answer = self.raw(&format!("POST {path}"), &self.fields(), &body.to_string()).await;
        let status = answer.0.split_whitespace().nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(&answer.1).unwrap())
    }
}

async fn with(test: impl AsyncFnOnce(Client)) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let page = Page::new(Arc::new(Fixed), Arc::new(NoActivity));
    let served = serve(listener, page, stop.clone().cancelled_owned()).unwrap();
    let token = served.url.rsplit_once("#token=").unwrap().1.to_owned();
    assert_eq!(served.url, format!("http://{address}/#token={token}"));
    let server = tokio::spawn(served.serving);
    test(Client { address, token }).await;
    stop.cancel();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn documents_answer_the_page() {
    with(async |client| {
        let (head, body) = client.get("/api/model").await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let model: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&model["kind"], &model["version"]), (&"model".into(), &1.into()));
        assert_eq!(model["workloads"][0]["name"], "shop/db");
        let index = |it: &Value| usize::try_from(it.as_u64().unwrap()).unwrap();
        let kind = |pod: usize| index(&model["pods"][pod]["kind"]);
        let cell = &model["matrix"]["cells"][kind(1)][kind(0)];
        let verdict = &model["matrix"]["verdicts"][index(cell)];
        assert_eq!(verdict["text"], "", "web to db is denied: {model}");
        let question = serde_json::json!({ "from": "shop/web", "to": "shop/db" });
        let (status, answer) = client.post("/api/explain", question).await;
        assert_eq!((status, &answer["verdict"]), (200, &"denied".into()), "{answer}");
        let change = serde_json::json!({ "remove": ["shop/db"] });
        let (status, diff) = client.post("/api/diff", change).await;
        assert_eq!(status, 200);
        let opened = diff["opened"].as_array().unwrap();
        assert!(
            opened.iter().any(|it| it["from"] == "shop/web" && it["to"] == "shop/db"),
            "{diff}"
        );
        let name = serde_json::json!({ "name": "shop/db" });
        let (_, policy) = client.post("/api/policy", name.clone()).await;
        assert!(policy["manifest"].as_str().unwrap().contains("app: api"), "{policy}");
        let (_, described) = client.post("/api/describe", name).await;
        assert_eq!(described["policies"][0]["policy"], "shop/db");
    })
    .await;
}

#[tokio::test]
async fn a_change_may_add_objects_and_names_its_mistakes() {
    with(async |client| {
        let manifests = MANIFESTS.replace("app: api", "app: web");
        let question = serde_json::json!({
            "from": "shop/web", "to": "shop/db", "what_if": { "manifests": manifests },
        });
        let (_, answer) = client.post("/api/explain", question).await;
        assert_eq!(answer["verdict"], "allowed", "{answer}");
        let place = &answer["connections"][0]["ends"][1]["allowed_by"][0];
        assert_eq!((&place["file"], &place["line"]), (&"what-if".into(), &18.into()));
        let mistake = MANIFESTS.replace("podSelector: {", "podSelectors: {");
        let (status, error) =
            client.post("/api/diff", serde_json::json!({ "manifests": mistake })).await;
        assert_eq!(status, 400);
        assert!(error["error"].as_str().unwrap().contains("what-if:16"), "{error}");
        let unknown = serde_json::json!({ "remove": ["shop/none"] });
        assert_eq!(client.post("/api/diff", unknown).await.0, 400);
    })
    .await;
}

#[tokio::test]
async fn an_unchanged_model_is_not_sent_again() {
    with(async |client| {
        let (head, _) = client.get("/api/model").await;
        let tag = head.lines().find_map(|it| it.strip_prefix("etag: ")).unwrap().to_owned();
        let fields = format!("{}if-none-match: {tag}\r\n", client.fields());
        let (head, body) = client.raw("GET /api/model", &fields, "").await;
        assert!(head.starts_with("http/1.1 304") && body.is_empty(), "{head}");
    })
    .await;
}

#[tokio::test]
async fn only_the_page_itself_is_answered() {
    with(async |client| {
        let Client { address, token } = &client;
        let right = format!("authorization: Bearer {token}\r\n");
        let host = format!("host: {address}\r\n");
        let origin = |name: &str| format!("{host}{right}origin: {name}\r\n");
        for (fields, status) in [
            (format!("{host}{right}"), 200),
            (host.clone(), 401),
            (format!("{host}authorization: Bearer {}\r\n", "0".repeat(32)), 401),
            // DNS rebinding.
            (format!("host: evil.example\r\n{right}"), 403),
            (origin("http://evil.example"), 403),
            (origin("null"), 403),
            (origin(&format!("http://{address}")), 200),
            (format!("{host}{right}sec-fetch-site: cross-site\r\n"), 403),
            (format!("{host}{right}sec-fetch-site: same-site\r\n"), 403),
        ] {
            for line in ["GET /api/model", "GET /api/activity"] {
                let (head, _) = client.raw(line, &fields, "").await;
                assert!(
                    head.starts_with(&format!("http/1.1 {status} ")),
                    "{line} {fields}: {head}"
                );
            }
        }
        // A form or a simple request of another site can't carry the token, nor can a URL.
        let (head, _) = client.raw(&format!("GET /api/model?token={token}"), &host, "").await;
        assert!(head.starts_with("http/1.1 401"), "{head}");
    })
    .await;
}

#[tokio::test]
async fn every_answer_limits_what_a_page_may_do() {
    with(async |client| {
        for path in ["/", "/app.js", "/page.css", "/icon.svg", "/api/model", "/api/none", "/none"] {
            let (head, _) = client.get(path).await;
            for field in [
                "content-security-policy: default-src 'none'; script-src 'self'",
                "x-content-type-options: nosniff",
                "referrer-policy: no-referrer",
                "cache-control: no-store",
                "x-frame-options: deny",
                "cross-origin-resource-policy: same-origin",
            ] {
                assert!(head.contains(field), "{path} lacks {field}: {head}");
            }
        }
        for line in ["PUT /api/explain", "DELETE /", "POST /app.js", "GET /api/explain"] {
            let (head, _) = client.raw(line, &client.fields(), "").await;
            assert!(head.starts_with("http/1.1 405"), "{line}: {head}");
        }
        let long = "x".repeat(LONGEST + 1);
        let (head, _) = client.raw("POST /api/diff", &client.fields(), &long).await;
        assert!(head.starts_with("http/1.1 413"), "{head}");
    })
    .await;
}

#[tokio::test]
async fn other_addresses_than_loopback_are_refused() {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let page = Page::new(Arc::new(Fixed), Arc::new(NoActivity));
    let error = serve(listener, page, std::future::pending()).err().unwrap();
    assert!(error.to_string().contains("not on loopback"), "{error}");
    assert_eq!(NoActivity.read().await, ActivityReport::default());
}

/// An agent's page: what its status shows needs no token, but the checks against other sites stay.
#[tokio::test]
async fn without_a_token_other_sites_are_still_refused() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let page = Page::new(Arc::new(Fixed), Arc::new(NoActivity));
    let served = serve_without_token(listener, page, stop.clone().cancelled_owned()).unwrap();
    assert_eq!(served.url, format!("http://{address}/"));
    let server = tokio::spawn(served.serving);
    let client = Client { address, token: String::new() };
    let host = format!("host: {address}\r\n");
    let (head, _) = client.raw("GET /api/model", &host, "").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    for fields in [
        "host: rebound.example.org\r\n".to_owned(),
        format!("{host}origin: http://example.org\r\n"),
        format!("{host}sec-fetch-site: cross-site\r\n"),
        format!("{host}sec-fetch-site: same-site\r\n"),
    ] {
        let (head, _) = client.raw("GET /api/model", &fields, "").await;
        assert!(head.starts_with("http/1.1 403"), "{fields}: {head}");
    }
    stop.cancel();
    server.await.unwrap().unwrap();
}
