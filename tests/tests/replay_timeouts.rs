//! A flow that was silent for longer than its state allows is no flow any more: to the nanosecond, by the
//! clock of replay.

use firewall_common::{
    flow::{State, timeout_ns},
    reason::Reason,
};
use firewall_user::replay::Hook;
use lab::{
    Packet,
    replaying::{Conversation, FAMILIES, Family, Rig, drops, passes},
};

const SECOND: u64 = 1_000_000_000;

#[test]
fn timeouts_are_those_of_the_kernels_own_tracker() {
    for (state, seconds) in [
        (State::SynSent, 120),
        (State::SynReceived, 60),
        (State::Established, 5 * 24 * 3600),
        (State::FinWait, 120),
        (State::CloseWait, 60),
        (State::TimeWait, 120),
        (State::Closed, 10),
        (State::Unreplied, 30),
        (State::Assured, 120),
    ] {
        assert_eq!(timeout_ns(state), seconds * SECOND, "{state:?}");
    }
}

#[test]
fn a_datagram_flow_lives_exactly_as_long_as_its_timeout() {
    for hook in [Hook::Xdp, Hook::Tc] {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let (there, back) = (family.udp(5_000, 6_000), family.udp_back(6_000, 5_000));
            let unreplied = passes(State::Unreplied);

            let first = rig.expect("it begins", &there, unreplied).flow_id;
            rig.wait(30 * SECOND);
            let in_time = rig.expect("after 30 s", &there, unreplied).flow_id;
            assert_eq!(in_time, first, "{family:?}: still the same flow");
            rig.wait(30 * SECOND + 1);
            let late = rig.expect("a nanosecond later", &there, unreplied).flow_id;
            assert_ne!(late, first, "{family:?}: another flow");

            rig.expect("an answer", &back, passes(State::Assured));
            rig.wait(120 * SECOND);
            let in_time = rig.expect("after 120 s", &there, passes(State::Assured)).flow_id;
            assert_eq!(in_time, late, "{family:?}: still the same flow");
            rig.wait(120 * SECOND + 1);
            let over = rig.expect("a nanosecond later", &back, unreplied);
            assert_ne!(over.flow_id, late, "{family:?}: a flow that begins at the other end");
            assert_eq!(over.direction.name(), "original", "{family:?}");
        }
    }
}

/// Brings a connection into a state, and says what its client sends next.
type Prepare = fn(&mut Rig, Family, u16) -> (State, Packet);

#[test]
fn a_connection_lives_exactly_as_long_as_its_timeout() {
    let states: [Prepare; 6] = [
        |rig, family, port| {
            let mut talk = Conversation::new(family, port, 80);
            rig.expect("a SYN", &talk.syn(), passes(State::SynSent));
            rig.expect("its answer", &talk.syn_ack(), passes(State::SynReceived));
            (State::SynReceived, talk.syn_ack())
        },
        |rig, family, port| {
            let mut talk = Conversation::established(rig, family, port, 80);
            (State::Established, talk.client_sends("PA", b"hello"))
        },
        |rig, family, port| {
            let mut talk = Conversation::established(rig, family, port, 80);
            rig.expect("FIN", &talk.client_sends("FA", b""), passes(State::FinWait));
            (State::FinWait, talk.client_sends("A", b""))
        },
        |rig, family, port| {
            let mut talk = Conversation::established(rig, family, port, 80);
            rig.expect("FIN", &talk.server_sends("FA", b""), passes(State::CloseWait));
            (State::CloseWait, talk.client_sends("A", b""))
        },
        |rig, family, port| {
            let mut talk = Conversation::established(rig, family, port, 80);
            rig.expect("FIN", &talk.client_sends("FA", b""), passes(State::FinWait));
            rig.expect("FIN", &talk.server_sends("FA", b""), passes(State::TimeWait));
            (State::TimeWait, talk.client_sends("A", b""))
        },
        |rig, family, port| {
            let mut talk = Conversation::established(rig, family, port, 80);
            rig.expect("RST", &talk.server_sends("RA", b""), passes(State::Closed));
            (State::Closed, talk.client_sends("A", b""))
        },
    ];
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        for (port, prepare) in (40_000..).step_by(2).zip(states) {
            let (state, next) = prepare(&mut rig, family, port);
            rig.wait(timeout_ns(state));
            let shows = format!("{family:?} {}: at its timeout", state.name());
            rig.expect(&shows, &next, passes(state));

            let (state, next) = prepare(&mut rig, family, port + 1);
            rig.wait(timeout_ns(state) + 1);
            let shows = format!("{family:?} {}: a nanosecond later", state.name());
            rig.expect(&shows, &next, drops(Reason::TcpNotSyn));
        }
    }
}

#[test]
fn a_syn_without_an_answer_is_forgotten() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let mut talk = Conversation::new(family, 40_000, 80);
        rig.expect("a SYN", &talk.syn(), passes(State::SynSent));
        rig.wait(timeout_ns(State::SynSent) + 1);
        rig.expect("an answer too late", &talk.syn_ack(), drops(Reason::TcpNotSyn));
    }
}

#[test]
fn a_clock_that_goes_back_ends_no_flow() {
    let mut rig = Rig::open(Hook::Xdp);
    let packet = Family::V4.udp(5_000, 6_000);
    let first = rig.expect("it begins", &packet, passes(State::Unreplied)).flow_id;
    rig.rewind(3600 * SECOND);
    let again = rig.expect("an hour before", &packet, passes(State::Unreplied)).flow_id;
    assert_eq!(again, first);
}
