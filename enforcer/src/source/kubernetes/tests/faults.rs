//! Failing servers and connections: nothing is lost, and the watch resumes.

use super::server::{Piece, lines};
use super::*;

/// A server with one pod and these answers to its watch.
fn with_pod(watch: impl IntoIterator<Item = Answer>) -> Server {
    let server = Server::default();
    server.on("pods", [Answer::List(vec![pod("one", 5)], 5, None)]);
    server.on("pods", watch)
}

#[tokio::test(start_paused = true)]
async fn c4_an_outage_changes_nothing_and_ends() {
    let back = Answer::watch([event("ADDED", &pod("two", 6))]);
    let server = with_pod([Answer::Pieces(vec![Piece::Wait(Duration::from_secs(1))]), back]);
    let mut scene = Scene::start(server.clone());
    scene.pass(Duration::from_millis(500)).await;
    server.set_down(true);
    scene.seconds(240).await;
    assert!(scene.complete);
    assert_eq!(scene.pods(), ["one"]);
    let state = scene.state(Kind::Pod);
    assert_eq!((state.phase, state.lists), (Phase::Reconnecting, 1));
    assert_eq!(state.failing.as_deref(), Some("cannot watch pods: connection refused"));
    // Every 1.5 to 3 seconds, at random.
    assert!((80..170).contains(&state.errors), "{}", state.errors);
    assert!(scene.asked("pods")[1..].iter().all(|it| it.contains("resourceVersion=5")));
    server.set_down(false);
    scene.seconds(5).await;
    assert_eq!(scene.pods(), ["one", "two"]);
    let state = scene.state(Kind::Pod);
    assert_eq!((state.phase, state.lists, state.failing), (Phase::Synced, 1, None));
}

#[tokio::test(start_paused = true)]
async fn a_watch_resumes_where_it_was_cut() {
    let torn = event("MODIFIED", &pod("one", 7));
    let (half, _) = torn.split_at(torn.len() / 2);
    for end in [Piece::Cut, Piece::Wait(Duration::ZERO)] {
        let first = lines([event("ADDED", &pod("two", 6))]);
        let pieces = first.chain([Piece::Text(half.to_owned()), end]).collect();
        let rest = Answer::watch([torn.clone(), event("DELETED", &pod("two", 8))]);
        let mut scene = Scene::start(with_pod([Answer::Pieces(pieces), rest]));
        scene.seconds(5).await;
        assert_eq!(scene.pods(), ["one"]);
        let asked = scene.asked("pods");
        assert_eq!(asked.len(), 3, "{asked:?}");
        assert!(asked[2].contains("resourceVersion=6"), "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_is_where_to_resume_and_a_sign_of_life() {
    let mark = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "50"}});
    let pieces =
        [Piece::Wait(Duration::from_secs(60))].into_iter().chain(lines([event("BOOKMARK", &mark)]));
    let server = with_pod([Answer::Pieces(pieces.collect()), Answer::Refused, Answer::watch([])]);
    let mut scene = Scene::start(server);
    scene.seconds(1).await;
    let before = scene.state(Kind::Pod).received_at.unwrap();
    scene.seconds(60).await;
    assert!(scene.state(Kind::Pod).received_at.unwrap() > before);
    scene.seconds(10).await;
    assert!(scene.asked("pods")[2..].iter().all(|it| it.contains("resourceVersion=50")));
    // The resumed watch is noticed although it has no event.
    assert_eq!(scene.state(Kind::Pod).phase, Phase::Synced);
}

