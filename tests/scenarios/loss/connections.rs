//! TCP connections: long-lived ones, and short ones.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use enforcer_tests::lab::{Family, Lab, Party};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::flows::{Kind, Line, PORT, lines, servers};
use super::ledger::{Count, Ledger};
use crate::scene::PATIENCE;

/// Long-lived connections.
const LIVING: usize = 200;
/// Pause between two messages of one of them.
const PACE: Duration = Duration::from_millis(100);
/// New connections per second, of all flows together.
const NEW: u32 = 1_000;
/// Pause between two attempts at a denied connection.
const ATTEMPTS: Duration = Duration::from_millis(100);
/// Time limit of such an attempt: shorter than TCP's first retransmission.
const ATTEMPT: Duration = Duration::from_millis(300);
/// Long enough for a moment in which no connection is accepted.
const BACKLOG: u32 = 4_096;

/// Starts the servers' listeners. They end with the runtime.
pub(super) async fn serve(lab: &Lab, ledger: &Arc<Ledger>) {
    let allowed: BTreeSet<IpAddr> = lines(lab, Kind::Always).iter().map(|line| line.own).collect();
    for server in servers() {
        for family in Family::ALL {
            let at = SocketAddr::new(lab.address(&server, family).unwrap(), PORT);
            let socket = sockets(lab, &server, at, 1).await.remove(0);
            let listener = socket.listen(BACKLOG).unwrap();
            tokio::spawn(accept(listener, allowed.clone(), Arc::clone(ledger)));
        }
    }
}

/// Sockets of a party, bound to its address.
async fn sockets(lab: &Lab, party: &Party, own: SocketAddr, count: usize) -> Vec<TcpSocket> {
    let make = move || (0..count).map(|_| socket(own)).collect::<io::Result<Vec<_>>>();
    lab.namespace(party).unwrap().io("make sockets", make).await.unwrap()
}

fn socket(own: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if own.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(own.port() != 0)?;
    socket.set_nodelay(true)?;
    socket.bind(own)?;
    Ok(socket)
}

async fn accept(listener: TcpListener, allowed: BTreeSet<IpAddr>, ledger: Arc<Ledger>) {
    let at = listener.local_addr().unwrap();
    loop {
        let (stream, from) = listener.accept().await.unwrap();
        if allowed.contains(&from.ip()) {
            tokio::spawn(echo(stream));
        } else {
            ledger.fail(format!("{at} was connected to by {}", from.ip()));
        }
    }
}

async fn echo(mut stream: TcpStream) {
    let mut message = [0; 8];
    while stream.read_exact(&mut message).await.is_ok() {
        if stream.write_all(&message).await.is_err() {
            return;
        }
    }
}

/// Starts all connections.
pub(super) async fn start(lab: &Lab, ledger: &Arc<Ledger>, load: &mut JoinSet<()>) {
    let always = lines(lab, Kind::Always);
    for number in 0..LIVING {
        let line = always[number % always.len()].clone();
        let socket = sockets(lab, &line.flow.from, SocketAddr::new(line.own, 0), 1).await.remove(0);
        let stream = timeout(PATIENCE, socket.connect(line.at)).await.unwrap().unwrap();
        ledger.add(Count::Living);
        load.spawn(live(line, stream, Arc::clone(ledger)));
    }
    let each = Duration::from_secs(1) * u32::try_from(always.len()).unwrap() / NEW;
    for line in always {
        let (to, made) = mpsc::channel(8);
        supply(lab, &line, to).await;
        load.spawn(open(line, made, each, Arc::clone(ledger)));
    }
    let stranger = Party::pod("shop", "stranger");
    for line in lines(lab, Kind::Never) {
        if line.flow.from == stranger {
            let (to, made) = mpsc::channel(4);
            supply(lab, &line, to).await;
            load.spawn(attempt(line, made, Arc::clone(ledger)));
        }
    }
}

/// Keeps sockets of the line's sender ready: only a thread in its namespace can make them.
async fn supply(lab: &Lab, line: &Line, to: mpsc::Sender<TcpSocket>) {
    let own = SocketAddr::new(line.own, 0);
    let work = move || {
        while let Ok(socket) = socket(own) {
            if to.blocking_send(socket).is_err() {
                return;
            }
        }
    };
    // A thread starts in the namespace of its parent.
    let start = || std::thread::Builder::new().stack_size(64 * 1024).spawn(work);
    lab.namespace(&line.flow.from).unwrap().io("start a thread", start).await.unwrap();
}

/// A message in each direction.
async fn exchange(stream: &mut TcpStream, number: u64) -> Result<(), String> {
    let mut answer = [0; 8];
    let both = async {
        stream.write_all(&number.to_be_bytes()).await?;
        stream.read_exact(&mut answer).await
    };
    match timeout(PATIENCE, both).await {
        Ok(Ok(_)) if answer == number.to_be_bytes() => Ok(()),
        Ok(Ok(_)) => Err(format!("the answer {}", u64::from_be_bytes(answer))),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}

async fn live(line: Line, mut stream: TcpStream, ledger: Arc<Ledger>) {
    let mut number = 0;
    while ledger.goes_on() {
        number += 1;
        if let Err(what) = exchange(&mut stream, number).await {
            return ledger.fail(format!("{}: message {number}: {what}", line.name()));
        }
        ledger.add(Count::Exchanged);
        tokio::time::sleep(PACE).await;
    }
    // Ends by a reset, like the short ones.
    let _ = stream.set_zero_linger();
}

/// Opens a connection at every tick; late ticks are made up for.
async fn open(
    line: Line,
    mut sockets: mpsc::Receiver<TcpSocket>,
    each: Duration,
    ledger: Arc<Ledger>,
) {
    let mut ticks = interval(each);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut open = JoinSet::new();
    while ledger.goes_on() {
        ticks.tick().await;
        let Some(socket) = sockets.recv().await else {
            return ledger.fail(format!("{}: no more sockets", line.name()));
        };
        open.spawn(once(line.clone(), socket, Arc::clone(&ledger)));
        while open.try_join_next().is_some() {}
    }
    open.join_all().await;
}

/// Connects, exchanges one message and ends by a reset, so that no port stays in TIME_WAIT.
async fn once(line: Line, socket: TcpSocket, ledger: Arc<Ledger>) {
    let done = async {
        let connected = timeout(PATIENCE, socket.connect(line.at)).await;
        let mut stream =
            connected.map_err(|_| "no connection")?.map_err(|error| error.to_string())?;
        exchange(&mut stream, 1).await?;
        stream.set_zero_linger().map_err(|error| error.to_string())
    };
    match done.await {
        Ok(()) => ledger.add(Count::Opened),
        Err(what) => ledger.fail(format!("{}: a new connection: {what}", line.name())),
    }
}

/// Tries to connect repeatedly; not even a refusal may come back.
async fn attempt(line: Line, mut sockets: mpsc::Receiver<TcpSocket>, ledger: Arc<Ledger>) {
    while ledger.goes_on() {
        let Some(socket) = sockets.recv().await else { return };
        ledger.add(Count::Tried);
        if let Ok(result) = timeout(ATTEMPT, socket.connect(line.at)).await {
            ledger.fail(format!("{}: connecting returned {result:?}", line.name()));
        }
        tokio::time::sleep(ATTEMPTS).await;
    }
}
