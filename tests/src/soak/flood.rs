//! Datagrams from one pod to random ports of others: each is a new flow.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::lab::{Family, Lab, LabError, Party};

/// The source ports.
const SOCKETS: usize = 16;
/// Datagrams between two pauses: the machine has others to serve.
const BURST: u16 = 64;
const PAUSE: Duration = Duration::from_millis(1);

/// A running flood; it ends when this is dropped.
pub(super) struct Flood {
    ends: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Floods `to` from `from`.
    pub(super) async fn start(lab: &Lab, from: &Party, to: &Party) -> Result<Self, LabError> {
        let own = lab.address(from, Family::V4)?;
        let target = lab.address(to, Family::V4)?;
        let open = move || (0..SOCKETS).map(|_| UdpSocket::bind((own, 0))).collect();
        let sockets: Vec<UdpSocket> = lab.namespace(from)?.io("open sockets", open).await?;
        let (ends, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, count) = (Arc::clone(&ends), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            let mut port = 1;
            while !stop.load(Ordering::Relaxed) {
                for socket in &sockets {
                    port = send(socket, target, port, &count);
                }
                std::thread::sleep(PAUSE);
            }
        });
        Ok(Self { ends, sent, thread: Some(thread) })
    }

    /// The number of datagrams so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

fn send(socket: &UdpSocket, target: IpAddr, port: u16, sent: &AtomicU64) -> u16 {
    let mut next = port;
    for _ in 0..BURST {
        next = next.checked_add(1).unwrap_or(1);
        // A pod answers with an ICMP error, which the next call reports.
        let result: io::Result<usize> = socket.send_to(b"flood", SocketAddr::new(target, next));
        sent.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
    }
    next
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
