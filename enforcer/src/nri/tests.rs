//! The plugin against a runtime's bytes: recordings of containerd, and invalid messages.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::*;

const CURRENT: &str = include_str!("recordings/containerd-2.1.9.txt");
const OLD: &str = include_str!("recordings/containerd-1.7.24.txt");

/// The bytes of a recording and their senders, in order.
fn recorded(text: &str) -> Vec<(&str, Vec<u8>)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pieces = lines.map(|line| {
        let (sender, hex) = line.split_once(' ').unwrap();
        let digits: Vec<u8> =
            hex.chars().map(|it| u8::try_from(it.to_digit(16).unwrap()).unwrap()).collect();
        (sender, digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
    });
    pieces.collect()
}

#[derive(Default)]
struct Noted {
    states: Mutex<Vec<State>>,
    outcomes: Mutex<Vec<(PodId, Outcome)>>,
}

impl Observer for Noted {
    fn state(&self, state: State) {
        self.states.lock().unwrap().push(state);
    }

    fn started(&self, pod: &PodId, outcome: Outcome, _: Duration) {
        self.outcomes.lock().unwrap().push((pod.clone(), outcome));
    }
}

/// A running plugin, and the runtime's end of its socket.
struct Bench {
    listener: UnixListener,
    events: mpsc::UnboundedReceiver<Event>,
    noted: Arc<Noted>,
    plugin: tokio::task::JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("nri.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let noted = Arc::new(Noted::default());
        let (sender, events) = mpsc::unbounded_channel();
        let observer: Arc<dyn Observer> = noted.clone();
        let options = Options { mode: Mode::Auto, socket };
        let plugin = tokio::spawn(async move { run(&options, sender, observer).await });
        Self { listener, events, noted, plugin, _directory: directory }
    }

    async fn accept(&self) -> UnixStream {
        self.listener.accept().await.unwrap().0
    }

    /// A connection up to its configuration, as recorded.
    async fn configured(&self) -> UnixStream {
        let mut stream = self.accept().await;
        play(&mut stream, recorded(CURRENT).into_iter().take(3)).await;
        stream
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.plugin.abort();
    }
}

/// Sends the runtime's part; the plugin's part must be as recorded.
async fn play(stream: &mut UnixStream, pieces: impl IntoIterator<Item = (&str, Vec<u8>)>) {
    for (index, (sender, bytes)) in pieces.into_iter().enumerate() {
        if sender == "runtime" {
            stream.write_all(&bytes).await.unwrap();
            continue;
        }
        let mut answer = vec![0; bytes.len()];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, bytes, "line {index}");
    }
}

/// The bytes of a call on the plugin's connection; all lengths are below 128.
fn call(stream: u8, method: &str, payload: &[u8]) -> Vec<u8> {
    let text = |field: u8, bytes: &[u8]| {
        [&[field << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    };
    let parts = [(1, &b"nri.pkg.api.v1alpha1.Plugin"[..]), (2, method.as_bytes()), (3, payload)];
    let request = parts.map(|(field, bytes)| text(field, bytes)).concat();
    let length = u8::try_from(request.len()).unwrap();
    let head = [&[0, 0, 0, 1, 0, 0, 0, length + 10][..], &[0, 0, 0, length, 0, 0, 0, stream, 1, 0]];
    [head.concat(), request].concat()
}

/// The bytes of a successful, empty answer to a call on that stream.
fn empty_answer(stream: u8) -> Vec<u8> {
    let head = [&[0, 0, 0, 1, 0, 0, 0, 12][..], &[0, 0, 0, 2, 0, 0, 0, stream, 2, 0]];
    [&head.concat()[..], b"\x0a\x00"].concat()
}

fn addresses(list: &[&str]) -> BTreeSet<std::net::IpAddr> {
    list.iter().map(|it| it.parse().unwrap()).collect()
}

#[tokio::test]
async fn containerd_2_is_served() {
    let mut bench = Bench::new();
    let mut stream = bench.accept().await;
    let program = async {
        let Some(Event::All(listed)) = bench.events.recv().await else { panic!("no list") };
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].pod, PodId::new("shop", "earlier"));
        assert_eq!(listed[0].addresses, addresses(&["10.77.0.2", "fd77::2"]));
        let Some(Event::Started(sandbox, programmed)) = bench.events.recv().await else {
            panic!("no pod")
        };
        let Sandbox { id, pod, uid, labels, addresses: its, namespace, .. } = sandbox;
        assert_eq!((pod, uid.as_str()), (PodId::new("shop", "web-0"), "5a1f"));
        assert_eq!(labels, Some([("role".to_owned(), "client".to_owned())].into()));
        assert_eq!((its, namespace), (addresses(&["10.77.0.3", "fd77::3"]), None));
        programmed.send(()).unwrap();
        for _ in ["stopped", "removed"] {
            let Some(Event::Ended(ended)) = bench.events.recv().await else { panic!("no end") };
            assert_eq!(ended, id);
        }
    };
    tokio::join!(play(&mut stream, recorded(CURRENT)), program);
    let outcomes = bench.noted.outcomes.lock().unwrap().clone();
    assert_eq!(outcomes, [(PodId::new("shop", "web-0"), Outcome::Programmed)]);
    let runtime = "containerd 2.1.9+unknown".to_owned();
    assert_eq!(*bench.noted.states.lock().unwrap(), [State::Connected { runtime }]);
    drop(stream);
    assert!(matches!(bench.events.recv().await, Some(Event::Lost)));
}

