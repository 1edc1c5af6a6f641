//! Ordinary connections that policy allows. They must succeed while the hostile frames arrive.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use enforcer_tests::lab::{Family, Lab, Party};
use enforcer_tests::probe::{Outcome, fetch};
use futures::future::join_all;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::cast::{FAR, LIVING, World};
use crate::crafted::{Address, Role, Service};

/// The first bytes of the friends' datagrams, which no hostile pod may receive (semantics P4).
pub(crate) const MAGIC: [u8; 4] = *b"\xf1frd";
/// Ample: the kernel repeats a SYN after one second, and again after three.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection: from, to, and who answers.
type Way = (Role, Address, u16, Role);

/// Requests by TCP.
const PAGES: [Way; 9] = [
    (Role::Friend, Address::Pod(Role::Victim), 80, Role::Victim),
    (Role::Friend, Address::Cluster(Service::Vault), 80, Role::Victim),
    (Role::Victim, Address::Pod(Role::Friend), 80, Role::Friend),
    (Role::Victim, Address::Cluster(Service::Open), 80, Role::Friend),
    (Role::Narrow, Address::Pod(Role::Ally), 8_080, Role::Ally),
    (Role::Narrow, Address::Cluster(Service::Web), 80, Role::Ally),
    (Role::Outside, Address::Pod(Role::Victim), 80, Role::Victim),
    (Role::Outside, Address::Node, 30_081, Role::Victim),
    (Role::Outside, Address::External(Service::Vault), 80, Role::Victim),
];

/// Datagrams that are echoed.
const ECHOES: [Way; 4] = [
    (Role::Friend, Address::Pod(Role::Victim), 5_353, Role::Victim),
    (Role::Friend, Address::Cluster(Service::Vault), 53, Role::Victim),
    (Role::Outside, Address::Node, 30_053, Role::Victim),
    (Role::Victim, Address::Cluster(Service::Far), 53, Role::Outside),
];

/// The friends, and the flow that lives all the time.
pub(crate) struct Friends {
    living: Vec<(UdpSocket, SocketAddr)>,
}

impl Friends {
    pub(crate) async fn new(lab: &Lab, world: &World) -> Self {
        let mut living = Vec::new();
        for family in Family::ALL {
            let v6 = family == Family::V6;
            let own = SocketAddr::new(world.of(Role::Victim, v6), LIVING);
            let office = world.address(Address::Office, Role::Outside, v6);
            let socket = socket(lab, Role::Victim, own).await;
            living.push((socket, SocketAddr::new(office, 53)));
        }
        for family in Family::ALL {
            let far = world.address(Address::BehindBare, Role::Outside, family == Family::V6);
            let server = socket(lab, Role::Outside, SocketAddr::new(far, FAR)).await;
            tokio::spawn(answer(server));
        }
        Self { living }
    }

    /// One round of all connections; returns those that failed.
    pub(crate) async fn round(&self, lab: &Lab, world: &World) -> Vec<String> {
        let both = [false, true];
        let pages = both.map(|v6| PAGES.map(|it| page(lab, world, it, v6)));
        let echoes = both.map(|v6| ECHOES.map(|it| datagram(lab, world, it, v6)));
        let living = self.living.iter().map(async |(socket, office)| {
            echo(socket, *office).await.map_err(|why| format!("victim → office {office}: {why}"))
        });
        let (pages, echoes, living) = tokio::join!(
            join_all(pages.into_iter().flatten()),
            join_all(echoes.into_iter().flatten()),
            join_all(living)
        );
        [pages, echoes, living].concat().into_iter().filter_map(Result::err).collect()
    }
}

/// An echo server.
async fn answer(server: UdpSocket) {
    let mut buffer = [0; 2_048];
    loop {
        if let Ok((length, client)) = server.recv_from(&mut buffer).await {
            // Only to friends: hostile packets come back nowhere.
            if buffer.starts_with(&MAGIC) {
                let _ = server.send_to(&buffer[..length], client).await;
            }
        }
    }
}

fn address(world: &World, role: Role, address: Address, v6: bool) -> IpAddr {
    world.address(address, role, v6)
}

/// The friends outside are the office.
fn own(world: &World, role: Role, v6: bool) -> IpAddr {
    let own = if role == Role::Outside { Address::Office } else { Address::Own };
    world.address(own, role, v6)
}

async fn page(lab: &Lab, world: &World, way: Way, v6: bool) -> Result<(), String> {
    let (from, to, port, by) = way;
    let at = SocketAddr::new(address(world, from, to, v6), port);
    let own = Some(own(world, from, v6));
    let namespace = lab.namespace(&from.party()).unwrap();
    match fetch(namespace, at, own, PATIENCE).await.unwrap() {
        Ok(page) if page.by == by.party().to_string() => Ok(()),
        Ok(page) => Err(format!("{from:?} → {at}: {} answered", page.by)),
        Err(outcome) => Err(format!("{from:?} → {at}: {outcome:?}")),
    }
}

async fn socket(lab: &Lab, role: Role, own: SocketAddr) -> UdpSocket {
    let bind = move || {
        let socket = std::net::UdpSocket::bind(own)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    let party: Party = role.party();
    UdpSocket::from_std(lab.namespace(&party).unwrap().io("bind", bind).await.unwrap()).unwrap()
}

async fn datagram(lab: &Lab, world: &World, way: Way, v6: bool) -> Result<(), String> {
    let (from, to, port, _) = way;
    let at = SocketAddr::new(address(world, from, to, v6), port);
    let socket = socket(lab, from, SocketAddr::new(own(world, from, v6), 0)).await;
    echo(&socket, at).await.map_err(|why| format!("{from:?} → UDP {at}: {why}"))
}

/// Sends a datagram until it comes back: one may be lost while a neighbour is looked up.
async fn echo(socket: &UdpSocket, at: SocketAddr) -> Result<(), String> {
    let sent = [MAGIC, *b" ask"].concat();
    let exchange = async {
        let mut buffer = [0; 64];
        loop {
            let asked = async {
                socket.send_to(&sent, at).await?;
                socket.recv(&mut buffer).await
            };
            match timeout(Duration::from_millis(500), asked).await {
                Ok(Ok(length)) if buffer[..length] == sent => return,
                // An error about an earlier datagram.
                Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                _ => {}
            }
        }
    };
    timeout(PATIENCE, exchange).await.map_err(|_| format!("{:?}", Outcome::TimedOut))
}
