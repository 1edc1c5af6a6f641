//! More interfaces than the tables hold (semantics R9).

use std::collections::BTreeMap;

use enforcer_core::model::PodId;
use enforcer_core::tables::Step;
use enforcer_ebpf::contract::endpoint::{CLOSED_RECORD, Endpoint};
use enforcer_tests::frame::{Frame, Tcp, Transport};
use enforcer_tests::rig::{Forwarded, Rig, with_interfaces};

use crate::support::{FAMILIES, Family, IN, OUT, cluster, frame, free, subject, with_loaded};

/// A pod whose interface has no slot.
fn beyond() -> PodId {
    PodId::new("shop", "beyond")
}

const SYN: Transport = Transport::Tcp(40_000, 80, Tcp::Syn);

/// Whether a packet from the pod, and one to it from elsewhere, pass.
fn passes(rig: &mut Rig, own: &str, other: &str) -> [bool; 2] {
    let bytes = |frame: Frame| frame.build().bytes;
    let out = rig.judge(&beyond(), OUT, &bytes(frame(own, other, SYN))).unwrap().passes;
    let into = rig.judge(&beyond(), IN, &bytes(frame(other, own, SYN))).unwrap().passes;
    [out, into]
}

fn is_closed(rig: &mut Rig, own: &str, family: &Family) {
    for other in [family.stranger, family.free, family.friend, family.service] {
        let [out, into] = passes(rig, own, other);
        assert!(!into, "from {other}");
        // Packets to a Service go on, and are dropped where their destination is known.
        assert!(!out || other == family.service, "to {other}");
    }
    let sent = frame(own, family.service, SYN).build().bytes;
    let translated = frame(own, family.free, SYN).build().bytes;
    let forwarded = rig.forwarded(&beyond(), &sent, Some(&free()), &translated).unwrap();
    assert_ne!(forwarded, Forwarded::Passed, "through a Service");
    let node = frame(own, family.node, SYN).build().bytes;
    assert!(rig.judge(&beyond(), OUT, &node).unwrap().passes, "to the node (A2)");
    let node = frame(family.node, own, SYN).build().bytes;
    assert!(rig.judge_from(&beyond(), IN, &node, 0, 0).unwrap().passes, "from the node");
    let mark = rig.judge(&beyond(), OUT, &frame(own, family.node, SYN).build().bytes);
    assert_ne!(mark.unwrap().mark, 0, "what it sends is not the node's");
}

#[test]
fn r9_interfaces_without_a_slot_are_closed() {
    with_interfaces(3, |interfaces| {
        with_loaded(|rig| {
            let pods = BTreeMap::from([(subject(), interfaces[0]), (free(), interfaces[1])]);
            rig.program(&cluster(), pods).unwrap();
            rig.interfaces.insert(beyond(), interfaces[2]);
            let value = Endpoint::CLOSED;
            rig.kernel.apply(&Step::Endpoint { record: CLOSED_RECORD, value }).unwrap();
            for (own, family) in ["10.1.0.9", "fd00::9"].into_iter().zip(&FAMILIES) {
                is_closed(rig, own, family);
                let allowed = frame(family.free, family.stranger, SYN).build().bytes;
                assert!(rig.judge(&free(), OUT, &allowed).unwrap().passes, "others are not");
            }
            let arp = [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 1, 0, 9];
            let ends = [[0xff; 6].as_slice(), &[2, 0, 0, 0, 0, 2]].concat();
            let arp = [&*ends, &arp, &[0; 6], &[10, 1, 0, 1]].concat();
            assert!(rig.judge(&beyond(), OUT, &arp).unwrap().passes, "ARP (A4)");
            let value = Endpoint::default();
            rig.kernel.apply(&Step::Endpoint { record: CLOSED_RECORD, value }).unwrap();
        });
    });
}
