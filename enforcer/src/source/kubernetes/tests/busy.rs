//! Many changes elsewhere: how often the agent hears of them, and how soon of its own pods.

use super::server::Piece;
use super::*;

/// An update's time, in milliseconds, and the names of its pods.
type Seen = (u128, Vec<String>);

fn of_node(name: &str, version: u32, node: &str) -> String {
    let mut pod = pod(name, version);
    pod["spec"]["nodeName"] = json!(node);
    event("MODIFIED", &pod)
}

/// The updates after the first lists, until nothing has come for a second.
async fn updates(events: impl IntoIterator<Item = String>) -> Vec<Seen> {
    let wait = || Piece::Wait(Duration::from_millis(1));
    let first = [Piece::Wait(Duration::from_secs(10))].into_iter();
    let events = server::lines(events).flat_map(|it| [it, wait()]);
    let watch = Answer::Pieces(first.chain(events).chain([Piece::Silence]).collect());
    let server = Server::default();
    server.on("pods", [Answer::List(Vec::new(), 5, None), watch]);
    let mut scene = Scene::start(server);
    scene.seconds(9).await;
    assert!(scene.complete);
    let (mut seen, mut first) = (Vec::new(), None);
    let limit = Duration::from_secs(2);
    while let Ok(update) = tokio::time::timeout(limit, scene.updates.recv()).await {
        let now = tokio::time::Instant::now();
        let names = update.unwrap().changes.into_iter().filter_map(|it| match it {
            enforcer_core::model::Change::Pod(pod) => Some(pod.id.name.to_string()),
            _ => None,
        });
        seen.push(((now - *first.get_or_insert(now)).as_millis(), names.collect()));
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn a_busy_clusters_changes_come_together_and_this_nodes_at_once() {
    let name = |at: u32| format!("pod-{at}");
    let node = |at| if at == 27 { NODE } else { "elsewhere" };
    let seen = updates((0..40).map(|at| of_node(&name(at), 10 + at, node(at)))).await;
    let expected = [(0, 0..1), (10, 1..11), (20, 11..21), (27, 21..28), (37, 28..38), (47, 38..40)];
    let expected = expected.map(|(at, pods)| (at, pods.map(name).collect::<Vec<_>>()));
    assert_eq!(seen, expected);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_clusters_changes_come_at_once() {
    let waits = (0..5).flat_map(|at| {
        let change = of_node("other", 10 + at, "elsewhere");
        // Bookmarks, which are no news.
        let object =
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}});
        std::iter::once(change).chain((0..19).map(move |_| event("BOOKMARK", &object)))
    });
    let seen = updates(waits).await;
    assert_eq!(seen.iter().map(|it| it.0).collect::<Vec<_>>(), [0, 20, 40, 60, 80]);
}