/// This version reports no addresses, and the namespaces in the recording do not exist here.
#[tokio::test]
async fn containerd_1_7_is_served() {
    let mut bench = Bench::new();
    let mut stream = bench.accept().await;
    play(&mut stream, recorded(OLD)).await;
    let runtime = "containerd 1.7.24~ds1".to_owned();
    assert_eq!(*bench.noted.states.lock().unwrap(), [State::Connected { runtime }]);
    let Some(Event::All(_)) = bench.events.recv().await else { panic!("no list") };
    let ended = loop {
        match bench.events.recv().await {
            Some(Event::Started(..)) => {}
            Some(Event::Ended(ended)) => break ended,
            other => panic!("{other:?} instead of an end"),
        }
    };
    assert!(ended.starts_with("adf0aa07bd0e"), "{ended}");
}

#[tokio::test]
async fn unreadable_messages_make_no_pod_fail() {
    let bench = Bench::new();
    let mut stream = bench.configured().await;
    for (number, method) in [(3, "StateChange"), (5, "RunPodSandbox"), (7, "StopPodSandbox")] {
        stream.write_all(&call(number, method, b"\x0a\x7fcut off")).await.unwrap();
        play(&mut stream, [("plugin", empty_answer(number))]).await;
    }
    // An event without a pod, and an unknown event.
    for (number, payload) in [(9, &b"\x08\x01"[..]), (11, b"\x08\x63\x12\x03\x0a\x01x")] {
        stream.write_all(&call(number, "StateChange", payload)).await.unwrap();
        play(&mut stream, [("plugin", empty_answer(number))]).await;
    }
    assert!(bench.noted.outcomes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_pod_that_is_not_programmed_starts_in_time() {
    let mut bench = Bench::new();
    let mut stream = bench.configured().await;
    // Four milliseconds for each event.
    stream.write_all(&call(3, "Configure", b"\x28\x04")).await.unwrap();
    let mut answer = [0; 18 + 6];
    stream.read_exact(&mut answer).await.unwrap();
    let pod = b"\x0a\x17\x0a\x02id\x12\x03web\x22\x02ns\x52\x0810.0.0.5";
    stream.write_all(&call(5, "RunPodSandbox", pod)).await.unwrap();
    play(&mut stream, [("plugin", empty_answer(5))]).await;
    let Some(Event::Started(_, waiting)) = bench.events.recv().await else { panic!("no pod") };
    assert!(waiting.is_closed());
    let web = PodId::new("ns", "web");
    assert_eq!(*bench.noted.outcomes.lock().unwrap(), [(web.clone(), Outcome::TimedOut)]);
    // Dropping the sender ends the wait.
    stream.write_all(&call(7, "RunPodSandbox", pod)).await.unwrap();
    let Some(Event::Started(_, waiting)) = bench.events.recv().await else { panic!("no pod") };
    drop(waiting);
    play(&mut stream, [("plugin", empty_answer(7))]).await;
    let last = bench.noted.outcomes.lock().unwrap().last().cloned();
    assert!(matches!(last, Some((_, Outcome::Superseded | Outcome::TimedOut))), "{last:?}");
}

#[tokio::test]
async fn the_reason_for_a_missing_runtime_is_reported() {
    let bench = Bench::new();
    let mut stream = bench.accept().await;
    play(&mut stream, recorded(CURRENT).into_iter().take(1)).await;
    // Code 3 and a message.
    let refusal = b"\0\0\0\x02\0\0\0\x15\0\0\0\x0b\0\0\0\x01\x02\0\x0a\x09\x08\x03\x12\x05never";
    stream.write_all(refusal).await.unwrap();
    drop(stream);
    let again = bench.accept().await;
    let first = bench.noted.states.lock().unwrap().first().cloned();
    let Some(State::Refused { why }) = first else { panic!("{first:?}") };
    assert!(why.ends_with("did not accept the plugin: never"), "{why}");
    drop(again);
    let options = Options { mode: Mode::Auto, socket: Path::new("/nowhere/nri.sock").into() };
    let (sender, mut events) = mpsc::unbounded_channel();
    let noted = Arc::new(Noted::default());
    let observer: Arc<dyn Observer> = noted.clone();
    let plugin = tokio::spawn(async move { run(&options, sender, observer).await });
    assert!(matches!(events.recv().await, Some(Event::Lost)));
    assert!(matches!(events.recv().await, Some(Event::Lost)), "it tries again");
    plugin.abort();
    let first = noted.states.lock().unwrap().first().cloned();
    let Some(State::Absent { why }) = first else { panic!("{first:?}") };
    assert!(why.starts_with("cannot connect to /nowhere/nri.sock: No such file"), "{why}");
}
