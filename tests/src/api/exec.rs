//! `kubectl exec`: a command in a pod, through a WebSocket.
//!
//! The first byte of each message is the number of its stream (Kubernetes' `v5.channel.k8s.io`):
//! standard input, output, error, and finally a `Status`.

use std::fmt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::Response;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::request::Request;
use super::status::Refusal;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
/// Followed by the number of a stream that ends.
const CLOSE: u8 = 255;

const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// The largest message in bytes.
const PORTION: usize = 32 << 10;

type Start = dyn Fn(&Value, &[String]) -> std::process::Command + Send + Sync;

/// Builds the process that runs a command in a pod.
#[derive(Clone)]
pub struct Executor(Arc<Start>);

impl Executor {
    /// An executor; its argument is the pod.
    pub fn new(
        command: impl Fn(&Value, &[String]) -> std::process::Command + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(command))
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Executor")
    }
}

/// Answers the request. The command runs until it ends or the client disconnects.
pub(crate) async fn exec(
    executor: Option<&Executor>,
    request: &Request,
    pod: &Value,
    parts: &mut Parts,
) -> Result<Response<Body>, Refusal> {
    let bad = |message: &str| Refusal::bad_request(message);
    let executor = executor.ok_or_else(|| bad("the pods run nowhere: there is no lab"))?;
    if pod["status"]["phase"] != "Running" {
        return Err(bad(&format!("pod {} is not running", request.name)));
    }
    let command: Vec<String> = request.query.all("command").map(str::to_owned).collect();
    if command.is_empty() {
        return Err(bad("you must specify at least 1 command for the container"));
    }
    let upgrade = WebSocketUpgrade::from_request_parts(parts, &())
        .await
        .map_err(|_| bad("only WebSockets are supported: use kubectl 1.30 or later"))?;
    let has_stdin = request.query.is_set("stdin");
    let mut process = if request.query.is_set("tty") {
        on_a_terminal(&(executor.0)(pod, &command))
    } else {
        Command::from((executor.0)(pod, &command))
    };
    process.kill_on_drop(true);
    process.stdin(if has_stdin { Stdio::piped() } else { Stdio::null() });
    process.stdout(Stdio::piped()).stderr(Stdio::piped());
    let response = upgrade.protocols(PROTOCOLS).on_upgrade(async move |socket| {
        serve(socket, process).await;
    });
    Ok(response.into_response())
}

/// Runs the command in a terminal of its own, by `script`.
fn on_a_terminal(command: &std::process::Command) -> Command {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let quoted = words.map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''")));
    let line = quoted.collect::<Vec<_>>().join(" ");
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    script
}

async fn serve(socket: WebSocket, mut process: Command) {
    let (mut sink, stream) = socket.split();
    let status = match process.spawn() {
        Ok(child) => match converse(&mut sink, stream, child).await {
            Some(ended) => status_of(ended),
            // The client has disconnected.
            None => return,
        },
        Err(error) => failure(&format!("start the command: {error}"), None),
    };
    let _ = sink.send(message(STATUS, status.to_string().as_bytes())).await;
    let end = CloseFrame { code: close_code::NORMAL, reason: Utf8Bytes::default() };
    let _ = sink.send(Message::Close(Some(end))).await;
}

/// Forwards the streams until the command has ended and all its output is sent.
async fn converse(
    sink: &mut SplitSink<WebSocket, Message>,
    stream: SplitStream<WebSocket>,
    mut child: Child,
) -> Option<std::io::Result<ExitStatus>> {
    let (sender, mut messages) = mpsc::channel(4);
    let stdin = child.stdin.take();
    for (number, output) in [
        (STDOUT, child.stdout.take().map(|it| Box::new(it) as Box<dyn AsyncRead + Send + Unpin>)),
        (STDERR, child.stderr.take().map(|it| Box::new(it) as _)),
    ] {
        if let Some(output) = output {
            tokio::spawn(forward_output(number, output, sender.clone()));
        }
    }
    drop(sender);
    let mut input = std::pin::pin!(forward_input(stream, stdin));
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Some(message) => sink.send(message).await.ok()?,
                None => break,
            },
            () = &mut input => return None,
        }
    }
    tokio::select! {
        ended = child.wait() => Some(ended),
        () = &mut input => None,
    }
}

/// Sends the command's output to the client.
async fn forward_output(
    number: u8,
    mut output: impl AsyncRead + Unpin,
    messages: mpsc::Sender<Message>,
) {
    let mut buffer = vec![0; PORTION];
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        let portion = buffer.get(..length).unwrap_or_default();
        if messages.send(message(number, portion)).await.is_err() {
            return;
        }
    }
}

/// Writes the client's input to the command; ends when the client disconnects.
async fn forward_input(
    mut stream: SplitStream<WebSocket>,
    mut stdin: Option<impl AsyncWrite + Unpin>,
) {
    while let Some(Ok(message)) = stream.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::from(text),
            Message::Close(_) => return,
            _ => continue,
        };
        match bytes.split_first() {
            Some((&STDIN, typed)) => {
                if let Some(open) = &mut stdin
                    && open.write_all(typed).await.is_err()
                {
                    // The command has closed its input; it may continue.
                    stdin = None;
                }
            }
            Some((&CLOSE, [STDIN])) => stdin = None,
            _ => {}
        }
    }
}

fn message(number: u8, portion: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(portion.len() + 1);
    bytes.push(number);
    bytes.extend_from_slice(portion);
    Message::Binary(bytes.into())
}

fn status_of(ended: std::io::Result<ExitStatus>) -> Value {
    match ended {
        Ok(status) if status.success() => json!({ "metadata": {}, "status": "Success" }),
        Ok(status) => {
            use std::os::unix::process::ExitStatusExt as _;
            let code = status.code().or(status.signal().map(|it| 128 + it)).unwrap_or(1);
            let message = format!("command terminated with non-zero exit code: exit status {code}");
            failure(&message, Some(code))
        }
        Err(error) => failure(&format!("wait for the command: {error}"), None),
    }
}

/// A failed `Status`: of a command that ended with this code, or of one without a code.
fn failure(message: &str, code: Option<i32>) -> Value {
    let reason = if code.is_some() { "NonZeroExitCode" } else { "InternalError" };
    let causes = code.map(|it| json!({ "reason": "ExitCode", "message": it.to_string() }));
    let causes: Vec<Value> = causes.into_iter().collect();
    json!({
        "metadata": {}, "status": "Failure", "message": message, "reason": reason,
        "details": { "causes": causes },
    })
}
