//! How long flows live (semantics A3).

use std::time::Duration;

use enforcer::kernel::{Lifetimes, Settings};
use enforcer_ebpf::count::Direction;
use enforcer_tests::frame::{Frame, Tcp, Transport};

use crate::support::{ip, subject, with_rig_of};

#[test]
fn a3_a_silent_flow_is_forgotten_and_others_are_not() {
    let short = Lifetimes { udp: Duration::from_secs(1), ..Lifetimes::DEFAULT };
    with_rig_of(&Settings { lifetimes: short, ..Settings::default() }, |rig| {
        let mut passes = |direction, source, destination, transport| {
            let frame = Frame::new(ip(source), ip(destination), transport).build().bytes;
            rig.judge(&subject(), direction, &frame).unwrap().passes
        };
        let families = [("10.1.0.5", "192.0.2.1"), ("fd00::5", "2001:db8::1")];
        for (own, server) in families {
            assert!(passes(Direction::Egress, own, server, Transport::Udp(5_000, 53)));
            assert!(passes(Direction::Ingress, server, own, Transport::Udp(53, 5_000)));
            assert!(passes(Direction::Egress, own, server, Transport::Tcp(5_000, 443, Tcp::Syn)));
        }
        // Two of the clock's buckets, of up to two seconds each, and the rest of a third.
        std::thread::sleep(Duration::from_secs(6));
        for (own, server) in families {
            assert!(!passes(Direction::Ingress, server, own, Transport::Udp(53, 5_000)));
            let answer = Transport::Tcp(443, 5_000, Tcp::SynAck);
            assert!(passes(Direction::Ingress, server, own, answer));
            // Asked again, it lives again.
            assert!(passes(Direction::Egress, own, server, Transport::Udp(5_000, 53)));
            assert!(passes(Direction::Ingress, server, own, Transport::Udp(53, 5_000)));
        }
    });
}
