//! The lab: one node with kube-proxy's rules, netfilter on the bridge, reassembly by conntrack, a
//! VXLAN device, and a device without Ethernet headers (VXLAN-GPE; this needs no kernel module).

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use enforcer::observe::Status;
use enforcer_tests::lab::{
    Fabric, LAB_DIR, Layout, Namespace, Proxy, Sandbox, Topology, command_in,
};
use enforcer_tests::session::{AGENT_PORT, Session, SessionOptions};

use crate::cast::{MANIFEST, PODS, World};
use crate::crafted::Role;
use crate::friends::Friends;
use crate::oracle::Oracle;
use crate::wire::{Arrival, Recorder, Sender, TAP};

/// Time limit for a condition that must come true.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running lab with everything that a run needs.
pub(crate) struct Stage {
    pub session: Session,
    pub oracle: Oracle,
    pub friends: Friends,
    pub senders: Vec<(Role, Sender)>,
    pub arrivals: mpsc::Receiver<Arrival>,
    recorders: Vec<Recorder>,
}

fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_enforcer-lab")).with_file_name(name);
    assert!(path.is_file(), "there is no {}: cargo build -p enforcer", path.display());
    path
}

impl Stage {
    pub(crate) async fn new(
        sandbox: &Sandbox,
        topology: Topology,
        proxy: Proxy,
        guarded: bool,
    ) -> Self {
        let manifests = Path::new(LAB_DIR).join("manifests");
        fs::create_dir_all(&manifests).unwrap();
        fs::write(manifests.join("all.yaml"), MANIFEST).unwrap();
        let layout = Layout { topology, nodes: 1, fabric: Fabric::Vxlan };
        let options = SessionOptions {
            layout: Some(layout),
            proxy,
            settle: PATIENCE,
            ..SessionOptions::new(
                manifests,
                program("enforcer-lab"),
                guarded.then(|| program("enforcer")),
            )
        };
        let mut session = Session::start(sandbox, topology, options).await.unwrap();
        let declared = session.declare().await.unwrap();
        assert!(declared.notes.is_empty(), "{:?}", declared.notes);
        devices(&session).await;
        if guarded {
            until_guarded(&session).await;
        }
        let world = World::read(session.lab()).await;
        let friends = Friends::new(session.lab(), &world).await;
        let (found, arrivals) = mpsc::channel();
        let (mut recorders, mut senders) = (Vec::new(), Vec::new());
        for role in PODS.into_iter().chain([Role::Outside]) {
            let namespace = session.lab().namespace(&role.party()).unwrap();
            recorders.push(Recorder::start(role, namespace, found.clone()).await);
            if !matches!(role, Role::Friend | Role::Victim | Role::Ally) {
                senders.push((role, Sender::open(namespace, "eth0").await));
                tap(namespace).await;
            }
        }
        let oracle = Oracle { cluster: declared.cluster, world };
        Self { session, oracle, friends, senders, arrivals, recorders }
    }

