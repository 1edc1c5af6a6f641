//! Two connections over one socket.
//!
//! A plugin and the runtime call each other over a single socket. Each piece of a connection
//! follows a header of eight bytes: the connection's number and the length of the piece, both 32
//! bits, big-endian (nri, `pkg/net/multiplex`).

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::Mutex;

/// The number of the connection on which the runtime calls the plugin.
pub(super) const PLUGIN: u32 = 1;
/// The number of the connection on which the plugin calls the runtime.
pub(super) const RUNTIME: u32 = 2;

/// The largest piece that is sent, in bytes. The runtime reads into a buffer of this size and
/// closes the connection if a piece does not fit.
const PIECE: usize = 4096;

/// The largest accepted piece, in bytes: a ttrpc message with its header (nri, `maxPayloadSize`).
const LARGEST: usize = (4 << 20) + 10;

/// Splits `trunk` into the plugin's and the runtime's connection. The future transfers the bytes.
/// It ends when the other side closes, or with an error.
pub(super) fn multiplex<S>(
    trunk: S,
) -> ([DuplexStream; 2], impl Future<Output = io::Result<()>> + Send)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, writer) = split(trunk);
    let writer = Arc::new(Mutex::new(writer));
    let [plugin, runtime] = [(); 2].map(|()| duplex(PIECE));
    let (plugin_out, plugin_in) = split(plugin.1);
    let (runtime_out, runtime_in) = split(runtime.1);
    let carry = async move {
        tokio::select! {
            result = deliver(reader, plugin_in, runtime_in) => result,
            result = collect(PLUGIN, plugin_out, Arc::clone(&writer)) => result,
            result = collect(RUNTIME, runtime_out, writer) => result,
        }
    };
    ([plugin.0, runtime.0], carry)
}

/// Forwards each piece to its connection. Unknown connections are ignored, as in the runtime.
async fn deliver(
    mut trunk: impl AsyncRead + Unpin,
    mut plugin: impl AsyncWrite + Unpin,
    mut runtime: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut piece = Vec::new();
    loop {
        let connection = match trunk.read_u32().await {
            Ok(connection) => connection,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        let length = trunk.read_u32().await?;
        let length = usize::try_from(length).ok().filter(|it| *it <= LARGEST).ok_or_else(|| {
            let what = format!("a piece of {length} bytes: expected at most {LARGEST}");
            io::Error::new(io::ErrorKind::InvalidData, what)
        })?;
        piece.resize(length, 0);
        trunk.read_exact(&mut piece).await?;
        match connection {
            PLUGIN => plugin.write_all(&piece).await?,
            RUNTIME => runtime.write_all(&piece).await?,
            other => tracing::debug!(
                connection = other,
                length,
                "ignored bytes of an unknown connection"
            ),
        }
    }
}

/// Sends the bytes that are written to a connection.
async fn collect<W: AsyncWrite + Unpin>(
    connection: u32,
    mut from: impl AsyncRead + Unpin,
    trunk: Arc<Mutex<W>>,
) -> io::Result<()> {
    let mut frame = vec![0; 8 + PIECE];
    loop {
        let (head, body) = frame.split_at_mut(8);
        let length = from.read(body).await?;
        if length == 0 {
            return Ok(());
        }
        let (number, size) = head.split_at_mut(4);
        number.copy_from_slice(&connection.to_be_bytes());
        size.copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        let whole = frame.get(..8 + length).unwrap_or_default();
        trunk.lock().await.write_all(whole).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The other end of the trunk, this end's connections, and the task that transfers the bytes.
    fn carried() -> (DuplexStream, [DuplexStream; 2], tokio::task::JoinHandle<io::Result<()>>) {
        let (here, there) = duplex(1 << 16);
        let (connections, carry) = multiplex(here);
        (there, connections, tokio::spawn(carry))
    }

    #[tokio::test]
    async fn pieces_arrive_in_their_connection() {
        let (mut trunk, [mut plugin, mut runtime], _carry) = carried();
        trunk.write_all(b"\0\0\0\x01\0\0\0\x02ab").await.unwrap();
        trunk.write_all(b"\0\0\0\x07\0\0\0\x01?").await.unwrap();
        trunk.write_all(b"\0\0\0\x02\0\0\0\x03xyz").await.unwrap();
        trunk.write_all(b"\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\x01c").await.unwrap();
        let mut got = [0; 3];
        plugin.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"abc");
        runtime.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"xyz");
    }

    #[tokio::test]
    async fn written_bytes_are_framed() {
        let (mut trunk, [mut plugin, mut runtime], _carry) = carried();
        runtime.write_all(b"hello").await.unwrap();
        let mut got = [0; 13];
        trunk.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"\0\0\0\x02\0\0\0\x05hello");
        plugin.write_all(b"!").await.unwrap();
        let mut got = [0; 9];
        trunk.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"\0\0\0\x01\0\0\0\x01!");
    }

    #[tokio::test]
    async fn no_piece_is_larger_than_the_runtimes_buffer() {
        let (mut trunk, [mut plugin, _runtime], _carry) = carried();
        let long: Vec<u8> = (0..10_000_u32).map(|it| it.to_le_bytes()[0]).collect();
        let sent = long.clone();
        let send = tokio::spawn(async move { plugin.write_all(&sent).await.map(|()| plugin) });
        let mut got = Vec::new();
        while got.len() < long.len() {
            assert_eq!(trunk.read_u32().await.unwrap(), PLUGIN);
            let length = usize::try_from(trunk.read_u32().await.unwrap()).unwrap();
            assert!((1..=4096).contains(&length), "{length}");
            let mut piece = vec![0; length];
            trunk.read_exact(&mut piece).await.unwrap();
            got.extend(piece);
        }
        send.await.unwrap().unwrap();
        assert_eq!(got, long);
    }

    #[tokio::test]
    async fn the_end_of_the_trunk_ends_the_connections() {
        let (trunk, [mut plugin, mut runtime], carry) = carried();
        drop(trunk);
        carry.await.unwrap().unwrap();
        assert_eq!(plugin.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(runtime.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn an_impossible_length_is_an_error() {
        let (mut trunk, _connections, carry) = carried();
        trunk.write_all(b"\0\0\0\x01\x7f\0\0\0").await.unwrap();
        let error = carry.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("2130706432 bytes"), "{error}");
    }

    #[tokio::test]
    async fn a_trunk_that_breaks_within_a_piece_is_an_error() {
        let (mut trunk, _connections, carry) = carried();
        trunk.write_all(b"\0\0\0\x01\0\0\0\x05ab").await.unwrap();
        drop(trunk);
        assert!(carry.await.unwrap().is_err());
    }
}
