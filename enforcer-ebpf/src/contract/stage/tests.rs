use super::*;
use crate::contract::flow::*;
use crate::contract::verdict::Direction;
use crate::packet::{protocol, role};

const IN: Direction = Direction::Ingress;
const OUT: Direction = Direction::Egress;
const SYN: u8 = role::BEGINS;
const SYN_ACK: u8 = role::ANSWERS | role::ACCEPTS;
const ACK: u8 = role::ANSWERS;
const FIN: u8 = role::ANSWERS | role::ENDS;
const RST: u8 = role::ANSWERS | role::RESETS;
const UDP: u8 = role::BEGINS | role::ANSWERS;

fn tcp(initiator: Direction) -> FlowState {
    FlowState::new(1, initiator, protocol::TCP)
}

/// The stage after packets, all in the bucket `now`.
fn after(mut state: FlowState, packets: &[(Direction, u8)], now: u32) -> FlowState {
    for (direction, role) in packets {
        state = state.after(*direction, *role, now);
    }
    state
}

fn established(initiator: Direction) -> FlowState {
    after(tcp(initiator), &[(initiator.opposite(), ACK), (initiator, ACK)], 1)
}

#[test]
fn a_handshake_has_three_packets() {
    for initiator in Direction::ALL {
        let opened = tcp(initiator);
        assert_eq!(Stage::of(opened.flags), Stage::TcpSynSent);
        // Sent again, or an answer that is none.
        assert_eq!(Stage::of(after(opened, &[(initiator, SYN)], 1).flags), Stage::TcpSynSent);
        let answered = after(opened, &[(initiator.opposite(), ACK)], 1);
        assert_eq!(Stage::of(answered.flags), Stage::TcpSynRecv);
        assert!(!answered.is_established());
        assert!(established(initiator).is_established());
        assert_eq!(Stage::of(established(initiator).flags), Stage::TcpEstablished);
        // Known from the third packet on.
        let late = after(opened, &[(initiator, ACK)], 1);
        assert_eq!(Stage::of(late.flags), Stage::TcpUnacknowledged);
        assert!(after(late, &[(initiator.opposite(), ACK)], 1).is_established());
    }
}

#[test]
fn what_the_pod_sends_after_its_answer_completes_a_handshake() {
    let answered = after(tcp(IN), &[(OUT, SYN_ACK)], 1);
    // Its kernel repeats the answer to a SYN from nowhere.
    let repeated = after(answered, &[(OUT, SYN_ACK), (OUT, SYN_ACK)], 2);
    assert_eq!(Stage::of(repeated.flags), Stage::TcpSynRecv);
    assert!(after(repeated, &[(OUT, ACK)], 2).is_established());
    assert!(!after(repeated, &[(OUT, RST)], 2).is_established());
    // The other end's word is not enough.
    let asked = after(tcp(OUT), &[(IN, SYN_ACK), (IN, ACK)], 1);
    assert_eq!(Stage::of(asked.flags), Stage::TcpSynRecv);
}

#[test]
fn both_ends_close() {
    for initiator in Direction::ALL {
        for first in Direction::ALL {
            let half = after(established(initiator), &[(first, FIN)], 1);
            assert_eq!(Stage::of(half.flags), Stage::TcpFinWait);
            assert!(!half.is_over() && !half.is_established());
            let whole = after(half, &[(first.opposite(), ACK), (first.opposite(), FIN)], 1);
            assert_eq!(Stage::of(whole.flags), Stage::TcpTimeWait);
            assert!(whole.is_over());
        }
    }
}

#[test]
fn a_reset_by_the_pod_is_believed_and_one_by_the_peer_until_the_pod_talks_on() {
    for initiator in Direction::ALL {
        let by_pod = after(established(initiator), &[(OUT, RST)], 1);
        assert_eq!(Stage::of(by_pod.flags), Stage::TcpClose);
        assert!(by_pod.is_over());
        for end in [RST, FIN] {
            let by_peer = after(established(initiator), &[(IN, end)], 1);
            assert_eq!(Stage::of(by_peer.flags), Stage::TcpFinWait);
            // The acknowledgement of a FIN.
            let acknowledged = after(by_peer, &[(OUT, ACK)], 1);
            assert_eq!(Stage::of(acknowledged.flags), Stage::TcpFinWait);
            assert!(after(by_peer, &[(OUT, ACK)], 2).is_established());
            // Later packets of the peer prove nothing: a forger of one can forge the other.
            assert_eq!(Stage::of(after(by_peer, &[(IN, ACK)], 2).flags), Stage::TcpFinWait);
        }
    }
    let refused = after(tcp(OUT), &[(IN, RST)], 1);
    assert_eq!(Stage::of(refused.flags), Stage::TcpClose);
    // A flood of stray packets, each of which the pod resets, establishes nothing.
    let stray = after(tcp(IN), &[(IN, ACK), (OUT, RST)], 1);
    assert!(!stray.is_established() && stray.is_over());
}

#[test]
fn a_syn_starts_anew_only_what_is_not_established() {
    for initiator in Direction::ALL {
        for opener in Direction::ALL {
            let follows = |state: FlowState| state.is_followed(opener);
            assert!(follows(tcp(initiator)));
            assert!(follows(after(tcp(initiator), &[(initiator.opposite(), ACK)], 1)));
            assert!(!follows(established(initiator)));
            assert!(follows(after(established(initiator), &[(OUT, FIN), (IN, FIN)], 1)));
            assert!(follows(after(established(initiator), &[(OUT, RST)], 1)));
            // Half closed: the pod knows whether it still is.
            let half = after(established(initiator), &[(IN, RST)], 1);
            assert_eq!(follows(half), opener == OUT);
        }
    }
}

#[test]
fn udp_is_established_by_going_on() {
    let asked = FlowState::new(1, OUT, protocol::UDP);
    assert_eq!(Stage::of(asked.flags), Stage::Udp);
    assert_eq!(Stage::of(after(asked, &[(OUT, UDP)], 9).flags), Stage::Udp);
    let answered = after(asked, &[(IN, UDP)], 1);
    assert_eq!(Stage::of(answered.flags), Stage::UdpStream);
    // One question and its answer, however many packets.
    assert!(!after(answered, &[(IN, UDP), (OUT, UDP)], 1).is_established());
    for direction in Direction::ALL {
        assert!(after(answered, &[(direction, UDP)], 2).is_established());
    }
}

#[test]
fn a_ping_is_never_established() {
    for number in [protocol::ICMP, protocol::ICMP6] {
        let asked = FlowState::new(1, OUT, number);
        let answers = after(asked, &[(IN, role::ANSWERS)], 2);
        let again = after(answers, &[(IN, role::ANSWERS)], 3);
        assert!(!again.is_established());
        assert_eq!(Stage::of(again.flags), Stage::Icmp);
    }
}

#[test]
fn the_low_byte_of_the_marks_decides_the_stage() {
    for flags in 0..=u16::MAX {
        assert_eq!(Stage::of(flags), Stage::of(flags & 0xff));
    }
    for (number, stage) in Stage::ALL.into_iter().enumerate() {
        assert_eq!(stage as usize, number);
    }
}

#[test]
fn what_another_cpu_saw_in_the_next_bucket_is_alive() {
    let flow = FlowState::new(7, OUT, protocol::UDP);
    assert!(flow.is_alive(6, 30));
    assert!(flow.is_alive(37, 30));
    assert!(!flow.is_alive(38, 30));
    // The clock's range ends in between.
    let before = FlowState { seen: u32::MAX, ..flow };
    assert!(before.is_alive(29, 30) && !before.is_alive(30, 30));
}
