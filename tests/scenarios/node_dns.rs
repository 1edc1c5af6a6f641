//! DNS on the node (semantics A2): NodeLocal DNSCache and AKS's LocalDNS answer at link-local addresses of
//! the node, NodeLocal DNSCache also at kube-dns' own. Policies that allow only kube-dns keep working.
//!
//! Sources: kubernetes/kubernetes, cluster/addons/dns/nodelocaldns (169.254.20.10 and the Service's
//! address on one interface); AKS's documentation of LocalDNS (169.254.10.10 and .11).

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use enforcer_tests::lab::{Family, Party, Topology};
use tokio::net::UdpSocket;

use crate::scene::{PATIENCE, Scene, namespace, pod, policy, until};
use crate::support::{SILENCE, udp_at, udp_socket};

const PORT: u16 = 53;

/// What the node itself answers at. The last one is the Service kube-dns.
const ADDRESSES: [&str; 4] = ["169.254.10.10", "169.254.10.11", "169.254.20.10", "10.0.0.53"];

fn cluster() -> String {
    let dns = ["dns/UDP/53", "dns-tcp/TCP/53"];
    let kube_dns = "to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: \
                    kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], \
                    ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]";
    let spec =
        format!("podSelector: {{}}, policyTypes: [Ingress, Egress], egress: [{{{kube_dns}}}]");
    [
        namespace("kube-system", "kubernetes.io/metadata.name: kube-system"),
        pod("kube-system", "coredns", "k8s-app: kube-dns", &dns),
        "---\napiVersion: v1\nkind: Service\nmetadata: {namespace: kube-system, name: kube-dns}\n\
         spec:\n  selector: {k8s-app: kube-dns}\n  clusterIP: 10.0.0.53\n  ports:\n  \
         - {name: dns, protocol: UDP, port: 53, targetPort: dns}\n"
            .to_owned(),
        namespace("shop", ""),
        pod("shop", "client", "app: client", &dns),
        namespace("other", ""),
        pod("other", "evil", "app: evil", &dns),
        policy("shop", "dns-only", &spec),
    ]
    .concat()
}

/// Runs a command in a party's network.
async fn run(scene: &Scene, party: &Party, line: String) {
    let run = move || {
        let mut words = line.split(' ');
        let output = Command::new(words.next().unwrap()).args(words).output()?;
        assert!(output.status.success(), "{line}: {output:?}");
        Ok(())
    };
    scene.lab().namespace(party).unwrap().io("run a command", run).await.unwrap();
}

/// A server of the node: answers each datagram, and accepts connections.
async fn serve(scene: &Scene, at: SocketAddr) -> TcpListener {
    let socket = udp_socket(scene.lab(), &Party::Node, at).await;
    tokio::spawn(async move {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..length], from).await;
        }
    });
    let listen = move || TcpListener::bind(at);
    scene.lab().namespace(&Party::Node).unwrap().io("listen", listen).await.unwrap()
}

/// Whether something arrives in time; who sent it.
async fn heard(socket: &UdpSocket, patience: Duration) -> Option<SocketAddr> {
    let mut buffer = [0; 64];
    let received = tokio::time::timeout(patience, socket.recv_from(&mut buffer)).await;
    received.ok().map(|it| it.unwrap().1)
}

async fn answers(scene: &mut Scene) {
    scene.write("all.yaml", &cluster());
    // The matrix is that of the cluster without a server on the node.
    scene.agree("only kube-dns").await;
    // An interface of its own, as both make one (of kind dummy, which not every kernel has).
    run(scene, &Party::Node, "ip link add nodelocaldns type bridge".to_owned()).await;
    for address in ADDRESSES {
        for line in [
            format!("ip address add {address}/32 dev nodelocaldns"),
            // kube-proxy's rules don't apply to what conntrack does not see.
            format!("iptables -w -t raw -A PREROUTING -d {address} -j NOTRACK"),
            format!("iptables -w -t raw -A OUTPUT -s {address} -j NOTRACK"),
        ] {
            run(scene, &Party::Node, line).await;
        }
    }
    run(scene, &Party::Node, "ip link set nodelocaldns up".to_owned()).await;
    let client = Party::pod("shop", "client");
    for address in ADDRESSES {
        let at = SocketAddr::new(address.parse().unwrap(), PORT);
        let server = serve(scene, at).await;
        let asker = udp_at(scene.lab(), &client, Family::V4, 0).await;
        // The agent learns of the address in a moment.
        until("the node's address is known", async || {
            asker.send_to(b"?", at).await.unwrap();
            heard(&asker, SILENCE).await.is_some()
        })
        .await;
        for _ in 0..3 {
            asker.send_to(b"?", at).await.unwrap();
            assert_eq!(heard(&asker, PATIENCE).await, Some(at), "{address}, UDP");
        }
        let connect = move || TcpStream::connect_timeout(&at, PATIENCE);
        let network = scene.lab().namespace(&client).unwrap();
        let connected = network.io("connect", connect).await;
        assert!(connected.is_ok(), "{address}, TCP: {connected:?}");
        drop(server);
    }
    claims(scene, &client).await;
}

/// Another pod that takes such an address is not the node.
async fn claims(scene: &Scene, client: &Party) {
    let evil = Party::pod("other", "evil");
    let victim = udp_at(scene.lab(), client, Family::V4, 0).await;
    let to = victim.local_addr().unwrap();
    let dropped = r#"enforcer_drops_total{namespace="other",pod="evil",direction="egress",reason="spoofed-source"}"#;
    for address in &ADDRESSES[..3] {
        run(scene, &evil, format!("ip address add {address}/32 dev lo")).await;
        let at = SocketAddr::new(address.parse().unwrap(), PORT);
        let before = scene.metric(dropped).await;
        udp_socket(scene.lab(), &evil, at).await.send_to(b"!", to).await.unwrap();
        assert_eq!(heard(&victim, SILENCE).await, None, "{address}");
        assert!(scene.metric(dropped).await > before, "{address}: it was sent");
    }
}

// Both: pods reach the node's addresses by the bridge, or by a route and proxy ARP.
scenarios! {
    a2_dns_on_the_node_answers_pods_that_may_only_ask_kube_dns_on_kubenet: Topology::Kubenet =>
        answers;
    a2_dns_on_the_node_answers_pods_that_may_only_ask_kube_dns_on_azure_cni: Topology::AzureCni =>
        answers;
}