    /// Waits until the recorders have read all that was sent before.
    pub(crate) fn until_read(&self) {
        /// The kernel delivers what was sent in less time than a recorder waits for more.
        const WAITS: u64 = 3;
        let started_at = Instant::now();
        let before: Vec<u64> = self.recorders.iter().map(Recorder::idle).collect();
        for (recorder, before) in self.recorders.iter().zip(before) {
            while recorder.idle() < before + WAITS {
                assert!(started_at.elapsed() < PATIENCE, "the traffic does not end");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    pub(crate) fn sender(&self, role: Role) -> &Sender {
        let found = self.senders.iter().find(|it| it.0 == role);
        &found.expect("every party has a socket").1
    }
}

async fn run(namespace: &Namespace, program_name: &str, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let output =
        command_in(namespace, &program("enforcer-lab"), program_name, &words).await.unwrap();
    assert!(output.status.success(), "{program_name} {line}: {output:?}");
}

/// What the usual lab lacks: destinations behind tunnels, large packets, and room for many
/// incomplete ones.
async fn devices(session: &Session) {
    let lab = session.lab();
    let node = lab.node();
    const MAC: &str = "0a:58:0a:ef:00:09";
    for line in [
        "neigh add 10.239.0.9 lladdr 0a:58:0a:ef:00:09 dev vxlan0",
        "neigh add fd00:10:239::9 lladdr 0a:58:0a:ef:00:09 dev vxlan0",
        "route add 10.77.0.0/24 via 10.239.0.9 dev vxlan0",
        "route add fd00:77::/64 via fd00:10:239::9 dev vxlan0",
        "link add gpe0 type vxlan external gpe dstport 4790",
        "link set gpe0 up",
        "address add 10.238.0.1/24 dev gpe0",
        "address add fd00:10:238::1/64 dev gpe0 nodad",
        "route add 10.78.0.0/24 encap ip id 9 dst 10.240.0.1 dev gpe0",
        "route add fd00:78::/64 encap ip id 9 dst 10.240.0.1 dev gpe0",
        "link set eth0 mtu 9000",
    ] {
        run(node, "ip", line).await;
    }
    run(node, "bridge", &format!("fdb append {MAC} dev vxlan0 dst 10.240.0.1")).await;
    let outside = lab.namespace(&Role::Outside.party()).unwrap();
    for line in [
        "link set eth0 mtu 9000",
        "link add gpe0 type vxlan external gpe dstport 4790",
        "link set gpe0 up",
        "address add 10.78.0.9/32 dev lo",
        "address add fd00:78::9/128 dev lo nodad",
    ] {
        run(outside, "ip", line).await;
    }
    // What kube-proxy does for a Service with an endpoint that is no pod, before it does anything.
    for (family, service, backend) in
        [("ip", "10.0.0.13", "10.78.0.9:5001"), ("ip6", "fd00:10::13", "[fd00:78::9]:5001")]
    {
        let hook = "type nat hook prerouting priority -101";
        let rule = format!("{family} daddr {service} udp dport 53 dnat to {backend}");
        run(node, "nft", &format!("table {family} far {{ chain far {{ {hook} ; {rule} ; }} ; }}"))
            .await;
    }
    for (id, pod) in lab.pods() {
        run(pod.namespace(), "ip", "link set eth0 mtu 9000").await;
        let index = pod.interface();
        let find = move || Ok(nix::net::if_::if_indextoname(index)?.into_string().unwrap());
        let name = node.io(&format!("find the interface of {id}"), find).await.unwrap();
        run(node, "ip", &format!("link set {name} mtu 9000")).await;
    }
    let room = [
        ("ipv4/ipfrag_high_thresh", "67108864"),
        ("ipv4/ipfrag_max_dist", "0"),
        ("ipv4/ipfrag_time", "2"),
        ("ipv6/ip6frag_high_thresh", "67108864"),
        ("ipv6/ip6frag_time", "2"),
        ("netfilter/nf_conntrack_frag6_high_thresh", "67108864"),
        ("netfilter/nf_conntrack_frag6_timeout", "2"),
    ];
    node.sysctl(room.map(|(key, value)| (key.to_owned(), value)).to_vec()).await.unwrap();
}

/// Hands the frames of the tap device on to the interface, unchanged.
async fn tap(namespace: &Namespace) {
    let all = "/proc/sys/net/ipv6/conf/tap0/disable_ipv6";
    namespace.io("silence the tap device", move || fs::write(all, "1")).await.unwrap();
    let hook = "type filter hook ingress device tap0 priority 0";
    run(
        namespace,
        "nft",
        &format!("table netdev hand {{ chain on {{ {hook} ; fwd to eth0 ; }} ; }}"),
    )
    .await;
    run(namespace, "ip", &format!("link set {TAP} up mtu 9000")).await;
}

/// Waits until the agent guards each pod.
async fn until_guarded(session: &Session) {
    let wanted: BTreeSet<String> = session.lab().pods().keys().map(ToString::to_string).collect();
    let started_at = Instant::now();
    loop {
        let status = status(session).await;
        let guarded: BTreeSet<String> = status.endpoints.iter().map(|it| it.pod.clone()).collect();
        if guarded == wanted {
            return;
        }
        assert!(started_at.elapsed() < PATIENCE, "never guarded: {status:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn status(session: &Session) -> Status {
    let ask = || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", AGENT_PORT))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = session.lab().node().io("read the status", ask).await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}
