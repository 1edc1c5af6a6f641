//! Connections of the kernel's SCTP (semantics R7, R8, A3, C2, N1). `sctp.rs` has the packets by themselves;
//! this needs a kernel with SCTP sockets, as those of `cargo xtask vm-test --lab`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use enforcer_tests::lab::{Family, Party, Proxy, Topology};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect,
    listen, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::scene::{PATIENCE, Scene, policy, shop_of};
use crate::support::SILENCE;

const PORT: u16 = 9_000;
const OTHER_PORT: u16 = 9_003;

/// The Service's port and addresses.
const SERVICE_PORT: u16 = 9_100;
const SERVICE: [&str; 2] = ["10.0.0.90", "fd00:10::90"];

/// A socket at one address: otherwise SCTP offers all addresses of the pod to the other end.
fn open(at: SocketAddr) -> io::Result<OwnedFd> {
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let opened = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, SockProtocol::Sctp)?;
    bind(opened.as_raw_fd(), &SockaddrStorage::from(at))?;
    Ok(opened)
}

async fn serve(scene: &Scene, party: &Party, family: Family, port: u16) -> TcpListener {
    let at = SocketAddr::new(scene.lab().address(party, family).unwrap(), port);
    let opened = move || {
        let opened = open(at)?;
        listen(&opened, Backlog::new(8)?)?;
        // For the standard library, every stream socket is one of TCP.
        Ok(TcpListener::from(opened))
    };
    scene.lab().namespace(party).unwrap().io("listen", opened).await.unwrap()
}

/// A connection; `None` if there is none in time.
async fn dial(
    scene: &Scene,
    from: &Party,
    to: SocketAddr,
    patience: Duration,
) -> Option<TcpStream> {
    let family = Family::of(to.ip());
    let at = SocketAddr::new(scene.lab().address(from, family).unwrap(), 0);
    let opened = scene.lab().namespace(from).unwrap().io("open", move || open(at)).await.unwrap();
    let limit = TimeVal::milliseconds(patience.as_millis().try_into().unwrap());
    setsockopt(&opened, sockopt::SendTimeout, &limit).unwrap();
    let connecting = tokio::task::spawn_blocking(move || {
        match connect(opened.as_raw_fd(), &SockaddrStorage::from(to)) {
            Ok(()) => Some(TcpStream::from(opened)),
            Err(error) => {
                use nix::errno::Errno;
                let silent = [Errno::EINPROGRESS, Errno::EAGAIN, Errno::ETIMEDOUT, Errno::EINTR];
                assert!(silent.contains(&error), "dropped, not answered: {error}");
                None
            }
        }
    });
    connecting.await.unwrap()
}

/// Whether a byte arrives in time.
async fn arrives(to: &TcpStream, patience: Duration) -> bool {
    to.set_read_timeout(Some(patience)).unwrap();
    let mut to = to.try_clone().unwrap();
    let reading = tokio::task::spawn_blocking(move || {
        let mut byte = [0];
        match to.read(&mut byte) {
            Ok(length) => length == 1,
            Err(error) => {
                let late = [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind());
                assert!(late, "{error}");
                false
            }
        }
    });
    reading.await.unwrap()
}

async fn accepted(listener: &TcpListener) -> TcpStream {
    let listener = listener.try_clone().unwrap();
    tokio::task::spawn_blocking(move || listener.accept().unwrap().0).await.unwrap()
}

fn allow(from: &str) -> String {
    let ports = format!("ports: [{{protocol: SCTP, port: {PORT}}}]");
    let spec = format!(
        "podSelector: {{matchLabels: {{app: server}}}}, \
         ingress: [{{from: [{{podSelector: {{matchLabels: {{app: {from}}}}}}}], {ports}}}]"
    );
    let only = format!(
        "podSelector: {{matchLabels: {{app: client}}}}, policyTypes: [Ingress, Egress], \
         egress: [{{{ports}}}]"
    );
    policy("shop", "server", &spec) + &policy("shop", "client", &only)
}

/// Sends a byte in each direction.
async fn exchange(client: &mut TcpStream, server: &mut TcpStream) {
    client.write_all(b"?").unwrap();
    assert!(arrives(server, PATIENCE).await, "a request");
    server.write_all(b"!").unwrap();
    assert!(arrives(client, PATIENCE).await, "an answer");
}

async fn connections(scene: &mut Scene) {
    scene.write("pods.yaml", &shop_of(&["client", "server", "stranger"]));
    let [client, server, stranger] =
        ["client", "server", "stranger"].map(|name| Party::pod("shop", name));
    for family in Family::ALL {
        scene.write("policy.yaml", &allow("client"));
        scene.agree("the client only").await;
        let address = scene.lab().address(&server, family).unwrap();
        let to = |port| SocketAddr::new(address, port);
        let listener = serve(scene, &server, family, PORT).await;
        let _other = serve(scene, &server, family, OTHER_PORT).await;
        let mut opened = dial(scene, &client, to(PORT), PATIENCE).await.unwrap();
        let mut answering = accepted(&listener).await;
        exchange(&mut opened, &mut answering).await;
        assert!(dial(scene, &client, to(OTHER_PORT), SILENCE).await.is_none(), "{family}: port");
        assert!(dial(scene, &stranger, to(PORT), SILENCE).await.is_none(), "{family}: stranger");
        // C2: what policy denies stops, and continues when it allows it again.
        scene.write("policy.yaml", &allow("stranger"));
        scene.agree("the stranger only").await;
        opened.write_all(b"?").unwrap();
        assert!(!arrives(&answering, SILENCE).await, "{family}: cut");
        scene.write("policy.yaml", &allow("client"));
        scene.agree("the client again").await;
        assert!(arrives(&answering, PATIENCE).await, "{family}: SCTP repeats the lost one");
        exchange(&mut opened, &mut answering).await;
    }
}

async fn through_a_service(scene: &mut Scene) {
    let service = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{namespace: shop, name: sctp}}\nspec:\n  \
         selector: {{app: server}}\n  clusterIP: {0}\n  clusterIPs: [{0}, \"{1}\"]\n  ports:\n  \
         - {{protocol: SCTP, port: {SERVICE_PORT}, targetPort: {PORT}}}\n",
        SERVICE[0], SERVICE[1]
    );
    scene.write("pods.yaml", &(shop_of(&["client", "server", "stranger"]) + &service));
    scene.write("policy.yaml", &allow("client"));
    scene.agree("the client only").await;
    let [client, server, stranger] =
        ["client", "server", "stranger"].map(|name| Party::pod("shop", name));
    for (family, address) in Family::ALL.into_iter().zip(SERVICE) {
        let at = SocketAddr::new(address.parse::<IpAddr>().unwrap(), SERVICE_PORT);
        let listener = serve(scene, &server, family, PORT).await;
        let mut opened = dial(scene, &client, at, PATIENCE).await.unwrap();
        let mut answering = accepted(&listener).await;
        exchange(&mut opened, &mut answering).await;
        assert!(dial(scene, &stranger, at, SILENCE).await.is_none(), "{family}");
    }
}

machine_scenarios! {
    vm_r7_a3_c2_sctp_connections_on_kubenet: Topology::Kubenet => connections;
    vm_r7_a3_c2_sctp_connections_on_azure_cni: Topology::AzureCni => connections;
    vm_n1_sctp_through_a_service_by_iptables: (Topology::AzureCni, Proxy::Iptables) =>
        through_a_service;
    vm_n1_sctp_through_a_service_by_ipvs: (Topology::Kubenet, Proxy::Ipvs) => through_a_service;
}
