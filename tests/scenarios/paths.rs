//! Path-MTU discovery (semantics A3) and neighbour discovery (A4) for pods that are isolated in
//! both directions.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use enforcer_tests::lab::{Distant, Family, Namespace, Party, Topology};

use crate::scene::{PATIENCE, Scene, policy, shop_of};

/// Smaller than the MTU of every other link.
const MTU: u32 = 1_300;
/// Fills many packets of that size.
const LENGTH: usize = 100_000;
const PORT: u16 = 7_000;

/// The pods may only exchange packets with the distant host, on one port.
fn isolated() -> String {
    let ends: Vec<String> = Family::ALL
        .map(Distant::address)
        .iter()
        .map(|it| format!("{{ipBlock: {{cidr: {it}/{}}}}}", if it.is_ipv4() { 32 } else { 128 }))
        .collect();
    let rule = |side| {
        format!("[{{{side}: [{}], ports: [{{protocol: TCP, port: {PORT}}}]}}]", ends.join(", "))
    };
    let spec = format!(
        "podSelector: {{}}, policyTypes: [Ingress, Egress], ingress: {}, egress: {}",
        rule("from"),
        rule("to")
    );
    policy("shop", "narrow", &spec)
}

async fn listen(on: &Namespace, address: IpAddr) -> TcpListener {
    let at = SocketAddr::new(address, PORT);
    on.io("listen", move || TcpListener::bind(at)).await.unwrap()
}

async fn connect(from: &Namespace, address: IpAddr) -> TcpStream {
    let at = SocketAddr::new(address, PORT);
    from.io("connect", move || TcpStream::connect_timeout(&at, PATIENCE)).await.unwrap()
}

/// Sends more than fits into one packet of the narrow link, and waits until all of it arrives.
async fn send(mut from: TcpStream, mut to: TcpStream) {
    to.set_read_timeout(Some(PATIENCE)).unwrap();
    from.set_write_timeout(Some(PATIENCE)).unwrap();
    let sending = tokio::task::spawn_blocking(move || {
        from.write_all(&vec![7; LENGTH]).unwrap();
        from
    });
    let receiving = tokio::task::spawn_blocking(move || {
        let mut got = vec![0; LENGTH];
        to.read_exact(&mut got).unwrap();
    });
    receiving.await.unwrap();
    sending.await.unwrap();
}

async fn through_a_narrow_link(scene: &mut Scene) {
    scene.write("all.yaml", &(shop_of(&["client", "server"]) + &isolated()));
    scene.agree("only the distant host").await;
    let distant = scene.lab().add_distant(MTU).await.unwrap();
    for family in Family::ALL {
        let far = Distant::address(family);
        // The pod sends a request, or a response: the router sends its error to the pod either way.
        let client = scene.lab().namespace(&Party::pod("shop", "client")).unwrap();
        let listener = listen(distant.namespace(), far).await;
        let from = connect(client, far).await;
        send(from, listener.accept().unwrap().0).await;

        let server = Party::pod("shop", "server");
        let at = scene.lab().address(&server, family).unwrap();
        let listener = listen(scene.lab().namespace(&server).unwrap(), at).await;
        let to = connect(distant.namespace(), at).await;
        send(listener.accept().unwrap().0, to).await;
    }
}

async fn after_all_neighbours_are_forgotten(scene: &mut Scene) {
    let deny = policy("shop", "deny", "podSelector: {}, policyTypes: [Ingress, Egress]");
    let only = "ports: [{protocol: TCP, port: 80}]";
    let allow = policy(
        "shop",
        "allow",
        &format!(
            "podSelector: {{}}, policyTypes: [Ingress, Egress], ingress: [{{{only}}}], \
             egress: [{{{only}}}]"
        ),
    );
    scene.write("all.yaml", &[shop_of(&["client", "server"]), deny, allow].concat());
    scene.run_pods().await;
    // A measurement connects in each direction, by both families.
    for _ in 0..3 {
        scene.lab().forget_neighbours().await.unwrap();
        scene.agree("only one port").await;
    }
}

// Both: link layer, neighbours and MTU are the topology's own.
scenarios! {
    a3_path_mtu_discovery_works_through_isolated_pods_on_kubenet: Topology::Kubenet =>
        through_a_narrow_link;
    a3_path_mtu_discovery_works_through_isolated_pods_on_azure_cni: Topology::AzureCni =>
        through_a_narrow_link;
    a4_neighbours_are_found_under_default_deny_on_kubenet: Topology::Kubenet =>
        after_all_neighbours_are_forgotten;
    a4_neighbours_are_found_under_default_deny_on_azure_cni: Topology::AzureCni =>
        after_all_neighbours_are_forgotten;
}
