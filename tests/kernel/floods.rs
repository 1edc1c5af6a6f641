//! Tables that are too small for the traffic (semantics A3): a flood breaks no open connection that
//! policy allows, lets no denied packet pass, and shows in the counters.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use enforcer::kernel::{FlowUse, Lifetimes, Pins, Settings};
use enforcer_core::tables::Step;
use enforcer_ebpf::contract::stage::Stage;
use enforcer_ebpf::contract::table::Limits;
use enforcer_tests::frame::{Tcp, Transport};
use enforcer_tests::rig::Rig;

use crate::lifetime::next_bucket;
use crate::support::{
    FAMILIES, Family, HANDSHAKE, IN, OUT, Pair, cluster, free, subject, with_bpffs, with_rig_of,
};

/// The subject with a server that it may reach, with its friend, and with a stranger.
const fn parties(it: &Family) -> [Pair; 3] {
    [it.pair(it.block), it.pair(it.friend), it.pair(it.stranger)]
}

const PARTIES: [[Pair; 3]; 2] = [parties(&FAMILIES[0]), parties(&FAMILIES[1])];

/// Entries of each table.
const ROOM: u32 = 256;
/// Packets of a flood: many times the entries.
const FLOOD: u16 = 4_000;

fn small() -> Settings {
    let limits = Limits { flows: ROOM, opening_flows: ROOM, ..Limits::DEFAULT };
    Settings { limits, ..Settings::default() }
}

fn sweep(rig: &mut Rig) -> [FlowUse; 2] {
    let now = rig.kernel.now().unwrap();
    rig.kernel.flows().sweep(now).unwrap()
}

fn connect(rig: &mut Rig, server: &Pair, port: u16) {
    for (direction, kind) in HANDSHAKE {
        assert!(server.tcp(rig, direction, port, 443, kind), "{port} {kind:?}");
    }
}

/// Opens flows: from the pod, TCP and UDP, and from its friend.
fn open_flows(rig: &mut Rig, [server, friend, _]: &[Pair; 3]) {
    connect(rig, server, 100);
    for (direction, kind) in HANDSHAKE {
        assert!(friend.tcp(rig, direction.opposite(), 80, 100, kind));
    }
    for (direction, from, to) in [(OUT, 100, 53), (IN, 53, 100)] {
        assert!(server.passes(rig, direction, Transport::Udp(from, to)));
    }
}

/// Replies on these flows.
fn replies_pass(rig: &mut Rig, [server, friend, _]: &[Pair; 3]) {
    assert!(server.tcp(rig, IN, 100, 443, Tcp::Ack));
    assert!(friend.tcp(rig, OUT, 80, 100, Tcp::Ack));
    assert!(server.passes(rig, IN, Transport::Udp(53, 100)));
}

/// SYNs and datagrams from the pod to an address that it may reach on all ports, and SYNs from its
/// friend.
fn flood(rig: &mut Rig, [server, friend, _]: &[Pair; 3]) {
    for port in 1_000..1_000 + FLOOD {
        assert!(server.tcp(rig, OUT, port, 443, Tcp::Syn));
        assert!(server.passes(rig, OUT, Transport::Udp(port, 9)));
        assert!(friend.tcp(rig, IN, 80, port, Tcp::Syn));
    }
}

/// Packets that belong to no flow, whether evicted or not.
fn denied_are_dropped(rig: &mut Rig, [server, friend, stranger]: &[Pair; 3]) {
    for kind in [Tcp::Syn, Tcp::SynAck, Tcp::Ack, Tcp::Fin, Tcp::Rst] {
        assert!(!stranger.tcp(rig, IN, 80, 443, kind));
        assert!(!stranger.tcp(rig, OUT, 80, 443, kind));
        assert!(!server.tcp(rig, IN, 60_000, 443, kind));
        assert!(!friend.tcp(rig, OUT, 60_000, 80, kind));
    }
    assert!(!stranger.passes(rig, IN, Transport::Udp(53, 100)));
    assert!(!server.passes(rig, IN, Transport::Udp(53, 60_000)));
}

#[test]
fn a3_floods_evict_no_established_flow() {
    with_rig_of(&small(), |rig| {
        PARTIES.iter().for_each(|it| open_flows(rig, it));
        // Datagrams become an established flow when they continue in a later bucket.
        next_bucket(rig);
        PARTIES.iter().for_each(|it| replies_pass(rig, it));
        assert_eq!(sweep(rig).map(|it| (it.established.used, it.evicted)), [(3, 0); 2]);

        PARTIES.iter().for_each(|it| flood(rig, it));
        PARTIES.iter().for_each(|it| replies_pass(rig, it));
        PARTIES.iter().for_each(|it| denied_are_dropped(rig, it));
        for family in sweep(rig) {
            assert_eq!((family.established.used, family.refused), (3, 0));
            assert!(family.opening.used <= u64::from(ROOM));
            let sent = 3 * u64::from(FLOOD);
            let evicted = family.evicted;
            assert!((sent - u64::from(ROOM)..=sent + 3).contains(&evicted), "{evicted}");
        }
        // The counter never decreases.
        let before = sweep(rig).map(|it| it.evicted);
        assert_eq!(sweep(rig).map(|it| it.evicted), before);
    });
}

