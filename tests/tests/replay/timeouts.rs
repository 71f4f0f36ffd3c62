//! A flow that was silent for longer than its state allows is no flow any more: to the nanosecond, by the
//! clock of replay.

use firewall_common::{
    flow::{State, Timeout, Timeouts},
    reason::Reason,
};
use firewall_user::replay::Hook;
use lab::{
    Packet,
    replaying::{Conversation, FAMILIES, Family, Rig, drops, passes},
};

const SECOND: u64 = 1_000_000_000;
const GATEWAY: &str = "[gateway]\ninterfaces = [\"lan0\"]\ndefault = \"allow\"\n";

#[test]
fn timeouts_are_those_of_the_kernels_own_tracker() {
    let timeouts = Timeouts::default();
    for (timeout, seconds) in [
        (Timeout::SynSent, 120),
        (Timeout::SynReceived, 60),
        (Timeout::Established, 5 * 24 * 3600),
        (Timeout::FinWait, 120),
        (Timeout::CloseWait, 60),
        (Timeout::LastAck, 30),
        (Timeout::TimeWait, 120),
        (Timeout::Closed, 10),
        (Timeout::Killed, 120),
        (Timeout::Udp, 30),
        (Timeout::UdpStream, 120),
        (Timeout::Midstream, 300),
        (Timeout::Unacknowledged, 300),
        (Timeout::Icmp, 30),
        (Timeout::Generic, 600),
    ] {
        assert_eq!(timeouts.get(timeout), seconds * SECOND, "{timeout:?}");
    }
}

#[test]
fn a_datagram_flow_lives_exactly_as_long_as_its_timeout() {
    for hook in [Hook::Xdp, Hook::Tc] {
        datagram_flows_live_as_long_as(&Timeouts::default(), &mut Rig::open(hook));
    }
}

#[test]
fn a_datagram_flow_lives_as_long_as_the_policy_says() {
    let (policy, timeouts) = other_timeouts();
    datagram_flows_live_as_long_as(&timeouts, &mut Rig::new(&policy, Hook::Xdp));
}

#[test]
fn a_connection_lives_exactly_as_long_as_its_timeout() {
    for hook in [Hook::Xdp, Hook::Tc] {
        connections_live_as_long_as(&Timeouts::default(), &mut Rig::open(hook));
    }
}

#[test]
fn a_connection_lives_as_long_as_the_policy_says() {
    let (policy, timeouts) = other_timeouts();
    connections_live_as_long_as(&timeouts, &mut Rig::new(&policy, Hook::Xdp));
}

/// A policy that changes every timeout, each to another one; that of data without an acknowledgment has to be
/// shorter than the one it takes the place of.
fn other_timeouts() -> (String, Timeouts) {
    let (mut policy, mut timeouts) = (format!("{GATEWAY}[timeouts]\n"), Timeouts::default());
    for (seconds, (timeout, key)) in (11..).zip(Timeout::ALL.into_iter().rev()) {
        policy += &format!("{key} = {seconds}\n");
        timeouts.set(timeout, seconds * SECOND);
    }
    (policy, timeouts)
}

fn datagram_flows_live_as_long_as(timeouts: &Timeouts, rig: &mut Rig) {
    const SCTP: u8 = 132;
    for family in FAMILIES {
        let (client, camera) = (family.client(), family.camera());
        for (what, there, back, [alone, answered]) in [
            (
                "UDP",
                family.udp(5_000, 6_000),
                family.udp_back(6_000, 5_000),
                [Timeout::Udp, Timeout::UdpStream],
            ),
            (
                "echo",
                Packet::echo_request(client, camera, 7, 1),
                Packet::echo_reply(camera, client, 7, 1),
                [Timeout::Icmp; 2],
            ),
            (
                "SCTP",
                Packet::other(client, camera, SCTP).payload([0; 12]),
                Packet::other(camera, client, SCTP).payload([0; 12]),
                [Timeout::Generic; 2],
            ),
        ] {
            let shows = |when: &str| format!("{what} {family:?}: {when}");
            let [begins, at, behind] =
                &["begins", "at its timeout", "a nanosecond later"].map(shows);
            let unreplied = passes(State::Unreplied);

            let first = rig.expect(begins, &there, unreplied).flow_id;
            rig.wait(timeouts.get(alone));
            assert_eq!(rig.expect(at, &there, unreplied).flow_id, first, "{at}");
            rig.wait(timeouts.get(alone) + 1);
            let second = rig.expect(behind, &there, unreplied).flow_id;
            assert_ne!(second, first, "{behind}");

            rig.expect("an answer", &back, passes(State::Assured));
            rig.wait(timeouts.get(answered));
            assert_eq!(rig.expect(at, &there, passes(State::Assured)).flow_id, second, "{at}");
            rig.wait(timeouts.get(answered) + 1);
            assert_ne!(rig.expect(behind, &there, unreplied).flow_id, second, "{behind}");
            // Nothing of it is left for the next one.
            rig.wait(timeouts.get(answered) + 1);
        }
    }
}

/// Brings a connection into a state, and says what its next segment is and which state follows.
type Prepare = fn(&mut Rig, Family, u16) -> (Packet, State);

