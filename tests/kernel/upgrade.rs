//! Flow tables of another size, or of the last layout, under the next agent (semantics C3).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use aya::maps::{HashMap, Map, MapData};
use enforcer::kernel::{Pins, Settings};
use enforcer_ebpf::contract::flow::{Flow4, Flow6, FlowState, FlowTail, flags};
use enforcer_ebpf::contract::table::{FLOW_SECRET, FLOW_TABLES, Limits};
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_ebpf::packet::protocol;
use enforcer_tests::frame::Tcp;
use enforcer_tests::rig::Rig;

use crate::support::{HANDSHAKE, IN, OUT, SERVERS, cluster, subject, with_bpffs};

fn sized(flows: u32) -> Settings {
    let limits = Limits { flows, ..Limits::DEFAULT };
    Settings { limits, ..Settings::default() }
}

fn live(settings: &Settings, root: &Path, ifindex: u32) -> (Rig, Pins) {
    let pins = Pins::open(root).unwrap();
    let mut rig = Rig::pinned(settings, &pins).unwrap();
    rig.program(&cluster(), BTreeMap::from([(subject(), ifindex)])).unwrap();
    (rig, pins)
}

fn connect(rig: &mut Rig, port: u16) {
    for server in &SERVERS {
        for (direction, kind) in HANDSHAKE {
            assert!(server.tcp(rig, direction, port, 443, kind), "{port} {kind:?}");
        }
    }
}

fn replies_pass(rig: &mut Rig, ports: &[u16]) {
    for server in &SERVERS {
        for port in ports {
            assert!(server.tcp(rig, IN, *port, 443, Tcp::Ack), "{port}");
        }
        assert!(!server.tcp(rig, IN, 60_000, 443, Tcp::Ack));
    }
}

/// Goes through all sets of programs, with a new connection under each; returns the ports of all.
fn migrate(rig: &mut Rig, pins: &Pins, mut ports: Vec<u16>) -> Vec<u16> {
    loop {
        replies_pass(rig, &ports);
        let next = ports.iter().max().unwrap() + 1;
        connect(rig, next);
        ports.push(next);
        replies_pass(rig, &ports);
        if !rig.kernel.next_stage().unwrap() {
            rig.kernel.drop_other_tables(pins).unwrap();
            replies_pass(rig, &ports);
            return ports;
        }
    }
}

#[test]
fn c3_flows_survive_another_size_of_their_table() {
    with_bpffs(|ifindex, root| {
        let (mut rig, _) = live(&sized(1_000), root, ifindex);
        connect(&mut rig, 100);
        let mut ports = vec![100];
        drop(rig);
        for flows in [5_000, 5_000, 500] {
            let (mut rig, pins) = live(&sized(flows), root, ifindex);
            ports = migrate(&mut rig, &pins, ports);
        }
        assert_eq!(ports.len(), 1 + 3 + 1 + 3, "three sets of programs where the size differs");
    });
}

/// The folder of the tables.
fn tables(root: &Path) -> PathBuf {
    let namespace = fs::read_dir(root).unwrap().next().unwrap().unwrap().path();
    let mut all = fs::read_dir(namespace).unwrap().map(|it| it.unwrap().path());
    all.find(|it| it.file_name().unwrap().to_string_lossy().starts_with("tables-")).unwrap()
}

/// The flow that began with a SYN from this port of the subject to the server.
fn flow_of(index: usize, port: u16, endpoint: u32, now: u32) -> (FlowTail, FlowState) {
    assert!(index < SERVERS.len());
    let endpoint = u16::try_from(endpoint).unwrap();
    let tail = FlowTail {
        local_port: port,
        remote_port: 443,
        endpoint,
        protocol: protocol::TCP,
        reserved: 0,
    };
    let state = FlowState::new(now, Direction::Egress, protocol::TCP).with(flags::ESTABLISHED);
    (tail, state)
}