#[test]
fn a3_connections_beyond_the_table_of_established_ones_work_and_are_counted() {
    with_rig_of(&small(), |rig| {
        let room = u16::try_from(ROOM).unwrap();
        let beyond = 20;
        for [server, ..] in &PARTIES {
            for port in 1..=room + beyond {
                connect(rig, server, port);
            }
            for port in 1..=room + beyond {
                assert!(server.tcp(rig, IN, port, 443, Tcp::Ack), "{port}");
            }
        }
        for family in sweep(rig) {
            assert_eq!(family.refused, u64::from(beyond));
            assert_eq!(family.established.used, u64::from(ROOM));
            assert_eq!(family.opening.used, u64::from(beyond));
        }
        for all in &PARTIES {
            let [server, ..] = all;
            flood(rig, all);
            // The established ones stay; the others stayed while there was room.
            for port in 1..=room {
                assert!(server.tcp(rig, IN, port, 443, Tcp::Ack), "{port}");
            }
            denied_are_dropped(rig, &[*server, all[1], all[2]]);
            // A closed connection makes room.
            for (direction, kind) in [(OUT, Tcp::Fin), (IN, Tcp::Fin), (OUT, Tcp::Ack)] {
                assert!(server.tcp(rig, direction, 1, 443, kind));
            }
            connect(rig, server, 900);
        }
        assert_eq!(sweep(rig).map(|it| it.established.used), [u64::from(ROOM); 2]);
        assert_eq!(sweep(rig).map(|it| it.refused), [u64::from(beyond); 2]);
    });
}

#[test]
fn a3_a_refused_flow_is_established_when_there_is_room() {
    with_rig_of(&small(), |rig| {
        let room = u16::try_from(ROOM).unwrap();
        let [server, ..] = &PARTIES[0];
        for port in 1..=room + 1 {
            connect(rig, server, port);
        }
        assert!(server.tcp(rig, OUT, 1, 443, Tcp::Rst));
        next_bucket(rig);
        assert!(server.tcp(rig, IN, room + 1, 443, Tcp::Ack));
        flood(rig, &PARTIES[0]);
        assert!(server.tcp(rig, IN, room + 1, 443, Tcp::Ack));
        assert_eq!(sweep(rig)[0].established.used, u64::from(ROOM));
    });
}

#[test]
fn a3_a_denied_packet_ends_no_connection() {
    let second = std::time::Duration::from_secs(1);
    let short = [Stage::TcpFinWait, Stage::TcpTimeWait, Stage::TcpClose];
    let lifetimes = short.into_iter().fold(Lifetimes::DEFAULT, |all, it| all.with(it, second));
    with_rig_of(&Settings { lifetimes, ..Settings::default() }, |rig| {
        let pods = rig.interfaces.clone();
        for [server, ..] in &PARTIES {
            connect(rig, server, 100);
        }
        // The server is no longer allowed: its packets are no replies any more.
        let mut denied = cluster();
        denied.policies.values_mut().for_each(|it| it.egress = Some(Vec::new()));
        rig.program(&denied, pods.clone()).unwrap();
        for [server, _, stranger] in &PARTIES {
            for kind in [Tcp::Fin, Tcp::Rst] {
                assert!(!server.tcp(rig, IN, 100, 443, kind));
                assert!(!server.tcp(rig, OUT, 100, 443, kind));
                assert!(!stranger.tcp(rig, IN, 100, 443, kind));
            }
        }
        rig.program(&cluster(), pods).unwrap();
        std::thread::sleep(std::time::Duration::from_secs(6));
        for [server, ..] in &PARTIES {
            assert!(server.tcp(rig, IN, 100, 443, Tcp::Ack));
        }
    });
}

#[test]
fn c5_an_endpoint_is_removed_from_every_table() {
    with_rig_of(&Settings::default(), |rig| {
        for [server, ..] in &PARTIES {
            connect(rig, server, 100);
            assert!(server.passes(rig, OUT, Transport::Udp(100, 53)));
        }
        let used = |rig: &mut Rig| sweep(rig).map(|it| [it.established.used, it.opening.used]);
        assert_eq!(used(rig), [[1, 1]; 2]);
        let [of_another, its] = [free(), subject()].map(|pod| rig.id(&pod).unwrap());
        rig.kernel.apply(&Step::ForgetEndpoint { id: of_another }).unwrap();
        assert_eq!(used(rig), [[1, 1]; 2]);
        rig.kernel.apply(&Step::ForgetEndpoint { id: its }).unwrap();
        assert_eq!(used(rig), [[0, 0]; 2]);
        for [server, ..] in &PARTIES {
            assert!(!server.tcp(rig, IN, 100, 443, Tcp::Ack));
        }
    });
}

/// Entries that an agent removed are no evictions, also for its successor.
#[test]
fn c3_the_next_agent_counts_evictions_from_its_start() {
    const SENT: u16 = 40;
    with_bpffs(|ifindex, root| {
        let pods = BTreeMap::from([(subject(), ifindex)]);
        let live = |ports: RangeInclusive<u16>| {
            let pins = Pins::open(root).unwrap();
            let mut rig = Rig::pinned(&small(), &pins).unwrap();
            rig.program(&cluster(), pods.clone()).unwrap();
            let found = sweep(&mut rig);
            assert_eq!(found.map(|it| it.evicted), [0; 2]);
            for [server, ..] in &PARTIES {
                ports.clone().for_each(|it| assert!(server.tcp(&mut rig, OUT, it, 443, Tcp::Syn)));
            }
            (rig, found.map(|it| it.opening.used))
        };
        let (mut rig, found) = live(1..=SENT);
        assert_eq!(found, [0; 2]);
        let id = rig.id(&subject()).unwrap();
        rig.kernel.apply(&Step::ForgetEndpoint { id }).unwrap();
        drop(rig);
        let (rig, found) = live(1..=1);
        assert_eq!(found, [0; 2]);
        drop(rig);
        // It counts the evictions during its own life.
        let (mut rig, found) = live(1_000..=1_000 + FLOOD);
        assert_eq!(found, [1; 2]);
        let evicted = u64::from(FLOOD) + 2 - sweep(&mut rig)[0].opening.used;
        assert_eq!(sweep(&mut rig)[0].evicted, evicted);
    });
}
