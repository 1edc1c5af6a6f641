//! Numbered datagrams that are never repeated.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use enforcer_tests::lab::{Family, Lab};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::flows::{CLOSED, Kind, Line, PORT, lines, servers};
use super::ledger::{Count, Ledger};
use crate::scene::PATIENCE;
use crate::support::udp_socket;

/// Between two datagrams of a flow.
const PACE: Duration = Duration::from_millis(4);

/// Starts the receivers: a socket of each server, for each family and port. They end with the
/// runtime.
pub(super) async fn serve(lab: &Lab, ledger: &Arc<Ledger>) {
    for server in servers() {
        for family in Family::ALL {
            for port in [PORT, CLOSED] {
                let at = SocketAddr::new(lab.address(&server, family).unwrap(), port);
                let senders = senders(lab, at);
                let socket = udp_socket(lab, &server, at).await;
                tokio::spawn(receive(socket, senders, Arc::clone(ledger)));
            }
        }
    }
}

/// The senders to this address, with the kind of their flow.
fn senders(lab: &Lab, at: SocketAddr) -> BTreeMap<IpAddr, Kind> {
    let all = [Kind::Always, Kind::Sometimes, Kind::Never].map(|kind| lines(lab, kind));
    let here = all.into_iter().flatten().filter(|line| line.at == at);
    here.map(|line| (line.own, line.flow.kind)).collect()
}

/// Answers datagrams that are always allowed, counts those that are sometimes, and fails on those
/// that are never.
async fn receive(socket: UdpSocket, senders: BTreeMap<IpAddr, Kind>, ledger: Arc<Ledger>) {
    let at = socket.local_addr().unwrap();
    let mut buffer = [0; 16];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        match senders.get(&from.ip()) {
            Some(Kind::Always) => {
                ledger.add(Count::Datagrams);
                socket.send_to(&buffer[..length], from).await.unwrap();
            }
            Some(Kind::Sometimes) => ledger.add(Count::Arrived),
            Some(Kind::Never) | None => {
                ledger.fail(format!("{at} got a datagram from {}", from.ip()));
            }
        }
    }
}

/// Starts the senders.
pub(super) async fn start(lab: &Lab, ledger: &Arc<Ledger>, load: &mut JoinSet<()>) {
    for kind in [Kind::Always, Kind::Sometimes, Kind::Never] {
        for line in lines(lab, kind) {
            let own = SocketAddr::new(line.own, 0);
            let socket = udp_socket(lab, &line.flow.from, own).await;
            socket.connect(line.at).await.unwrap();
            let ledger = Arc::clone(ledger);
            match kind {
                Kind::Always => load.spawn(converse(line, socket, ledger)),
                Kind::Sometimes => load.spawn(send(line, socket, ledger, Count::Sometimes)),
                Kind::Never => load.spawn(send(line, socket, ledger, Count::Never)),
            };
        }
    }
}

/// One datagram in each direction, in lockstep: the first loss fails the run.
async fn converse(line: Line, socket: UdpSocket, ledger: Arc<Ledger>) {
    let mut number = 0_u64;
    while ledger.goes_on() {
        number += 1;
        let mut answer = [0; 8];
        let exchange = async {
            socket.send(&number.to_be_bytes()).await?;
            socket.recv(&mut answer).await
        };
        let what = match timeout(PATIENCE, exchange).await {
            Ok(Ok(_)) if answer == number.to_be_bytes() => None,
            Ok(Ok(_)) => Some(format!("the answer {}", u64::from_be_bytes(answer))),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer".to_owned()),
        };
        if let Some(what) = what {
            return ledger.fail(format!("{}: datagram {number}: {what}", line.name()));
        }
        ledger.add(Count::Datagrams);
        tokio::time::sleep(PACE).await;
    }
}

async fn send(line: Line, socket: UdpSocket, ledger: Arc<Ledger>, count: Count) {
    let mut number = 0_u64;
    while ledger.goes_on() {
        number += 1;
        socket.send(&number.to_be_bytes()).await.unwrap();
        ledger.add(count);
        tokio::time::sleep(PACE).await;
    }
    ledger.sent(line.name(), number);
}
