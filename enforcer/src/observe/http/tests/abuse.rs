//! Requests of strangers: many of them, endless ones, and those of a browser on another site's behalf.

use super::*;

async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // The server may close the connection before it has read everything.
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

/// The status code of a request with these headers; 0 if there is no answer.
async fn code(address: SocketAddr, line: &str, headers: &str) -> u16 {
    let answer = raw(address, &format!("{line}\r\n{headers}connection: close\r\n\r\n")).await;
    answer.split(' ').nth(1).map_or(0, |it| it.parse().unwrap())
}

#[tokio::test]
async fn idle_connections_keep_no_probe_from_its_answer() {
    const IDLE: usize = 300;
    with(agent(), Paths::All, async |address| {
        let mut idle = Vec::new();
        for _ in 0..IDLE {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
            idle.push(stream);
        }
        assert!(request(address, "/healthz").await.0.starts_with("http/1.1 200"));
        let mut open = 0;
        for mut stream in idle {
            let mut byte = [0];
            let read = stream.read(&mut byte);
            // A closed one is read at once.
            let ended = tokio::time::timeout(std::time::Duration::from_millis(20), read).await;
            open += usize::from(ended.is_err());
        }
        assert!(open <= 64, "{open} of {IDLE} are still open");
    })
    .await;
}

#[tokio::test]
async fn a_request_must_come_in_time_and_be_taken_in_time() {
    let short = std::time::Duration::from_millis(50);
    let limits = Limits { head: short, connection: short * 2, ..Limits::of_process(1024) };
    with_limits(agent(), Paths::All, limits, async |address| {
        for begun in [
            "",
            "GET",
            "GET /healthz HTTP/1.1\r\nhost: x\r\n",
            "PUT /log HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nin",
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(begun.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            // Only a failing test waits this long.
            let end = stream.read_to_end(&mut rest);
            let end = tokio::time::timeout(std::time::Duration::from_secs(20), end).await;
            assert!(end.is_ok(), "{begun:?} is waited for");
        }
    })
    .await;
}

#[tokio::test]
async fn a_head_is_limited() {
    with(agent(), Paths::All, async |address| {
        let long = format!("x: {}\r\n", "y".repeat(60_000));
        let many: String = (0..200).map(|it| format!("x{it}: y\r\n")).collect();
        for headers in [long, many] {
            let code = code(address, "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1", &headers).await;
            assert!(matches!(code, 0 | 431), "{code}");
        }
    })
    .await;
}

/// A name that a stranger's DNS server resolves to this address (DNS rebinding).
#[tokio::test]
async fn status_and_log_require_a_loopback_host() {
    with(agent(), Paths::All, async |address| {
        let port = address.port();
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "[2001:db8::1]:9469",
            "",
            "0.0.0.0",
            "127.0.0.1:x",
            "user@127.0.0.1",
        ] {
            for line in ["GET /status HTTP/1.1", "GET /log HTTP/1.1", "PUT /log HTTP/1.1"] {
                let headers = format!("host: {host}\r\ncontent-length: 0\r\n");
                let code = code(address, line, &headers).await;
                assert!(matches!(code, 400 | 403), "{line} {host:?}: {code}");
            }
        }
        let absolute = "GET http://evil.example/status HTTP/1.1\r\nhost: 127.0.0.1";
        assert_eq!(code(address, absolute, "").await, 403);
        let two = "GET /status HTTP/1.1\r\nhost: 127.0.0.1\r\nhost: evil.example";
        assert!(matches!(code(address, two, "").await, 400 | 403));
        assert_eq!(code(address, "GET /status HTTP/1.0", "").await, 403);
        for host in [
            &*format!("127.0.0.1:{port}"),
            "127.0.0.1",
            "localhost",
            "LOCALHOST:9469",
            "[::1]:9469",
            "127.8.8.8",
        ] {
            let code = code(address, "GET /status HTTP/1.1", &format!("host: {host}\r\n")).await;
            assert_eq!(code, 200, "{host}");
        }
    })
    .await;
}

/// kubelets and Prometheus use the node's address, a proxy before them may use a name.
#[tokio::test]
async fn probes_and_metrics_take_any_host() {
    with(agent(), Paths::All, async |address| {
        for host in ["10.0.0.1:9469", "[2001:db8::1]:9469", "node-1.example:9469"] {
            for path in ["/metrics", "/healthz", "/readyz"] {
                let line = format!("GET {path} HTTP/1.1");
                assert_eq!(code(address, &line, &format!("host: {host}\r\n")).await, 200);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn requests_of_other_origins_are_refused() {
    with(agent(), Paths::All, async |address| {
        for origin in ["http://evil.example", "null", "https://127.0.0.1", "http://10.0.0.1", "x"] {
            for line in ["GET /status HTTP/1.1", "PUT /log HTTP/1.1", "GET /metrics HTTP/1.1"] {
                let headers =
                    format!("host: 127.0.0.1\r\norigin: {origin}\r\ncontent-length: 0\r\n");
                assert_eq!(code(address, line, &headers).await, 403, "{line} {origin}");
            }
        }
        let own = "host: localhost:9469\r\norigin: http://localhost:9469\r\n";
        assert_eq!(code(address, "GET /status HTTP/1.1", own).await, 200);
    })
    .await;
}
