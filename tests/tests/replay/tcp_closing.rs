//! How a connection ends, through the real programs, and how its ports are used again.

use firewall_common::{flow::State, reason::Reason};
use firewall_user::replay::Hook;
use lab::replaying::{Conversation, FAMILIES, Rig, Start, drops, passes};

const HOOKS: [Hook; 2] = [Hook::Xdp, Hook::Tc];
const PORT: u16 = 80;

#[test]
fn a_half_closed_connection_still_carries_data_the_other_way() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let mut talk = Conversation::established(&mut rig, family, 40_000, PORT);
            for (shows, packet, state) in [
                ("the client closes", talk.client_sends("FA", b""), State::FinWait),
                ("its ACK", talk.server_sends("A", b""), State::CloseWait),
                ("data", talk.server_sends("PA", &[7; 1_000]), State::CloseWait),
                ("its ACK", talk.client_sends("A", b""), State::CloseWait),
                ("more", talk.server_sends("PA", &[7; 1_000]), State::CloseWait),
                ("the server closes", talk.server_sends("FA", b""), State::LastAck),
                ("the last ACK", talk.client_sends("A", b""), State::TimeWait),
                ("the last ACK again", talk.as_client("A"), State::TimeWait),
            ] {
                rig.expect(shows, &packet, passes(state));
            }
        }
        let closed = rig.events_of("connection_closed");
        assert_eq!(closed.len(), 2, "each end is told once: {closed:?}");
    }
}

#[test]
fn both_ends_may_close_at_once() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let mut talk = Conversation::established(&mut rig, family, 40_000, PORT);
        let (client, server) = (talk.as_client("FA"), talk.as_server("FA"));
        rig.expect("one", &client, passes(State::FinWait));
        rig.expect("the other", &server, passes(State::LastAck));
        talk.client_sends("F", b"");
        talk.server_sends("F", b"");
        rig.expect("an ACK", &talk.as_client("A"), passes(State::LastAck));
        rig.expect("the other ACK", &talk.as_server("A"), passes(State::TimeWait));
        rig.expect("a FIN again", &server, passes(State::TimeWait));
    }
}

#[test]
fn nothing_follows_a_fin() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let mut talk = Conversation::established(&mut rig, family, 40_000, PORT);
            let fin = talk.client_sends("FPA", b"bye");
            rig.expect("FIN with data", &fin, passes(State::FinWait));
            let refused = drops(Reason::SeqAckMismatch).in_state(State::FinWait);
            rig.events();
            rig.expect("data behind it", &talk.as_client("PA").payload(b"one more"), refused);
            let told = rig.events().pop().and_then(|event| event.tcp).expect("a TCP header");
            let last = talk.client_next();
            assert_eq!(told.expected.map(|[_, high]| high), Some(last), "the FIN is the end");
            rig.expect("the FIN again", &fin, passes(State::FinWait));
            rig.expect("its ACK", &talk.server_sends("A", b""), passes(State::CloseWait));
        }
    }
}

#[test]
fn ports_are_used_again_after_every_end() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            for (port, resets) in [(40_000, true), (40_001, false)] {
                let mut talk = Conversation::established(&mut rig, family, port, PORT);
                let old = if resets {
                    rig.expect("RST", &talk.client_sends("R", b""), passes(State::Closed)).flow_id
                } else {
                    rig.expect("FIN", &talk.client_sends("FA", b""), passes(State::FinWait));
                    rig.expect("FIN", &talk.server_sends("FA", b""), passes(State::LastAck));
                    rig.expect("ACK", &talk.client_sends("A", b""), passes(State::TimeWait)).flow_id
                };
                let client = Start { seq: 12_345, ..Start::CLIENT };
                let mut anew = Conversation::of(family, port, PORT, [client, Start::SERVER]);
                let new = rig.expect("a SYN", &anew.syn(), passes(State::SynSent)).flow_id;
                assert_ne!(old, new, "{hook:?} {family:?}: a flow of its own");
                let stray = drops(Reason::SeqAckMismatch).in_state(State::SynSent);
                rig.expect("what was on its way", &talk.as_server("PA").payload(b"old"), stray);
                rig.expect("its answer", &anew.syn_ack(), passes(State::SynReceived));
                rig.expect("ACK", &anew.client_sends("A", b""), passes(State::Established));
            }
        }
    }
}

/// The end that waited may be the one that begins the next connection.
#[test]
fn after_the_end_the_server_may_begin() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let mut talk = Conversation::established(&mut rig, family, 40_000, PORT);
        rig.expect("RST", &talk.client_sends("R", b""), passes(State::Closed));
        let syn = talk.as_server("S").seq(1_000).ack(0);
        let outcome = rig.expect("a SYN the other way", &syn, passes(State::SynSent));
        assert_eq!(outcome.direction.name(), "original");
        let answer = talk.as_client("SA").seq(2_000).ack(1_001);
        let outcome = rig.expect("its answer", &answer, passes(State::SynReceived));
        assert_eq!(outcome.direction.name(), "reply");
    }
}

#[test]
fn after_a_reset_only_what_crossed_it_passes() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let talk = Conversation::established(&mut rig, family, 40_000, PORT);
        rig.expect("RST", &talk.as_server("R"), passes(State::Closed));
        let crossing = talk.as_client("PA").payload(b"on its way");
        rig.expect("what crossed it", &crossing, passes(State::Closed));
        rig.expect("a second RST", &talk.as_server("R"), passes(State::Closed));
        let guess = talk.as_client("A").seq(talk.client_next().wrapping_add(1 << 20));
        let refused = |reason| drops(reason).in_state(State::Closed);
        rig.expect("a guess", &guess, refused(Reason::SeqAckMismatch));
        rig.expect("a SYN/ACK", &talk.as_server("SA"), refused(Reason::TcpNotSyn));
    }
}
