//! Timeouts of flows (semantics A3).

use std::collections::BTreeMap;
use std::time::Duration;

use enforcer::kernel::{FlowSample, Lifetimes, Settings};
use enforcer_ebpf::contract::stage::Stage;
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_tests::frame::{Tcp, Transport};
use enforcer_tests::rig::{Rig, with_interfaces};

use crate::support::{HANDSHAKE, IN, OUT, Pair, SERVERS, cluster, subject, with_rig_of};

/// Sleeps for two of the clock's buckets, of up to two seconds each, and the rest of a third.
fn let_short_ones_expire() {
    std::thread::sleep(Duration::from_secs(6));
}

/// Waits for the clock's next bucket.
pub(crate) fn next_bucket(rig: &mut Rig) {
    let now = rig.kernel.now().unwrap();
    while rig.kernel.now().unwrap() == now {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn short(stages: &[Stage]) -> Settings {
    let second = Duration::from_secs(1);
    let lifetimes = stages.iter().fold(Lifetimes::DEFAULT, |all, it| all.with(*it, second));
    Settings { lifetimes, ..Settings::default() }
}

/// Packets of a connection from the pod's port to the server's port 443.
fn tcp(rig: &mut Rig, pair: &Pair, port: u16, packets: &[(Direction, Tcp)]) {
    for (direction, kind) in packets {
        assert!(pair.tcp(rig, *direction, port, 443, *kind), "{direction:?} {kind:?}");
    }
}

#[test]
fn a3_a_silent_flow_expires_and_others_do_not() {
    with_rig_of(&short(&[Stage::Udp, Stage::UdpStream]), |rig| {
        for pair in &SERVERS {
            assert!(pair.passes(rig, OUT, Transport::Udp(5_000, 53)));
            assert!(pair.passes(rig, IN, Transport::Udp(53, 5_000)));
            tcp(rig, pair, 5_000, &[(OUT, Tcp::Syn)]);
        }
        let_short_ones_expire();
        for pair in &SERVERS {
            assert!(!pair.passes(rig, IN, Transport::Udp(53, 5_000)));
            tcp(rig, pair, 5_000, &[(IN, Tcp::SynAck)]);
            // A new request makes a new flow.
            assert!(pair.passes(rig, OUT, Transport::Udp(5_000, 53)));
            assert!(pair.passes(rig, IN, Transport::Udp(53, 5_000)));
        }
    });
}

/// Connections of every stage, and the port of each.
fn one_of_each_stage(rig: &mut Rig, pair: &Pair) -> [(u16, Stage); 7] {
    tcp(rig, pair, 1, &HANDSHAKE[..1]);
    tcp(rig, pair, 2, &HANDSHAKE[..2]);
    for port in 3..=7 {
        tcp(rig, pair, port, &HANDSHAKE);
    }
    tcp(rig, pair, 4, &[(OUT, Tcp::Fin)]);
    tcp(rig, pair, 5, &[(IN, Tcp::Rst)]);
    tcp(rig, pair, 6, &[(OUT, Tcp::Fin), (IN, Tcp::Ack), (IN, Tcp::Fin), (OUT, Tcp::Ack)]);
    tcp(rig, pair, 7, &[(OUT, Tcp::Rst)]);
    [
        (1, Stage::TcpSynSent),
        (2, Stage::TcpSynRecv),
        (3, Stage::TcpEstablished),
        (4, Stage::TcpFinWait),
        // The server's reset alone.
        (5, Stage::TcpFinWait),
        (6, Stage::TcpTimeWait),
        (7, Stage::TcpClose),
    ]
}

#[test]
fn a3_each_stage_of_a_connection_has_its_own_lifetime() {
    let every_other = [
        [Stage::TcpSynSent, Stage::TcpEstablished, Stage::TcpTimeWait].as_slice(),
        &[Stage::TcpSynRecv, Stage::TcpFinWait, Stage::TcpClose],
    ];
    std::thread::scope(|scope| {
        for stages in every_other {
            scope.spawn(move || {
                with_rig_of(&short(stages), |rig| {
                    let all = SERVERS.map(|pair| one_of_each_stage(rig, &pair));
                    let_short_ones_expire();
                    for (pair, ports) in SERVERS.iter().zip(all) {
                        for (port, stage) in ports {
                            let lives = !stages.contains(&stage);
                            let got = pair.tcp(rig, IN, port, 443, Tcp::Ack);
                            assert_eq!(got, lives, "{pair:?} {port} {stage:?}");
                        }
                    }
                });
            });
        }
    });
}

#[test]
fn a3_a_reset_counts_until_the_pod_sends_again() {
    // Long enough for a busy machine between the next bucket and the pod's packet.
    let lifetimes = Lifetimes::DEFAULT.with(Stage::TcpFinWait, Duration::from_secs(3));
    with_rig_of(&Settings { lifetimes, ..Settings::default() }, |rig| {
        for pair in &SERVERS {
            for port in [1, 2] {
                tcp(rig, pair, port, &HANDSHAKE);
                tcp(rig, pair, port, &[(IN, Tcp::Rst)]);
            }
        }
        next_bucket(rig);
        for pair in &SERVERS {
            tcp(rig, pair, 1, &[(OUT, Tcp::Ack)]);
        }
        std::thread::sleep(Duration::from_secs(9));
        for pair in &SERVERS {
            assert!(pair.tcp(rig, IN, 1, 443, Tcp::Ack));
            assert!(!pair.tcp(rig, IN, 2, 443, Tcp::Ack));
        }
    });
}

#[test]
fn a3_a_closed_connection_restarts_and_an_open_one_does_not() {
    with_rig_of(&short(&[Stage::TcpTimeWait]), |rig| {
        for pair in &SERVERS {
            for port in [1, 2] {
                tcp(rig, pair, port, &HANDSHAKE);
            }
            tcp(rig, pair, 1, &[(OUT, Tcp::Fin), (IN, Tcp::Fin), (OUT, Tcp::Ack)]);
            tcp(rig, pair, 1, &HANDSHAKE);
            // The same ports again while it is open: its own packets still pass.
            tcp(rig, pair, 2, &HANDSHAKE);
        }
        let_short_ones_expire();
        for pair in &SERVERS {
            for port in [1, 2] {
                tcp(rig, pair, port, &[(IN, Tcp::Ack)]);
            }
        }
    });
}

#[test]
fn a3_two_way_udp_outlasts_a_single_request() {
    with_rig_of(&short(&[Stage::Udp]), |rig| {
        for pair in &SERVERS {
            for port in [1, 2] {
                assert!(pair.passes(rig, OUT, Transport::Udp(port, 53)));
            }
            assert!(pair.passes(rig, IN, Transport::Udp(53, 2)));
        }
        let_short_ones_expire();
        for pair in &SERVERS {
            assert!(!pair.passes(rig, IN, Transport::Udp(53, 1)));
            assert!(pair.passes(rig, IN, Transport::Udp(53, 2)));
        }
    });
}

/// The sweep's clock runs ahead here: a flow of the programs' clock could expire between two statements
/// of a busy machine.
#[test]
fn expired_entries_are_removed_and_others_stay() {
    with_rig_of(&Settings::default(), |rig| {
        for pair in &SERVERS {
            tcp(rig, pair, 1, &HANDSHAKE);
            tcp(rig, pair, 2, &HANDSHAKE[..1]);
            assert!(pair.passes(rig, OUT, Transport::Udp(1, 53)));
            assert!(pair.passes(rig, IN, Transport::Udp(53, 1)));
        }
        let counts_in = |rig: &mut Rig, later: Duration| {
            let buckets = u32::try_from(later.as_secs()).unwrap();
            let now = rig.kernel.now().unwrap() + buckets;
            rig.kernel
                .flows()
                .sweep(now, &mut FlowSample::default())
                .unwrap()
                .map(|it| (it.established, it.opening))
        };
        let counts = |rig: &mut Rig| counts_in(rig, Duration::ZERO);
        assert_eq!(counts(rig), [(1, 2); 2]);
        next_bucket(rig);
        for pair in &SERVERS {
            assert!(pair.passes(rig, IN, Transport::Udp(53, 1)));
        }
        assert_eq!(counts(rig), [(2, 1); 2]);
        // A bucket has a second at least, so as many buckets as seconds are late enough.
        let lifetimes = Lifetimes::DEFAULT;
        let short = lifetimes.of(Stage::UdpStream).max(lifetimes.of(Stage::TcpSynSent));
        assert!(short * 4 < lifetimes.of(Stage::TcpEstablished));
        assert_eq!(counts_in(rig, short * 2), [(1, 0); 2]);
        // A closed flow leaves the table of established flows immediately.
        for pair in &SERVERS {
            tcp(rig, pair, 1, &[(OUT, Tcp::Rst)]);
        }
        assert_eq!(counts(rig), [(0, 1); 2]);
    });
}

/// Two ends with fixed ports (syslog, SIP, WireGuard): either may have sent the first datagram.
#[test]
fn a6_the_end_that_policy_lets_open_a_flow_is_its_initiator() {
    let isolated = cluster();
    let direction = |ingress: bool| {
        let mut cluster = isolated.clone();
        for policy in cluster.policies.values_mut() {
            let rules = policy.egress.take().unwrap();
            // The block of the servers, in one direction only.
            (policy.ingress, policy.egress) = if ingress {
                (Some(rules), Some(Vec::new()))
            } else {
                (Some(Vec::new()), Some(rules))
            };
        }
        cluster
    };
    let (from_server, to_server) = (direction(true), direction(false));
    with_interfaces(1, |interfaces| {
        let mut rig = Rig::new().unwrap();
        let pods = BTreeMap::from([(subject(), interfaces[0])]);
        let (asks, answers) = (Transport::Udp(514, 515), Transport::Udp(515, 514));
        for pair in &SERVERS {
            rig.program(&from_server, pods.clone()).unwrap();
            assert!(pair.passes(&mut rig, IN, asks.clone()), "the server opens the flow");
            assert!(pair.passes(&mut rig, OUT, answers.clone()));
            rig.program(&to_server, pods.clone()).unwrap();
            next_bucket(&mut rig);
            assert!(!pair.passes(&mut rig, IN, asks.clone()), "it may not any more");
            assert!(pair.passes(&mut rig, OUT, answers.clone()), "but the pod may");
            assert!(pair.passes(&mut rig, IN, asks.clone()), "so these are replies");
            // And back.
            rig.program(&from_server, pods.clone()).unwrap();
            next_bucket(&mut rig);
            assert!(!pair.passes(&mut rig, OUT, answers.clone()));
            assert!(pair.passes(&mut rig, IN, asks.clone()));
            assert!(pair.passes(&mut rig, OUT, answers.clone()));
        }
    });
}
