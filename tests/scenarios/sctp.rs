//! SCTP between pods (semantics R7, R8, A3), packet by packet: the kernel need not support it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use enforcer_tests::frame::{Frame, Transport};
use enforcer_tests::lab::{Family, Party, Topology};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendto,
    socket,
};

use crate::scene::{PATIENCE, Scene, policy, shop_of};
use crate::support::SILENCE;

const CLIENT: u16 = 5_000;

fn raw(family: AddressFamily, kind: SockType, protocol: SockProtocol) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socket(family, kind, flags, protocol)?)
}

/// A socket that receives all packets of a pod, in both directions, from the IP header on.
async fn listen(scene: &Scene, party: &Party) -> OwnedFd {
    let open = || raw(AddressFamily::Packet, SockType::Datagram, SockProtocol::EthAll);
    scene.lab().namespace(party).unwrap().io("listen to all", open).await.unwrap()
}

/// Sends an IP packet with its header; the kernel fills in some fields.
async fn send(scene: &Scene, party: &Party, to: IpAddr, packet: Vec<u8>) {
    let send = move || {
        let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let sender = raw(family, SockType::Raw, SockProtocol::Raw)?;
        let to = SockaddrStorage::from(SocketAddr::new(to, 0));
        let sent = sendto(sender.as_raw_fd(), &packet, &to, MsgFlags::empty())?;
        assert_eq!(sent, packet.len());
        Ok(())
    };
    scene.lab().namespace(party).unwrap().io("send a packet", send).await.unwrap();
}

/// Whether both packets are the same. The node changes time to live and checksum.
fn is_same(got: &[u8], sent: &[u8]) -> bool {
    let ends = if sent[0] >> 4 == 4 { 12 } else { 8 };
    got.len() >= sent.len() && got[0] == sent[0] && got[ends..sent.len()] == sent[ends..]
}

/// Whether a packet arrives at the other pod.
async fn arrives(
    scene: &Scene,
    [from, to]: [&Party; 2],
    family: Family,
    [source, destination]: [u16; 2],
    patience: Duration,
) -> bool {
    let ends = [from, to].map(|it| scene.lab().address(it, family).unwrap());
    let frame = Frame::new(ends[0], ends[1], Transport::Sctp(source, destination));
    let packet = frame.build().bytes.split_off(14);
    let listener = listen(scene, to).await;
    send(scene, from, ends[1], packet.clone()).await;
    let started_at = Instant::now();
    let mut buffer = [0; 2_048];
    loop {
        match recv(listener.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) if is_same(&buffer[..length], &packet) => return true,
            Ok(_) => {}
            Err(nix::errno::Errno::EAGAIN) if started_at.elapsed() < patience => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(nix::errno::Errno::EAGAIN) => return false,
            Err(error) => assert_eq!(error, nix::errno::Errno::EAGAIN),
        }
    }
}

fn server(port: &str) -> String {
    let spec = format!(
        "podSelector: {{matchLabels: {{app: server}}}}, policyTypes: [Ingress, Egress], \
         ingress: [{{from: [{{podSelector: {{matchLabels: {{app: client}}}}}}], ports: [{{{port}}}]}}]"
    );
    policy("shop", "server", &spec)
}

async fn ports_decide(scene: &mut Scene) {
    let client_spec = "podSelector: {matchLabels: {app: client}}, policyTypes: [Ingress, Egress], \
                       egress: [{ports: [{protocol: SCTP, port: 8999, endPort: 9003}]}]";
    let pods = shop_of(&["client", "server", "stranger"]);
    scene.write("all.yaml", &(pods + &policy("shop", "client", client_spec)));
    scene.write("server.yaml", &server("protocol: SCTP, port: 9000, endPort: 9002"));
    scene.agree("a range of SCTP").await;
    let [client, server_pod, stranger] =
        ["client", "server", "stranger"].map(|name| Party::pod("shop", name));
    let (there, back) = ([&client, &server_pod], [&server_pod, &client]);
    for family in Family::ALL {
        let answer = [9_001, CLIENT];
        assert!(!arrives(scene, back, family, answer, SILENCE).await, "{family}: no request yet");
        for (port, allowed) in [(8_999, false), (9_000, true), (9_001, true), (9_002, true)] {
            let patience = if allowed { PATIENCE } else { SILENCE };
            let got = arrives(scene, there, family, [CLIENT, port], patience).await;
            assert_eq!(got, allowed, "{family}: port {port}");
        }
        assert!(!arrives(scene, there, family, [CLIENT, 9_003], SILENCE).await, "{family}: 9003");
        assert!(arrives(scene, back, family, answer, PATIENCE).await, "{family}: an answer");
        let other = [9_001, CLIENT + 1];
        assert!(!arrives(scene, back, family, other, SILENCE).await, "{family}: no answer");
        let strange = [&stranger, &server_pod];
        assert!(!arrives(scene, strange, family, [CLIENT, 9_000], SILENCE).await, "{family}");
    }
    // The same number of another protocol (semantics R8).
    scene.write("server.yaml", &server("port: 9000"));
    scene.agree("TCP of that number").await;
    for family in Family::ALL {
        assert!(!arrives(scene, there, family, [CLIENT, 9_000], SILENCE).await, "{family}: TCP");
    }
}

scenarios! {
    r7_r8_sctp_ports_decide: Topology::AzureCni => ports_decide;
}
