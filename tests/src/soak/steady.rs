//! A connection that policy always allows: no change, kill or flood may break it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::cast::STEADY;
use crate::lab::{Family, Lab, Party};

const PORT: u16 = 7000;
const PERIOD: Duration = Duration::from_millis(20);
/// Longer than TCP needs for a few lost packets.
const PATIENCE: Duration = Duration::from_secs(10);

/// The connection's state so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    /// The questions that were answered.
    pub(super) answered: u64,
    /// The longest time between a question and its answer.
    pub(super) longest: Duration,
    /// Why the connection ended.
    pub(super) broken: Option<String>,
}

/// A running connection.
pub(super) struct Steady {
    health: Arc<Mutex<Health>>,
    tasks: [JoinHandle<()>; 2],
}

impl Steady {
    /// Connects the steady client and server.
    pub(super) async fn start(lab: &Lab) -> anyhow::Result<Self> {
        let (client, server) = (Party::pod(STEADY, "client"), Party::pod(STEADY, "server"));
        let at = SocketAddr::new(lab.address(&server, Family::V4)?, PORT);
        let listen = move || {
            let listener = TcpListener::bind(at)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener = lab.namespace(&server)?.io("listen", listen).await?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let socket = lab.namespace(&client)?.io("open a socket", TcpSocket::new_v4).await?;
        let connected = timeout(PATIENCE, socket.connect(at)).await;
        let client = connected.context("the steady connection does not open")??;
        let (server, _) = listener.accept().await?;
        let health = Arc::new(Mutex::new(Health::default()));
        let noted = Arc::clone(&health);
        let answer = tokio::spawn(async move {
            // Its end shows at the client.
            let _ = echo(server).await;
        });
        let ask = tokio::spawn(async move {
            let end = ask(client, &noted).await;
            lock(&noted).broken = Some(format!("{end}"));
        });
        Ok(Self { health, tasks: [answer, ask] })
    }

    pub(super) fn health(&self) -> Health {
        lock(&self.health).clone()
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let question = stream.read_u64().await?;
        stream.write_u64(question).await?;
    }
}

/// Asks until an answer is wrong or missing; returns why.
async fn ask(mut stream: TcpStream, health: &Mutex<Health>) -> io::Error {
    for number in 0.. {
        let asked = Instant::now();
        let answered = timeout(PATIENCE, async {
            stream.write_u64(number).await?;
            stream.read_u64().await
        });
        match answered.await {
            Ok(Ok(answer)) if answer == number => {}
            Ok(Ok(answer)) => return io::Error::other(format!("{answer} answers {number}")),
            Ok(Err(error)) => return error,
            Err(_) => return io::Error::other(format!("no answer for {PATIENCE:?}")),
        }
        let took = asked.elapsed();
        {
            let mut health = lock(health);
            health.answered += 1;
            health.longest = health.longest.max(took);
        }
        tokio::time::sleep(PERIOD).await;
    }
    io::Error::other("asked too often")
}

fn lock(health: &Mutex<Health>) -> std::sync::MutexGuard<'_, Health> {
    health.lock().unwrap_or_else(PoisonError::into_inner)
}
