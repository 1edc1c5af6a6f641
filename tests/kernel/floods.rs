//! Tables that are too small for the traffic (semantics A3): a flood breaks no open connection that
//! policy allows, lets no denied packet pass, and shows in the counters.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use enforcer::kernel::{FlowSample, FlowUse, Lifetimes, Pins, Settings};
use enforcer_core::tables::Step;
use enforcer_ebpf::contract::flow_table::{PLACES as PLACES_OF_A_GROUP, groups_for};
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

/// Flows that each table is made for.
const ROOM: u32 = 256;
/// Its places.
const PLACES: u64 = groups_for(ROOM) as u64 * PLACES_OF_A_GROUP as u64;
/// Packets of a flood: many times the entries.
const FLOOD: u16 = 4_000;

fn small() -> Settings {
    let limits = Limits { flows: ROOM, ..Limits::DEFAULT };
    Settings { limits, ..Settings::default() }
}

fn sweep(rig: &mut Rig) -> [FlowUse; 2] {
    let now = rig.kernel.now().unwrap();
    rig.kernel.flows().sweep(now, &mut FlowSample::default()).unwrap()
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
        assert_eq!(sweep(rig).map(|it| (it.established, it.displaced)), [(3, 0); 2]);

        PARTIES.iter().for_each(|it| flood(rig, it));
        PARTIES.iter().for_each(|it| replies_pass(rig, it));
        PARTIES.iter().for_each(|it| denied_are_dropped(rig, it));
        for family in sweep(rig) {
            assert_eq!((family.established, family.refused, family.reduced), (3, 0, 0));
            assert!(family.used() <= PLACES);
            let sent = 3 * u64::from(FLOOD);
            assert_eq!(family.displaced, sent - family.opening);
        }
        // A sweep changes no counter.
        let before = sweep(rig).map(|it| it.displaced);
        assert_eq!(sweep(rig).map(|it| it.displaced), before);
    });
}

/// Opens connections from the pod to a server; returns the ports of those that it could open.
fn open(rig: &mut Rig, server: &Pair, ports: RangeInclusive<u16>) -> Vec<u16> {
    let opens = |port: &u16| {
        HANDSHAKE.into_iter().all(|(direction, kind)| server.tcp(rig, direction, *port, 443, kind))
    };
    ports.filter(opens).collect()
}

#[test]
fn a3_connections_beyond_the_table_are_refused_and_counted() {
    with_rig_of(&small(), |rig| {
        let mut opened = Vec::new();
        for [server, ..] in &PARTIES {
            opened.push(open(rig, server, 1..=1_000));
        }
        for (family, opened) in sweep(rig).into_iter().zip(&opened) {
            assert_eq!(family.established, opened.len() as u64);
            assert_eq!(family.refused, 1_000 - family.established);
            assert!((u64::from(ROOM)..=PLACES).contains(&family.established), "{family:?}");
        }
        for (all, opened) in PARTIES.iter().zip(&opened) {
            let [server, ..] = all;
            flood(rig, all);
            // Those that are open stay open.
            for port in opened {
                assert!(server.tcp(rig, IN, *port, 443, Tcp::Ack), "{port}");
            }
            denied_are_dropped(rig, all);
            // Closed connections make room.
            for port in opened {
                for (direction, kind) in [(OUT, Tcp::Fin), (IN, Tcp::Fin), (OUT, Tcp::Ack)] {
                    assert!(server.tcp(rig, direction, *port, 443, kind));
                }
            }
            assert_eq!(open(rig, server, 2_000..=2_049).len(), 50);
        }
    });
}

/// Whether the flow from a pod that is not isolated was recorded can't be seen from verdicts, but from
/// the counters.
#[test]
fn r9_a_pod_beyond_its_share_makes_room_for_others() {
    with_rig_of(&small(), |rig| {
        for family in &PARTIES {
            open(rig, &family[0], 1..=1_000);
        }
        let full = sweep(rig);
        assert!(full.iter().all(|it| it.over_share == 1), "{full:?}");
        for family in &FAMILIES {
            let pair = Pair { own: family.free, other: family.block };
            for port in 1..=20 {
                for (direction, kind) in HANDSHAKE {
                    let (from, to) = if direction == OUT { (port, 443) } else { (443, port) };
                    let frame = pair.frame(direction, Transport::Tcp(from, to, kind)).build();
                    assert!(rig.judge(&free(), direction, &frame.bytes).unwrap().passes);
                }
            }
        }
        for (before, after) in full.iter().zip(sweep(rig)) {
            assert_eq!(after.refused, before.refused, "the modest pod's");
            assert!((1..=20).contains(&after.reduced), "{after:?}");
        }
        // The greedy pod's own new flows take no place of others.
        let before = sweep(rig).map(|it| it.reduced);
        for family in &PARTIES {
            open(rig, &family[0], 2_000..=3_000);
        }
        assert_eq!(sweep(rig).map(|it| it.reduced), before);
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
        let used = |rig: &mut Rig| sweep(rig).map(|it| [it.established, it.opening]);
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

#[test]
fn c3_the_next_agent_goes_on_with_flows_and_counters() {
    with_bpffs(|ifindex, root| {
        let pods = BTreeMap::from([(subject(), ifindex)]);
        let live = || {
            let pins = Pins::open(root).unwrap();
            let mut rig = Rig::pinned(&small(), &pins).unwrap();
            rig.program(&cluster(), pods.clone()).unwrap();
            rig
        };
        let mut rig = live();
        PARTIES.iter().for_each(|it| connect(&mut rig, &it[0], 100));
        PARTIES.iter().for_each(|it| flood(&mut rig, it));
        let before = sweep(&mut rig);
        assert!(before.iter().all(|it| it.established == 1 && it.displaced > 0), "{before:?}");
        drop(rig);
        let mut rig = live();
        let after = sweep(&mut rig);
        for (after, before) in after.iter().zip(&before) {
            // Unanswered flows end by time alone; loading takes a minute in an emulated machine.
            assert!(after.opening <= before.opening, "{after:?}, before: {before:?}");
            assert_eq!(*after, FlowUse { opening: after.opening, ..*before });
        }
        for [server, ..] in &PARTIES {
            assert!(server.tcp(&mut rig, IN, 100, 443, Tcp::Ack));
        }
    });
}
