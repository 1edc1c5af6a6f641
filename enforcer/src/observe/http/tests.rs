use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::super::{PodMetrics, fixture};
use super::*;

mod abuse;

struct Agent {
    metrics: Metrics,
    log: LogFilter,
    healthy: Result<(), String>,
    ready: Result<(), String>,
}

impl Observed for Agent {
    fn report(&self) -> Report {
        fixture::report()
    }

    fn drops(&self, after: u64) -> Vec<RecentDrop> {
        fixture::report().drops.into_iter().filter(|it| it.number > after).collect()
    }

    fn flows(&self, after: u64) -> Flows {
        Flows { revision: after, ..Flows::default() }
    }

    async fn ask(&self, asked: Asked, question: LiveQuestion) -> Result<String, AskError> {
        match question.to.as_str() {
            "nothing" => Err(AskError::Question("there is no pod nothing".to_owned())),
            "later" => Err(AskError::Busy("try again".to_owned())),
            _ => Ok(format!("{asked:?} {} {}", question.from, question.to)),
        }
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn healthy(&self) -> Result<(), String> {
        self.healthy.clone()
    }

    fn log(&self) -> &LogFilter {
        &self.log
    }

    fn ready(&self) -> Result<(), String> {
        self.ready.clone()
    }
}

/// The head (in lower case) and the body of the answer to a request.
async fn request(address: SocketAddr, path: &str) -> (String, String) {
    send(address, "GET", path, "").await
}

async fn send(address: SocketAddr, method: &str, path: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

fn agent() -> Agent {
    let (metrics, log) = (Metrics::new(PodMetrics::Pod), LogFilter::unconnected("info"));
    Agent { metrics, log, healthy: Ok(()), ready: Ok(()) }
}

async fn with(agent: Agent, paths: Paths, test: impl AsyncFnOnce(SocketAddr)) {
    with_limits(agent, paths, Limits::of_process(1024), test).await;
}

async fn with_limits(
    agent: Agent,
    paths: Paths,
    limits: Limits,
    test: impl AsyncFnOnce(SocketAddr),
) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let server = tokio::spawn(serve(listener, paths, Arc::new(agent), limits, stopped));
    test(address).await;
    stop.cancel();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn answers_have_the_data_and_its_content_type() {
    with(agent(), Paths::All, async |address| {
        let (head, body) = request(address, "/metrics").await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains(&format!("content-type: {TEXT}")), "{head}");
        let open = Metrics::new(PodMetrics::Pod).text(fixture::report());
        assert_eq!(body, crate::observe::metrics::plain(&open));
        let accept = "text/plain;q=0.5,application/openmetrics-text;version=1.0.0";
        let path = format!("/metrics HTTP/1.1\r\naccept: {accept}\r\nx-rest:");
        let (head, body) = request(address, &path).await;
        assert!(head.contains(&format!("content-type: {OPEN_METRICS}")), "{head}");
        assert_eq!(body, open);
        let (head, body) = request(address, "/status").await;
        assert!(head.contains("content-type: application/json"), "{head}");
        let status: Status = serde_json::from_str(&body).unwrap();
        assert_eq!(status, Status::new(fixture::report(), None));
        assert!(request(address, "/").await.0.starts_with("http/1.1 404"));
    })
    .await;
}

#[tokio::test]
async fn probes_show_the_problem() {
    let stuck = || Err("the loop is stuck".to_owned());
    let missing = || Err("no lists yet".to_owned());
    for (healthy, ready, healthz, readyz) in [
        (Ok(()), Ok(()), (200, "ok\n"), (200, "ok\n")),
        (Ok(()), missing(), (200, "ok\n"), (503, "no lists yet\n")),
        (stuck(), Ok(()), (503, "the loop is stuck\n"), (200, "ok\n")),
    ] {
        let is_ready = ready.is_ok();
        with(Agent { healthy, ready, ..agent() }, Paths::All, async |address| {
            for (path, (code, text)) in [("/healthz", healthz), ("/readyz", readyz)] {
                let (head, body) = request(address, path).await;
                assert!(head.starts_with(&format!("http/1.1 {code}")), "{path}: {head}");
                assert_eq!(body, text);
            }
            let (_, body) = request(address, "/status").await;
            assert_eq!(serde_json::from_str::<Status>(&body).unwrap().ready, is_ready);
        })
        .await;
    }
}

#[tokio::test]
async fn status_and_log_are_not_served_with_the_metrics() {
    let codes = async |paths, expected: [&str; 6]| {
        with(agent(), paths, async |address| {
            for (path, code) in ["/metrics", "/healthz", "/readyz", "/status", "/log", "/drops"]
                .into_iter()
                .zip(expected)
            {
                let (head, _) = request(address, path).await;
                assert!(head.starts_with(&format!("http/1.1 {code}")), "{paths:?} {path}: {head}");
            }
        })
        .await;
    };
    codes(Paths::Metrics, ["200", "200", "200", "404", "404", "404"]).await;
    codes(Paths::Status, ["404", "404", "404", "200", "200", "200"]).await;
    codes(Paths::All, ["200"; 6]).await;
    with(agent(), Paths::Metrics, async |address| {
        let (head, _) = send(address, "PUT", "/log", "debug").await;
        assert!(head.starts_with("http/1.1 404"), "{head}");
    })
    .await;
}

#[tokio::test]
async fn the_log_filter_can_be_changed() {
    with(agent(), Paths::All, async |address| {
        assert_eq!(request(address, "/log").await.1, "info\n");
        let (head, body) = send(address, "PUT", "/log", "enforcer::drops=off,debug\n").await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert_eq!(body, "enforcer::drops=off,debug\n");
        let (head, body) = send(address, "PUT", "/log", "loud").await;
        assert!(
            head.starts_with("http/1.1 400") && body.contains("\"loud\" is not a level"),
            "{body}"
        );
        let (head, _) = send(address, "PUT", "/log", &"a=info,".repeat(1_000)).await;
        assert!(head.starts_with("http/1.1 413"), "{head}");
        assert_eq!(request(address, "/log").await.1, "enforcer::drops=off,debug\n");
    })
    .await;
}

#[tokio::test]
async fn drops_are_served_after_a_number() {
    with(agent(), Paths::Status, async |address| {
        for (path, count) in [("/drops", 1), ("/drops?after=7", 1), ("/drops?after=8", 0)] {
            let (head, body) = request(address, path).await;
            assert!(head.starts_with("http/1.1 200"), "{head}");
            let drops: Vec<RecentDrop> = serde_json::from_str(&body).unwrap();
            assert_eq!(drops.len(), count, "{path}");
        }
        for wrong in ["/drops?after=", "/drops?after=-1", "/drops?before=1"] {
            assert!(request(address, wrong).await.0.starts_with("http/1.1 400"), "{wrong}");
        }
    })
    .await;
}

#[tokio::test]
async fn questions_are_answered_on_loopback_only() {
    with(agent(), Paths::All, async |address| {
        let (head, body) = request(address, "/trace?from=shop%2Fweb&to=db%3A80").await;
        assert!(head.starts_with("http/1.1 200") && head.contains("application/json"), "{head}");
        assert_eq!(body, "Trace shop/web db:80");
        assert_eq!(request(address, "/explain?from=a&to=b").await.1, "Explain a b");
        for (path, code, text) in [
            ("/trace?from=a&to=nothing", "400", "there is no pod nothing\n"),
            ("/trace?from=a&to=later", "503", "try again\n"),
            ("/trace?from=a", "400", "expected ?from=FROM&to=TO\n"),
        ] {
            let (head, body) = request(address, path).await;
            assert!(head.starts_with(&format!("http/1.1 {code}")), "{path}: {head}");
            assert_eq!(body, text, "{path}");
        }
    })
    .await;
    with(agent(), Paths::Metrics, async |address| {
        let (head, _) = request(address, "/trace?from=a&to=b").await;
        assert!(head.starts_with("http/1.1 404"), "{head}");
    })
    .await;
}
