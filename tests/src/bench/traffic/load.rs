//! Traffic generators: blocking sockets and threads, which are started inside the pods' namespaces.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

use crate::lab::Namespace;

/// The two ends of a load.
pub(in crate::bench) struct Ends<'a> {
    pub(in crate::bench) client: &'a Namespace,
    pub(in crate::bench) server: &'a Namespace,
    /// The server's address.
    pub(in crate::bench) address: IpAddr,
    /// The first of the allowed ports.
    pub(in crate::bench) first_port: u16,
}

impl Ends<'_> {
    fn at(&self, number: u16) -> SocketAddr {
        SocketAddr::new(self.address, self.first_port + number)
    }

    async fn listen(&self, number: u16) -> anyhow::Result<TcpListener> {
        let at = self.at(number);
        Ok(self.server.io("listen", move || TcpListener::bind(at)).await?)
    }
}

/// Connections that are made at the same time.
const CLIENTS: usize = 4;
/// Bytes of a request, of a reply, and of a datagram.
const MESSAGE: usize = 64;
/// Nothing takes as long.
const PATIENCE: Duration = Duration::from_secs(5);

/// No connection is silent for longer.
const IDLE: Duration = Duration::from_secs(30);

/// A thread that accepts connections until this is dropped.
pub(super) struct Server {
    ends: Arc<AtomicBool>,
    at: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Calls `serve` for each connection, in the same thread or one of its own.
    pub(super) fn start(
        listener: TcpListener,
        is_threaded: bool,
        serve: fn(TcpStream),
    ) -> anyhow::Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let (stop, at) = (Arc::clone(&ends), listener.local_addr()?);
        listener.set_nonblocking(false)?;
        let accept = move || {
            while let Ok((stream, _)) = listener.accept() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                if is_threaded {
                    let small = thread::Builder::new().stack_size(256 * 1024);
                    let _ = small.spawn(move || serve(stream));
                } else {
                    serve(stream);
                }
            }
        };
        Ok(Self { ends, at, thread: Some(thread::spawn(accept)) })
    }

    /// Ends the thread: the next connection does.
    pub(super) async fn stop(mut self, namespace: &Namespace) -> anyhow::Result<()> {
        self.ends.store(true, Ordering::Relaxed);
        let at = self.at;
        namespace.io("connect", move || TcpStream::connect_timeout(&at, PATIENCE)).await?;
        self.thread.take().map(JoinHandle::join);
        Ok(())
    }
}

/// Gbit/s through so many TCP connections.
pub(in crate::bench) async fn throughput(
    ends: &Ends<'_>,
    streams: usize,
    duration: Duration,
) -> anyhow::Result<f64> {
    let listener = ends.listen(0).await?;
    let receiver = thread::spawn(move || receive_all(&listener, streams));
    let at = ends.at(0);
    ends.client.io("send", move || send_all(at, streams, duration)).await?;
    let (bytes, took) = receiver.join().ok().context("the receiver panicked")??;
    Ok(bytes as f64 * 8.0 / took.as_secs_f64() / 1e9)
}

fn receive_all(listener: &TcpListener, streams: usize) -> io::Result<(u64, Duration)> {
    let accepted = (0..streams).map(|_| Ok(listener.accept()?.0));
    let accepted: Vec<TcpStream> = accepted.collect::<io::Result<_>>()?;
    let started_at = Instant::now();
    let read = |mut stream: TcpStream| {
        let (mut buffer, mut bytes) = (vec![0; 128 * 1024], 0);
        stream.set_read_timeout(Some(PATIENCE))?;
        loop {
            match stream.read(&mut buffer)? {
                0 => return io::Result::Ok(bytes),
                length => bytes += length as u64,
            }
        }
    };
    let bytes = thread::scope(|scope| {
        let readers: Vec<_> =
            accepted.into_iter().map(|stream| scope.spawn(move || read(stream))).collect();
        let sums = readers.into_iter().map(|it| it.join().unwrap_or(Ok(0)));
        sums.sum::<io::Result<u64>>()
    })?;
    Ok((bytes, started_at.elapsed()))
}

fn send_all(at: SocketAddr, streams: usize, duration: Duration) -> io::Result<()> {
    let opened = (0..streams).map(|_| TcpStream::connect(at));
    let opened: Vec<TcpStream> = opened.collect::<io::Result<_>>()?;
    let write = |mut stream: TcpStream| {
        let (buffer, started_at) = (vec![7; 128 * 1024], Instant::now());
        stream.set_write_timeout(Some(PATIENCE))?;
        while started_at.elapsed() < duration {
            stream.write_all(&buffer)?;
        }
        stream.shutdown(Shutdown::Write)
    };
    thread::scope(|scope| {
        let writers: Vec<_> =
            opened.into_iter().map(|stream| scope.spawn(move || write(stream))).collect();
        writers.into_iter().try_for_each(|it| it.join().unwrap_or(Ok(())))
    })
}

/// Answers requests until the client closes.
pub(super) fn reply(mut stream: TcpStream) {
    let mut message = [0; MESSAGE];
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(IDLE));
    while stream.read_exact(&mut message).is_ok() {
        if stream.write_all(&message).is_err() {
            return;
        }
    }
}

/// Answers one request and closes: the ports of clients are free again at once.
fn reply_once(mut stream: TcpStream) {
    let mut message = [0; MESSAGE];
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(PATIENCE));
    if stream.read_exact(&mut message).is_ok() {
        let _ = stream.write_all(&message);
    }
}

/// Sends a request and reads its reply.
pub(super) fn ask(stream: &mut TcpStream) -> io::Result<()> {
    let mut message = [1; MESSAGE];
    stream.write_all(&message)?;
    stream.read_exact(&mut message)
}