fn connections_live_as_long_as(timeouts: &Timeouts, rig: &mut Rig) {
    let states: [(Timeout, Prepare); 10] = [
        (Timeout::SynSent, |rig, family, port| {
            let mut talk = Conversation::new(family, port, 80);
            rig.expect("a SYN", &talk.syn(), passes(State::SynSent));
            (talk.syn_ack(), State::SynReceived)
        }),
        (Timeout::SynReceived, |rig, family, port| {
            let mut talk = Conversation::new(family, port, 80);
            rig.expect("a SYN", &talk.syn(), passes(State::SynSent));
            rig.expect("its answer", &talk.syn_ack(), passes(State::SynReceived));
            (talk.client_sends("A", b""), State::Established)
        }),
        (Timeout::Established, |rig, family, port| {
            let mut talk = Conversation::established(rig, family, port, 80);
            (talk.client_sends("PA", b"hello"), State::Established)
        }),
        (Timeout::Unacknowledged, |rig, family, port| {
            let mut talk = Conversation::established(rig, family, port, 80);
            let request = talk.client_sends("PA", b"hello");
            rig.expect("a request", &request, passes(State::Established));
            (request, State::Established)
        }),
        (Timeout::FinWait, |rig, family, port| {
            let mut talk = Conversation::established(rig, family, port, 80);
            rig.expect("FIN", &talk.client_sends("FA", b""), passes(State::FinWait));
            (talk.client_sends("A", b""), State::FinWait)
        }),
        (Timeout::CloseWait, |rig, family, port| {
            let mut talk = Conversation::established(rig, family, port, 80);
            rig.expect("FIN", &talk.server_sends("FA", b""), passes(State::FinWait));
            rig.expect("its ACK", &talk.client_sends("A", b""), passes(State::CloseWait));
            (talk.client_sends("PA", b"more"), State::CloseWait)
        }),
        (Timeout::LastAck, |rig, family, port| {
            let mut talk = Conversation::established(rig, family, port, 80);
            rig.expect("FIN", &talk.client_sends("FA", b""), passes(State::FinWait));
            rig.expect("FIN", &talk.server_sends("FA", b""), passes(State::LastAck));
            (talk.client_sends("A", b""), State::TimeWait)
        }),
        (Timeout::TimeWait, |rig, family, port| {
            let mut talk = Conversation::established(rig, family, port, 80);
            rig.expect("FIN", &talk.client_sends("FA", b""), passes(State::FinWait));
            rig.expect("FIN", &talk.server_sends("FA", b""), passes(State::LastAck));
            let ack = talk.client_sends("A", b"");
            rig.expect("the last ACK", &ack, passes(State::TimeWait));
            (ack, State::TimeWait)
        }),
        (Timeout::Closed, |rig, family, port| {
            let mut talk = Conversation::established(rig, family, port, 80);
            rig.expect("RST", &talk.server_sends("RA", b""), passes(State::Closed));
            (talk.client_sends("A", b""), State::Closed)
        }),
        (Timeout::Midstream, |rig, family, port| {
            let ack = Conversation::new(family, port, 80).as_client("A");
            rig.tables().adopt_until(u64::MAX).expect("a write");
            rig.expect("in its midst", &ack, passes(State::Midstream));
            rig.tables().adopt_until(0).expect("a write");
            (ack, State::Midstream)
        }),
    ];
    for family in FAMILIES {
        for (port, (timeout, prepare)) in (40_000..).step_by(2).zip(states) {
            let (next, state) = prepare(rig, family, port);
            rig.wait(timeouts.get(timeout));
            let shows = format!("{family:?} {timeout:?}: at its timeout");
            rig.expect(&shows, &next, passes(state));

            let (next, _) = prepare(rig, family, port + 1);
            rig.wait(timeouts.get(timeout) + 1);
            let shows = format!("{family:?} {timeout:?}: a nanosecond later");
            rig.expect(&shows, &next, drops(Reason::TcpNotSyn));
        }
    }
}

/// An end that is gone is forgotten sooner; one that has nothing to say is not.
#[test]
fn what_is_acknowledged_may_be_silent_for_days() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let mut talk = Conversation::established(&mut rig, family, 40_000, 80);
        let lives = passes(State::Established);
        rig.expect("a request", &talk.client_sends("PA", b"hello"), lives);
        rig.expect("its acknowledgment", &talk.server_sends("A", b""), lives);
        rig.wait(5 * 24 * 3600 * SECOND);
        rig.expect("five days later", &talk.server_sends("PA", b"at last"), lives);
        // The server's data is not acknowledged now.
        rig.wait(300 * SECOND + 1);
        let late = talk.client_sends("A", b"");
        rig.expect("five minutes later", &late, drops(Reason::TcpNotSyn));
    }
}

#[test]
fn what_is_refused_keeps_no_flow_alive() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let mut talk = Conversation::established(&mut rig, family, 40_000, 80);
        rig.expect("FIN", &talk.client_sends("FA", b""), passes(State::FinWait));
        let outside = talk.as_server("A").seq(talk.server_next().wrapping_add(1 << 30));
        rig.wait(120 * SECOND);
        let refused = drops(Reason::SeqAckMismatch).in_state(State::FinWait);
        rig.expect("a guess at its timeout", &outside, refused);
        rig.wait(1);
        let late = talk.server_sends("A", b"");
        rig.expect("a nanosecond later", &late, drops(Reason::TcpNotSyn));
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
