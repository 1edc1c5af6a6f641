//! What the node itself sends to a pod (semantics A2), and what it opens (semantics A3).

use std::collections::BTreeMap;

use enforcer_tests::frame::Tcp;
use enforcer_tests::rig::{Rig, with_interfaces};

use crate::services::{tcp, with_rig};
use crate::support::{HANDSHAKE, IN, OUT, SERVERS, cluster, subject};

#[test]
fn a3_replies_to_what_the_node_sent_from_another_address_pass() {
    with_rig(|rig, it| {
        let (probe, reply) = (
            tcp(it.stranger, 6_000, it.subject, 80, Tcp::Syn),
            tcp(it.subject, 80, it.stranger, 6_000, Tcp::SynAck),
        );
        assert!(!rig.judge(&subject(), OUT, &reply).unwrap().passes);
        assert!(rig.judge_from(&subject(), IN, &probe, 0, 0).unwrap().passes);
        assert!(rig.judge(&subject(), OUT, &reply).unwrap().passes);
        let other = tcp(it.subject, 80, it.stranger, 6_001, Tcp::SynAck);
        assert!(!rig.judge(&subject(), OUT, &other).unwrap().passes);
        // The same end may open nothing of its own.
        assert!(!rig.judge(&subject(), IN, &probe).unwrap().passes);
    });
}

/// The node resets connections of others in their name: a firewall's rule, or the agent itself. Nothing
/// is open after a reset, so the pod may not go on where policy denies it.
#[test]
fn a3_a_reset_that_the_node_sent_opens_nothing() {
    with_interfaces(1, |interfaces| {
        let mut rig = Rig::new().unwrap();
        let pods = BTreeMap::from([(subject(), interfaces[0])]);
        let mut denied = cluster();
        denied.policies.values_mut().for_each(|it| it.egress = Some(Vec::new()));
        for pair in &SERVERS {
            rig.program(&cluster(), pods.clone()).unwrap();
            for (direction, kind) in HANDSHAKE {
                assert!(pair.tcp(&mut rig, direction, 5_000, 443, kind));
            }
            rig.program(&denied, pods.clone()).unwrap();
            let out = |rig: &mut Rig| pair.tcp(rig, OUT, 5_000, 443, Tcp::Ack);
            assert!(!out(&mut rig));
            let reset = tcp(pair.other, 443, pair.own, 5_000, Tcp::Rst);
            assert!(rig.judge_from(&subject(), IN, &reset, 0, 0).unwrap().passes);
            assert!(!out(&mut rig), "{pair:?}");
        }
    });
}