/// The connections with a request and a reply that were opened and closed.
pub(in crate::bench) async fn requests(ends: &Ends<'_>, duration: Duration) -> anyhow::Result<u64> {
    // Searching for a free port must not become the load.
    ends.client.sysctl(vec![("ipv4/ip_local_port_range".to_owned(), "10000 65000")]).await?;
    let server = Server::start(ends.listen(1).await?, false, reply_once)?;
    let at = ends.at(1);
    let made = ends.client.io("make connections", move || connect_all(at, duration)).await?;
    server.stop(ends.client).await?;
    Ok(made)
}

fn connect_all(at: SocketAddr, duration: Duration) -> io::Result<u64> {
    let started_at = Instant::now();
    let client = || {
        let mut made = 0;
        while started_at.elapsed() < duration {
            let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            ask(&mut stream)?;
            // The server closes first. What it closed stays in its table, not in the client's.
            let end = stream.read(&mut [0])?;
            made += u64::from(end == 0);
        }
        io::Result::Ok(made)
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().map(|it| it.join().unwrap_or(Ok(0))).sum()
    })
}

/// An open connection on which nothing is sent for a while.
pub(in crate::bench) struct Idle {
    server: Server,
    stream: TcpStream,
}

impl Idle {
    pub(in crate::bench) async fn open(ends: &Ends<'_>) -> anyhow::Result<Self> {
        let server = Server::start(ends.listen(4).await?, false, reply)?;
        let at = ends.at(4);
        let connect = move || {
            let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            ask(&mut stream)?;
            Ok(stream)
        };
        Ok(Self { server, stream: ends.client.io("connect", connect).await? })
    }

    /// Whether a message still comes back; closes the connection.
    pub(in crate::bench) async fn end(mut self, ends: &Ends<'_>) -> anyhow::Result<bool> {
        let works = ask(&mut self.stream).is_ok();
        drop(self.stream);
        self.server.stop(ends.client).await?;
        Ok(works)
    }
}

/// Small datagrams received per second.
pub(in crate::bench) async fn datagrams(
    ends: &Ends<'_>,
    duration: Duration,
) -> anyhow::Result<f64> {
    let at = ends.at(2);
    let receiver = ends.server.io("bind", move || UdpSocket::bind(at)).await?;
    receiver.set_read_timeout(Some(Duration::from_millis(100)))?;
    let received = Arc::new(AtomicU64::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let (count, stop) = (Arc::clone(&received), Arc::clone(&is_over));
    let reader = thread::spawn(move || {
        let mut buffer = [0; MESSAGE];
        while !stop.load(Ordering::Relaxed) {
            count.fetch_add(u64::from(receiver.recv(&mut buffer).is_ok()), Ordering::Relaxed);
        }
    });
    let from = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 0);
    let sender = ends.client.io("bind", move || UdpSocket::bind(from)).await?;
    sender.connect(at)?;
    let started_at = Instant::now();
    while started_at.elapsed() < duration {
        // A full queue is no error.
        let _ = sender.send(&[3; MESSAGE]);
    }
    let rate = received.load(Ordering::Relaxed) as f64 / started_at.elapsed().as_secs_f64();
    is_over.store(true, Ordering::Relaxed);
    reader.join().ok().context("the receiver panicked")?;
    anyhow::ensure!(rate > 0.0, "no datagram arrived");
    Ok(rate)
}

/// Round-trip times on an open connection in microseconds: 50 %, 90 %, 99 %, 99.9 %.
pub(in crate::bench) async fn latency(
    ends: &Ends<'_>,
    duration: Duration,
) -> anyhow::Result<[f64; 4]> {
    let server = Server::start(ends.listen(3).await?, false, reply)?;
    let at = ends.at(3);
    let measure = move || {
        let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
        stream.set_nodelay(true)?;
        let (started_at, mut times) = (Instant::now(), Vec::new());
        while started_at.elapsed() < duration {
            let sent_at = Instant::now();
            ask(&mut stream)?;
            times.push(sent_at.elapsed());
        }
        Ok(times)
    };
    let mut times = ends.client.io("exchange messages", measure).await?;
    server.stop(ends.client).await?;
    times.sort_unstable();
    Ok([500, 900, 990, 999].map(|permille| {
        let at = times.len().saturating_sub(1) * permille / 1_000;
        times.get(at).map_or(f64::NAN, |it| it.as_secs_f64() * 1e6)
    }))
}

/// CPU time so far: of the machine, and of this process.
pub(in crate::bench) struct Meter {
    machine: Duration,
    own: Duration,
}

impl Meter {
    pub(in crate::bench) fn start() -> anyhow::Result<Self> {
        Ok(Self { machine: machine_time()?, own: own_time()? })
    }

    /// The times since the start.
    pub(in crate::bench) fn stop(self) -> anyhow::Result<(Duration, Duration)> {
        Ok((machine_time()?.saturating_sub(self.machine), own_time()?.saturating_sub(self.own)))
    }
}

/// The kernel's work on behalf of a thread is that thread's: on a veth, the whole way of a packet.
fn own_time() -> anyhow::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

/// All but idle time and that of the hypervisor's other guests.
fn machine_time() -> anyhow::Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).flat_map(str::parse).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal (proc_stat(5)).
    let busy: u64 = [0, 1, 2, 5, 6].iter().filter_map(|at| ticks.get(*at)).sum();
    let hertz = sysconf(SysconfVar::CLK_TCK)?.context("no clock ticks")?;
    Ok(Duration::from_secs_f64(busy as f64 / hertz as f64))
}