/// The tables of layout version 3, which is not built any more.
struct Last {
    flows4: HashMap<MapData, Flow4, FlowState>,
    flows6: HashMap<MapData, Flow6, FlowState>,
}

impl Last {
    fn pin(folder: &Path) -> Self {
        let flows4 = HashMap::<_, Flow4, FlowState>::create(1_000, 0).unwrap();
        let flows6 = HashMap::<_, Flow6, FlowState>::create(1_000, 0).unwrap();
        let opening4 = HashMap::<_, Flow4, FlowState>::create(1_000, 0).unwrap();
        let opening6 = HashMap::<_, Flow6, FlowState>::create(1_000, 0).unwrap();
        flows4.pin(folder.join("FLOWS4")).unwrap();
        flows6.pin(folder.join("FLOWS6")).unwrap();
        opening4.pin(folder.join("OPENING4")).unwrap();
        opening6.pin(folder.join("OPENING6")).unwrap();
        let open = |name| {
            let map = MapData::from_pin(folder.join(name)).unwrap();
            Map::from_map_data(map).unwrap()
        };
        Self {
            flows4: open("FLOWS4").try_into().unwrap(),
            flows6: open("FLOWS6").try_into().unwrap(),
        }
    }

    fn add(&mut self, port: u16, endpoint: u32, now: u32) {
        for (index, server) in SERVERS.iter().enumerate() {
            let (tail, state) = flow_of(index, port, endpoint, now);
            match (server.own.parse().unwrap(), server.other.parse().unwrap()) {
                (std::net::IpAddr::V4(local), std::net::IpAddr::V4(remote)) => {
                    let flow = Flow4 { local: local.into(), remote: remote.into(), tail };
                    self.flows4.insert(flow, state, 0).unwrap();
                }
                (std::net::IpAddr::V6(local), std::net::IpAddr::V6(remote)) => {
                    let halves = |it: std::net::Ipv6Addr| {
                        let halves = bytemuck::cast::<_, [[u8; 8]; 2]>(it.octets());
                        halves.map(u64::from_be_bytes)
                    };
                    let flow = Flow6 { local: halves(local), remote: halves(remote), tail };
                    self.flows6.insert(flow, state, 0).unwrap();
                }
                _ => unreachable!("one family"),
            }
        }
    }
}

#[test]
fn c3_flows_of_the_last_layout_are_taken_over() {
    with_bpffs(|ifindex, root| {
        let (mut rig, _) = live(&sized(1_000), root, ifindex);
        let (id, now) = (rig.id(&subject()).unwrap(), rig.kernel.now().unwrap());
        drop(rig);
        let folder = tables(root);
        for name in FLOW_TABLES.into_iter().chain([FLOW_SECRET]) {
            fs::remove_file(folder.join(name)).unwrap();
        }
        let last = folder.with_file_name("tables-3-131072-65536-2048");
        fs::rename(&folder, &last).unwrap();
        let mut last = Last::pin(&last);
        last.add(100, id, now);
        let (mut rig, pins) = live(&sized(1_000), root, ifindex);
        replies_pass(&mut rig, &[100]);
        // Recorded by the programs of the earlier agent, before they were replaced.
        last.add(101, id, now);
        let ports = migrate(&mut rig, &pins, vec![100]);
        replies_pass(&mut rig, &[101]);
        assert_eq!(ports.len(), 2, "one set of programs");
        assert!(server_may_not_open(&mut rig));
        drop(rig);
        drop(pins);
        let (mut rig, _) = live(&sized(1_000), root, ifindex);
        replies_pass(&mut rig, &[100, 101]);
    });
}

fn server_may_not_open(rig: &mut Rig) -> bool {
    SERVERS
        .iter()
        .all(|it| !it.tcp(rig, IN, 100, 443, Tcp::Syn) && it.tcp(rig, OUT, 7, 443, Tcp::Syn))
}
