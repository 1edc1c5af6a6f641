//! The messages between a container runtime and its plugins, encoded by hand.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// The connection inside the socket for the runtime's calls.
pub(super) const TO_PLUGIN: u32 = 1;
/// The connection inside the socket for the plugin's calls.
pub(super) const TO_RUNTIME: u32 = 2;

/// The type of a ttrpc request.
pub(super) const REQUEST: u8 = 1;
/// The type of a ttrpc response.
pub(super) const RESPONSE: u8 = 2;

/// The bytes of a ttrpc header: length, stream, kind, flags.
const HEADER: usize = 10;

/// The size of pieces in bytes. Go's writers use 4096 bytes; a reader must accept any size.
const CUT: usize = 100;

/// A ttrpc message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) connection: u32,
    pub(super) stream: u32,
    pub(super) kind: u8,
    pub(super) payload: Vec<u8>,
}

/// Appends a number to a protobuf message.
pub(super) fn number(message: &mut Vec<u8>, field: u8, value: u64) {
    varint(message, u64::from(field) << 3);
    varint(message, value);
}

/// Appends bytes, a string or a message to a protobuf message.
pub(super) fn bytes(message: &mut Vec<u8>, field: u8, value: &[u8]) {
    varint(message, u64::from(field) << 3 | 2);
    varint(message, value.len() as u64);
    message.extend_from_slice(value);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    message.push(value.to_le_bytes()[0]);
}

/// The bytes of a field, the last one with its number. Those of a number are little-endian.
pub(super) fn field(message: &[u8], wanted: u64) -> io::Result<Option<Vec<u8>>> {
    let mut rest = message;
    let mut found = None;
    while !rest.is_empty() {
        let tag = take_varint(&mut rest)?;
        let value = match tag & 7 {
            0 => take_varint(&mut rest)?.to_le_bytes().to_vec(),
            2 => {
                let length = usize::try_from(take_varint(&mut rest)?).map_err(io::Error::other)?;
                let (value, after) =
                    rest.split_at_checked(length).ok_or_else(|| invalid("a field is cut off"))?;
                rest = after;
                value.to_vec()
            }
            other => return Err(invalid(&format!("a field of wire type {other}"))),
        };
        if tag >> 3 == wanted {
            found = Some(value);
        }
    }
    Ok(found)
}

/// The number in a field; 0 if it is missing.
pub(super) fn value(message: &[u8], wanted: u64) -> io::Result<u64> {
    let found = field(message, wanted)?.unwrap_or_default();
    Ok(found.first_chunk().copied().map_or(0, u64::from_le_bytes))
}

/// The string in a field; empty if it is missing.
pub(super) fn text(message: &[u8], wanted: u64) -> io::Result<String> {
    String::from_utf8(field(message, wanted)?.unwrap_or_default()).map_err(io::Error::other)
}

fn take_varint(rest: &mut &[u8]) -> io::Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, after) = rest.split_first().ok_or_else(|| invalid("a number is cut off"))?;
        *rest = after;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(invalid("a number has no end"))
}

/// An error about received data.
pub(super) fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The socket, and the received parts of incomplete messages.
#[derive(Debug)]
pub(super) struct Trunk {
    socket: UnixStream,
    pending: [Vec<u8>; 2],
}

impl Trunk {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self { socket, pending: [Vec::new(), Vec::new()] }
    }

    pub(super) async fn send(&mut self, message: &Message) -> io::Result<()> {
        let Message { connection, stream, kind, payload } = message;
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let mut whole = Vec::new();
        whole.extend(length.to_be_bytes());
        whole.extend(stream.to_be_bytes());
        whole.extend([*kind, 0]);
        whole.extend_from_slice(payload);
        for piece in whole.chunks(CUT) {
            let length = u32::try_from(piece.len()).map_err(io::Error::other)?;
            let head = [connection.to_be_bytes(), length.to_be_bytes()].concat();
            self.socket.write_all(&[&head, piece].concat()).await?;
        }
        Ok(())
    }

    /// The next message; an error when the plugin has closed.
    pub(super) async fn receive(&mut self) -> io::Result<Message> {
        loop {
            for (pending, connection) in self.pending.iter_mut().zip([TO_PLUGIN, TO_RUNTIME]) {
                if let Some(message) = whole(pending, connection) {
                    return Ok(message);
                }
            }
            let connection = self.socket.read_u32().await?;
            let length =
                usize::try_from(self.socket.read_u32().await?).map_err(io::Error::other)?;
            // containerd's buffer: it disconnects a plugin that sends more at once.
            if length > 4096 {
                return Err(invalid("a piece of more than 4096 bytes"));
            }
            let mut piece = vec![0; length];
            self.socket.read_exact(&mut piece).await?;
            match (&mut self.pending, connection) {
                ([pending, _], TO_PLUGIN) | ([_, pending], TO_RUNTIME) => pending.extend(piece),
                _ => return Err(invalid(&format!("a piece for connection {connection}"))),
            }
        }
    }
}

/// Removes the first message, if it is complete.
fn whole(pending: &mut Vec<u8>, connection: u32) -> Option<Message> {
    let (length, rest) = pending.split_first_chunk()?;
    let (stream, rest) = rest.split_first_chunk()?;
    let ([kind, _], rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let payload = rest.get(..length)?.to_vec();
    let (stream, kind) = (u32::from_be_bytes(*stream), *kind);
    pending.drain(..HEADER + length);
    Some(Message { connection, stream, kind, payload })
}
