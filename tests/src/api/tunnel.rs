//! `kubectl port-forward`: SPDY/3.1 inside a WebSocket, two streams for each connection.
//!
//! As kubernetes/kubernetes `staging/src/k8s.io/kubelet/pkg/cri/streaming/portforward/httpstream.go`: the client
//! opens an error stream and a data stream with the same `requestID`; what is written to the error stream is
//! shown to the user. The binary messages are pieces of one stream of bytes
//! (`staging/src/k8s.io/apimachinery/pkg/util/portforward/constants.go`).

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::portforward::Target;
use super::spdy::{self, Decoder, Encoder, Frame};

/// The subprotocol.
pub(super) const PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";

/// The largest piece of data.
const PORTION: usize = 32 << 10;

type Output = mpsc::Sender<Vec<u8>>;
/// Data towards a pod; an empty piece ends it.
type Input = mpsc::Sender<Vec<u8>>;

/// The streams of a session.
struct Session {
    target: Target,
    output: Output,
    encoder: Encoder,
    /// Error streams without their data stream, by request.
    errors: BTreeMap<String, u32>,
    inputs: BTreeMap<u32, Input>,
}

/// Forwards connections until the client is gone.
pub(super) async fn serve(socket: WebSocket, target: Target) {
    let (mut sink, mut messages) = socket.split();
    let (output, mut frames) = mpsc::channel::<Vec<u8>>(16);
    let writer = tokio::spawn(async move {
        while let Some(frame) = frames.recv().await {
            if sink.send(Message::Binary(Bytes::from(frame))).await.is_err() {
                return;
            }
        }
    });
    let mut session = Session {
        target,
        output,
        encoder: Encoder::default(),
        errors: BTreeMap::new(),
        inputs: BTreeMap::new(),
    };
    let mut decoder = Decoder::new();
    while let Some(Ok(message)) = messages.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Close(_) => break,
            _ => continue,
        };
        decoder.feed(&bytes);
        if !session.frames(&mut decoder).await {
            break;
        }
    }
    drop(session);
    writer.abort();
}

impl Session {
    /// Acts on all complete frames; returns whether the session goes on.
    async fn frames(&mut self, decoder: &mut Decoder) -> bool {
        while let Ok(Some(frame)) = decoder.next() {
            match frame {
                Frame::Open { stream, headers, .. } => self.open(stream, &headers).await,
                Frame::Data { stream, bytes, fin } => self.pass(stream, bytes, fin).await,
                Frame::Reset { stream } => drop(self.inputs.remove(&stream)),
                Frame::Ping { id } => drop(self.output.send(spdy::pong(id)).await),
                Frame::Goodbye => return false,
                Frame::Other => {}
            }
        }
        // A malformed frame leaves no way to find the next one.
        decoder.next().is_ok()
    }

    async fn open(&mut self, stream: u32, headers: &[(String, String)]) {
        let header = |name: &str| {
            let found = headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let _ = self.output.send(self.encoder.reply(stream)).await;
        let request = header("requestID");
        if header("streamType") == "error" {
            self.errors.insert(request, stream);
            return;
        }
        let Some(errors) = self.errors.remove(&request) else { return };
        let (input, received) = mpsc::channel(16);
        self.inputs.insert(stream, input);
        let forward = Forward { data: stream, errors, output: self.output.clone() };
        let (target, port) = (self.target.clone(), header("port"));
        tokio::spawn(async move { forward.run(target, &port, received).await });
    }

    async fn pass(&mut self, stream: u32, bytes: Vec<u8>, fin: bool) {
        let Some(input) = self.inputs.get(&stream) else { return };
        if !bytes.is_empty() && input.send(bytes).await.is_err() {
            self.inputs.remove(&stream);
            return;
        }
        if fin && let Some(input) = self.inputs.remove(&stream) {
            let _ = input.send(Vec::new()).await;
        }
    }
}

/// One connection.
struct Forward {
    data: u32,
    errors: u32,
    output: Output,
}

impl Forward {
    async fn run(self, target: Target, port: &str, input: mpsc::Receiver<Vec<u8>>) {
        let connected = match port.parse::<u16>() {
            Ok(port) => target.connect(port).await,
            Err(_) => Err(std::io::ErrorKind::InvalidInput.into()),
        };
        match connected {
            Ok(stream) => self.exchange(stream, input).await,
            Err(error) => {
                let text = format!("error forwarding port {port} to pod {}: {error}", target.pod());
                self.send(self.errors, text.as_bytes(), false).await;
                self.send(self.data, b"", true).await;
            }
        }
        self.send(self.errors, b"", true).await;
    }

    async fn exchange(&self, stream: tokio::net::TcpStream, mut input: mpsc::Receiver<Vec<u8>>) {
        let (mut reader, mut writer) = stream.into_split();
        let upwards = async {
            while let Some(bytes) = input.recv().await {
                if bytes.is_empty() || writer.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            let _ = writer.shutdown().await;
        };
        let downwards = async {
            let mut buffer = vec![0; PORTION];
            while let Ok(length @ 1..) = reader.read(&mut buffer).await {
                let portion = buffer.get(..length).unwrap_or_default();
                self.send(self.data, portion, false).await;
            }
            self.send(self.data, b"", true).await;
        };
        tokio::pin!(upwards);
        tokio::pin!(downwards);
        tokio::select! {
            // The server has ended: what the client still sends has no receiver.
            () = &mut downwards => {}
            () = &mut upwards => downwards.await,
        }
    }

    async fn send(&self, stream: u32, bytes: &[u8], fin: bool) {
        let _ = self.output.send(spdy::data(stream, bytes, fin)).await;
    }
}
