//! Segments to a pod that leave the flow tables alone, and those that must not (semantics A3).

use enforcer::kernel::{FlowSample, Settings};
use enforcer_tests::frame::{Frame, Tcp, Transport};
use enforcer_tests::rig::Rig;

use crate::support::{FAMILIES, IN, OUT, Pair, passes, with_rig_of};

/// The subject and a client that it may not answer but in its connections.
fn clients() -> [Pair; 2] {
    FAMILIES.each_ref().map(|it| it.pair(it.friend))
}

/// Established and other flows of both families.
fn flows(rig: &mut Rig) -> [(u64, u64); 2] {
    let now = rig.kernel.now().unwrap();
    rig.kernel
        .flows()
        .sweep(now, &mut FlowSample::default())
        .unwrap()
        .map(|it| (it.established, it.opening))
}

fn with_old_programs(test: impl FnOnce(&mut Rig) + Send) {
    with_rig_of(&Settings::default(), |rig| {
        rig.kernel.end_learning().unwrap();
        test(rig);
    });
}

#[test]
fn a3_a_connection_whose_flow_is_missing_continues_after_one_lost_answer() {
    with_old_programs(|rig| {
        for client in &clients() {
            assert!(client.tcp(rig, IN, 80, 100, Tcp::Ack));
        }
        assert_eq!(flows(rig), [(0, 0); 2], "left alone");
        for client in &clients() {
            assert!(!client.tcp(rig, OUT, 80, 100, Tcp::Ack));
            // The other end repeats its segment.
            assert!(client.tcp(rig, IN, 80, 100, Tcp::Ack));
            assert!(client.tcp(rig, OUT, 80, 100, Tcp::Ack));
            // Not a reset's, nor that of an answer to a SYN.
            assert!(!client.tcp(rig, OUT, 80, 101, Tcp::Rst));
            assert!(!client.tcp(rig, OUT, 80, 101, Tcp::SynAck));
        }
        assert_eq!(flows(rig), [(1, 0); 2]);
    });
}

#[test]
fn a3_new_programs_record_every_segment() {
    with_rig_of(&Settings::default(), |rig| {
        for client in &clients() {
            assert!(client.tcp(rig, IN, 80, 100, Tcp::Ack));
            assert!(client.tcp(rig, OUT, 80, 100, Tcp::Ack));
        }
        assert_eq!(flows(rig), [(1, 0); 2]);
    });
}

/// A client may say nothing for hours after its handshake.
#[test]
fn a3_the_end_of_a_handshake_establishes_its_flow() {
    with_old_programs(|rig| {
        for (before, client) in (0..).zip(&clients()) {
            assert!(client.tcp(rig, IN, 80, 100, Tcp::Syn));
            assert!(client.tcp(rig, OUT, 80, 100, Tcp::SynAck));
            // With data, the pod's acknowledgement would establish it.
            let transport = Transport::Tcp(100, 80, Tcp::Ack);
            for (data, established) in [(24, false), (0, true)] {
                let frame = Frame { data, ..client.frame(IN, transport.clone()) };
                assert!(passes(rig, IN, &frame));
                let found = flows(rig).into_iter().map(|it| it.0).sum::<u64>();
                assert_eq!(found > before, established, "{data} bytes of data");
            }
        }
    });
}

/// A client may send its first data with the end of the handshake: the pod's acknowledgement shows that
/// it arrived. The pod may also speak first.
#[test]
fn a3_what_the_pod_sends_after_a_handshake_establishes_its_flow() {
    with_old_programs(|rig| {
        for client in &clients() {
            assert!(client.tcp(rig, IN, 80, 100, Tcp::Syn));
            assert!(client.tcp(rig, OUT, 80, 100, Tcp::SynAck));
            assert!(client.tcp(rig, OUT, 80, 100, Tcp::SynAck));
        }
        assert_eq!(flows(rig), [(0, 1); 2]);
        for client in &clients() {
            assert!(client.tcp(rig, OUT, 80, 100, Tcp::Ack));
        }
        assert_eq!(flows(rig), [(1, 0); 2]);
    });
}

/// The answers to a kubelet's probes have no flow, and pass: they are no reason to record more.
#[test]
fn a2_answers_to_the_node_are_not_missing_their_flow() {
    with_old_programs(|rig| {
        for (family, client) in FAMILIES.iter().zip(&clients()) {
            assert!(family.pair(family.node).tcp(rig, OUT, 80, 40_000, Tcp::Ack));
            assert!(client.tcp(rig, IN, 80, 100, Tcp::Ack));
        }
        assert_eq!(flows(rig), [(0, 0); 2]);
    });
}
