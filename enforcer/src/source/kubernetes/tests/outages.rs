//! Outages of the server, quiet kinds, and watches that end: how soon changes arrive again.

use super::server::Piece;
use super::*;

/// The longest time from the server's return until its changes are known.
const RETURN: u64 = 5;

fn ended_after(seconds: u64) -> Answer {
    Answer::Pieces(vec![Piece::Wait(Duration::from_secs(seconds))])
}

fn with_pod(watch: impl IntoIterator<Item = Answer>) -> Server {
    let server = Server::default();
    server.on("pods", [Answer::List(vec![pod("one", 5)], 5, None)]);
    server.on("pods", watch)
}

fn expired() -> Answer {
    let status = json!({"code": 410, "reason": "Expired", "message": "too old resource version"});
    Answer::ended([event("ERROR", &status)])
}

#[tokio::test(start_paused = true)]
async fn a_returned_server_is_found_within_five_seconds() {
    for outage in [1, 10, 120, 3600] {
        let back = Answer::watch([event("ADDED", &pod("two", 6))]);
        let server = with_pod([ended_after(30), back]);
        let mut scene = Scene::start(server.clone());
        scene.seconds(29).await;
        server.set_down(true);
        scene.seconds(1 + outage).await;
        assert_eq!(scene.state(Kind::Pod).phase, Phase::Reconnecting);
        server.set_down(false);
        scene.seconds(RETURN).await;
        assert_eq!(scene.pods(), ["one", "two"], "after {outage} seconds");
        let state = scene.state(Kind::Pod);
        assert_eq!((state.phase, state.failing, state.lists), (Phase::Synced, None, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_version_is_listed_at_once_and_not_called_synced() {
    for outage in [0, 120] {
        let list = Answer::List(vec![pod("one", 5), pod("two", 9)], 9, None);
        let slow = Answer::After(Duration::from_secs(2), Box::new(list));
        let server = with_pod([ended_after(30), expired(), slow]);
        let mut scene = Scene::start(server.clone());
        scene.seconds(29).await;
        server.set_down(outage > 0);
        scene.seconds(1 + outage).await;
        server.set_down(false);
        // At most the wait for the server, and none for the list.
        let started_at = tokio::time::Instant::now();
        while scene.state(Kind::Pod).lists == 1 {
            scene.pass(Duration::from_millis(50)).await;
            let waited = started_at.elapsed().as_secs();
            assert!(waited < if outage == 0 { 1 } else { RETURN }, "{outage}: {waited}");
        }
        assert_eq!(scene.state(Kind::Pod).phase, Phase::Listing);
        scene.seconds(1).await;
        assert_eq!((scene.pods(), scene.state(Kind::Pod).phase), (vec!["one"], Phase::Listing));
        scene.seconds(2).await;
        assert_eq!(scene.pods(), ["one", "two"]);
        assert_eq!(scene.state(Kind::Pod).phase, Phase::Synced);
    }
}

/// 410 as the answer itself, as older servers send it.
#[tokio::test(start_paused = true)]
async fn an_expired_version_in_the_answer_is_listed_at_once() {
    let gone = Answer::Status(410, json!({"message": "too old", "reason": "Gone"}));
    let list = Answer::List(vec![pod("two", 9)], 9, None);
    let mut scene = Scene::start(with_pod([gone, list]));
    scene.pass(Duration::from_millis(100)).await;
    assert_eq!(scene.pods(), ["two"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_expires_everything_is_not_flooded() {
    let server = Server::default();
    let again = (0..1000).flat_map(|_| [Answer::List(vec![pod("one", 5)], 5, None), expired()]);
    server.on("pods", again);
    let mut scene = Scene::start(server);
    scene.seconds(60).await;
    let lists = scene.state(Kind::Pod).lists;
    assert!((5..20).contains(&lists), "{lists}");
}

#[tokio::test(start_paused = true)]
async fn an_orderly_ended_watch_is_restarted_at_once_and_counts_as_no_failure() {
    let back = Answer::watch([event("ADDED", &pod("two", 6))]);
    let mut scene = Scene::start(with_pod([ended_after(60), ended_after(60), back]));
    scene.seconds(119).await;
    assert_eq!(scene.pods(), ["one"]);
    scene.pass(Duration::from_millis(1_100)).await;
    assert_eq!(scene.pods(), ["one", "two"]);
    assert_eq!((scene.state(Kind::Pod).errors, scene.state(Kind::Pod).lists), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_every_watch_at_once_is_not_flooded() {
    let mut scene = Scene::start(with_pod((0..10_000).map(|_| Answer::ended([]))));
    scene.seconds(60).await;
    let asked = scene.asked("pods").len();
    assert!((30..100).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_short_again_after_a_success() {
    let failures = || (0..8).map(|_| Answer::Refused);
    let back = Answer::watch([event("ADDED", &pod("two", 6))]);
    let answers = failures().chain([ended_after(30)]).chain([Answer::Refused, back]);
    let mut scene = Scene::start(with_pod(answers));
    while scene.asked("pods").len() < 10 {
        scene.seconds(1).await;
    }
    // The watch that worked ends, and one attempt fails.
    scene.seconds(30).await;
    scene.seconds(2).await;
    assert_eq!(scene.pods(), ["one", "two"]);
}

/// A server that answers a watch with its head only, on a real connection.
#[tokio::test]
async fn a_quiet_watch_is_left_open() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, mut requests) = mpsc::channel(64);
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let asked = asked.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                let mut byte = [0; 1024];
                loop {
                    let count = stream.read(&mut byte).await.unwrap_or(0);
                    if count == 0 {
                        return;
                    }
                    request.extend_from_slice(&byte[..count]);
                    if !request.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    let text = String::from_utf8(std::mem::take(&mut request)).unwrap();
                    let is_watch = text.contains("watch=true");
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
                    let list = json!({"kind": "List", "apiVersion": "v1", "items": [],
                                      "metadata": {"resourceVersion": "5"}})
                    .to_string();
                    let answer = if is_watch {
                        format!("{head}Transfer-Encoding: chunked\r\n\r\n")
                    } else {
                        format!("{head}Content-Length: {}\r\n\r\n{list}", list.len())
                    };
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    let _ = asked.send(is_watch).await;
                }
            });
        }
    });
    let config = kube::Config::new(url.parse().unwrap());
    let connection = Connection::with_silence(config, Duration::from_millis(50));
    let kubernetes = Kubernetes::new(connection, NODE.to_owned());
    let watches = kubernetes.watches();
    let (sender, _updates) = mpsc::channel::<Update>(64);
    let task = tokio::spawn(kubernetes.watch(sender));
    let mut watched = 0;
    while watched < Kind::ALL.len() {
        let request = tokio::time::timeout(Duration::from_secs(20), requests.recv()).await;
        watched += usize::from(request.unwrap().unwrap());
    }
    // Several times the limit on the server's answers.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for (kind, state) in watches.states() {
        assert_eq!((state.errors, state.lists, state.failing), (0, 1, None), "{kind:?}");
    }
    task.abort();
    server.abort();
}