#[tokio::test(start_paused = true)]
async fn c4_after_an_unreadable_event_everything_is_listed_again() {
    let gibberish =
        ["{\"type\":\"ADDED\",\"object\":7]", "garbage", "{\"type\":\"WHAT\",\"object\":{}}"];
    for line in gibberish {
        let watch = Answer::watch([line.to_owned(), event("ADDED", &pod("two", 7))]);
        let list = Answer::List(vec![pod("one", 5), pod("missed", 6)], 8, None);
        let mut scene = Scene::start(with_pod([watch, list]));
        scene.seconds(10).await;
        assert_eq!(scene.pods(), ["missed", "one"], "{line}");
        assert_eq!(scene.state(Kind::Pod).lists, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_list_is_requested_again() {
    let server = Server::default();
    server.on(
        "pods",
        [
            Answer::Pieces(vec![Piece::Text("<html>welcome to the proxy</html>".to_owned())]),
            Answer::Pieces(vec![Piece::Text("{\"items\":[".to_owned()), Piece::Cut]),
            Answer::Status(500, json!({"message": "etcd has no leader"})),
            Answer::List(vec![pod("one", 1)], 1, None),
        ],
    );
    let mut scene = Scene::start(server);
    scene.seconds(60).await;
    assert_eq!((scene.pods(), scene.complete), (vec!["one"], true));
    assert_eq!((scene.state(Kind::Pod).errors, scene.state(Kind::Pod).lists), (3, 4));
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_gets_the_wait_that_it_asks_for() {
    let busy = || Answer::Status(429, json!({"details": {"retryAfterSeconds": 40}}));
    let mut scene = Scene::start(with_pod([busy(), Answer::watch([])]));
    scene.seconds(39).await;
    assert_eq!(scene.asked("pods").len(), 2);
    scene.seconds(2).await;
    assert_eq!(scene.asked("pods").len(), 3);
    assert_eq!((scene.pods(), scene.state(Kind::Pod).lists), (vec!["one"], 1));
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_is_reported_with_its_remedy() {
    let refused = json!({"message": "pods is forbidden", "reason": "Forbidden"});
    let server = Server::default();
    server.on("pods", [Answer::Status(403, refused)]);
    let mut scene = Scene::start(server);
    scene.pass(Duration::from_millis(100)).await;
    let expected = "the first list of pods is not complete (cannot list pods: pods is forbidden \
                    (403: let the agent's service account list and watch pods))";
    assert_eq!(scene.watches.missing().as_deref(), Some(expected));
    scene.seconds(10).await;
    assert!(scene.complete);
}

#[tokio::test(start_paused = true)]
async fn a_silent_watch_is_restarted() {
    let back = Answer::watch([event("ADDED", &pod("two", 6))]);
    let mut scene = Scene::start(with_pod([Answer::watch([]), back]));
    scene.seconds(190).await;
    assert_eq!(scene.pods(), ["one"]);
    scene.seconds(100).await;
    assert_eq!(scene.pods(), ["one", "two"]);
    assert_eq!((scene.state(Kind::Pod).errors, scene.state(Kind::Pod).lists), (0, 1));
}

/// A version that the server does not have (yet): one that was restored from a backup.
#[tokio::test(start_paused = true)]
async fn a_server_without_the_version_is_listed_again() {
    let unknown = json!({"message": "Too large resource version", "reason": "Timeout"});
    let list = Answer::List(vec![pod("two", 2)], 2, None);
    let mut scene = Scene::start(with_pod([Answer::Status(504, unknown), list]));
    scene.seconds(10).await;
    assert_eq!(scene.pods(), ["two"]);
}

/// The time limit of the connection itself, which needs a real one.
#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, mut requests) = mpsc::channel(16);
    let server = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
            let _ = asked.send(()).await;
        }
    });
    let config = kube::Config::new(url.parse().unwrap());
    let connection = Connection::with_silence(config, Duration::from_millis(50));
    let kubernetes = Kubernetes::new(connection, NODE.to_owned());
    let watches = kubernetes.watches();
    let (sender, _updates) = mpsc::channel::<Update>(1);
    let task = tokio::spawn(kubernetes.watch(sender));
    for _ in 0..=Kind::ALL.len() {
        // One more than there are kinds: some request was repeated.
        tokio::time::timeout(Duration::from_secs(20), requests.recv()).await.unwrap();
    }
    assert!(watches.states().iter().any(|(_, state)| state.errors > 0));
    task.abort();
    server.abort();
}
