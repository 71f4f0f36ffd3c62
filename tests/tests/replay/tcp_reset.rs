//! Resets, and SYNs on a connection that lives, through the real programs (RFC 5961, RFC 9293 §3.5.1).

use firewall_common::{flow::State, reason::Reason};
use firewall_user::replay::Hook;
use lab::replaying::{Conversation, Expected, FAMILIES, Family, Rig, Start, drops, passes};

const HOOKS: [Hook; 2] = [Hook::Xdp, Hook::Tc];
const PORT: u16 = 80;
const WINDOW: u16 = 1_000;

fn refused(state: State) -> Expected {
    drops(Reason::SeqAckMismatch).in_state(state)
}

/// A connection whose windows are 1,000 bytes.
fn established(rig: &mut Rig, family: Family, port: u16) -> Conversation {
    let ends = [Start::CLIENT, Start::SERVER].map(|start| Start { window: WINDOW, ..start });
    Conversation::of(family, port, PORT, ends).shaking_hands(rig)
}

#[test]
fn a_reset_has_to_be_exact_while_the_connection_lives() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let talk = established(&mut rig, family, 40_000);
            rig.events();
            for (shows, by) in [
                ("inside the window", 1),
                ("at its edge", 1_000),
                ("behind it", 1_001),
                ("before it", u32::MAX),
                ("far away", 1 << 30),
                ("the other half of the circle", 1 << 31),
            ] {
                for flags in ["R", "RA"] {
                    for packet in [talk.as_server(flags), talk.as_client(flags)] {
                        let ours = packet.build() == talk.as_server(flags).build();
                        let exact = if ours { talk.server_next() } else { talk.client_next() };
                        let guess = packet.seq(exact.wrapping_add(by));
                        rig.expect(shows, &guess, refused(State::Established));
                        let event = rig.events().pop().expect("the refusal is told");
                        let tcp = event.tcp.expect("a TCP header");
                        assert_eq!(tcp.expected, Some([exact, exact]), "{shows}");
                        assert_eq!(tcp.seq, exact.wrapping_add(by), "{shows}");
                    }
                }
            }
            rig.expect("exact", &talk.as_server("R"), passes(State::Closed));
            let event = rig.events().pop().expect("the end is told");
            assert_eq!(event.reason.as_deref(), Some("FWX_E_ABORTIVE_SHUTDOWN"));

            let talk = established(&mut rig, family, 40_001);
            rig.expect("of the client", &talk.as_client("RA"), passes(State::Closed));
        }
    }
}

#[test]
fn a_reset_may_stand_behind_what_is_on_its_way_or_before_it() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        for (port, (by, expected)) in (40_000..).zip([
            (0, passes(State::Closed)),
            (100, passes(State::Closed)),
            (50, refused(State::Established)),
            (101, refused(State::Established)),
        ]) {
            let mut talk = established(&mut rig, family, port);
            let acked = talk.server_next();
            let data = talk.server_sends("PA", &[7; 100]);
            rig.expect("data", &data, passes(State::Established));
            let reset = talk.as_server("R").seq(acked.wrapping_add(by));
            rig.expect(&format!("{by} bytes behind the ACK"), &reset, expected);
        }
    }
}

#[test]
fn a_reset_of_a_connection_that_closes_may_be_anywhere_inside_the_window() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            for (port, (by, expected)) in (40_000..).zip([
                (0, passes(State::Closed)),
                (500, passes(State::Closed)),
                (999, passes(State::Closed)),
                (1_100, refused(State::FinWait)),
                (u32::MAX, refused(State::FinWait)),
            ]) {
                let mut talk = established(&mut rig, family, port);
                let fin = talk.server_sends("FA", b"");
                rig.expect("FIN", &fin, passes(State::FinWait));
                let reset = talk.as_client("R").seq(talk.client_next().wrapping_add(by));
                rig.expect(&format!("{by} bytes in"), &reset, expected);
            }
        }
    }
}

/// Blind resets of an attacker who knows addresses and ports: 65,536 guesses, 65,536 numbers apart.
#[test]
fn a_sweep_of_resets_misses() {
    let mut rig = Rig::open(Hook::Xdp);
    for (family, guesses) in [(Family::V4, 0..1 << 15), (Family::V6, 1 << 15..1 << 16)] {
        let mut talk = established(&mut rig, family, 40_000);
        for guess in guesses {
            // Off the numbers that are right by half a step.
            let seq = talk.server_next().wrapping_add((guess << 16) + (1 << 15));
            let forged = talk.as_server("R").seq(seq);
            rig.expect("a guess", &forged, refused(State::Established));
        }
        let data = talk.server_sends("PA", b"hello");
        rig.expect("the connection lives", &data, passes(State::Established));
    }
}

/// The client lost the connection and begins anew; the server has it still.
#[test]
fn a_syn_on_a_live_connection_is_challenged_and_the_answer_clears_the_way() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let mut talk = established(&mut rig, family, 40_000);
            let anew = Start { seq: 7_000_000, ..Start::CLIENT };
            let mut anew = Conversation::of(family, 40_000, PORT, [anew, Start::SERVER]);
            let syn = anew.syn();
            let old = rig.expect("a SYN", &syn, passes(State::Established)).flow_id;
            let challenge = talk.as_server("A");
            rig.expect("the challenge", &challenge, passes(State::Established));
            let data = talk.server_sends("PA", b"still here");
            rig.expect("nothing has changed", &data, passes(State::Established));
            rig.expect("and back", &talk.client_sends("A", b""), passes(State::Established));
            let reset = talk.as_client("R");
            rig.expect("the answer to it", &reset, passes(State::Closed));
            let new = rig.expect("the SYN again", &syn, passes(State::SynSent)).flow_id;
            assert_ne!(old, new, "{hook:?} {family:?}: a flow of its own");
            rig.expect("its answer", &anew.syn_ack(), passes(State::SynReceived));
            rig.expect("ACK", &anew.client_sends("A", b""), passes(State::Established));
        }
    }
}

/// Both ends lost the connection, or a blind attacker sent the SYN.
#[test]
fn a_syn_on_a_live_connection_is_answered_by_what_it_is_to_the_responder() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            for (port, answer_is_reset) in [(40_000, false), (40_001, true)] {
                let talk = established(&mut rig, family, port);
                let [client, server] = [
                    Start { seq: 7_000_000, ..Start::CLIENT },
                    Start { seq: 9_000_000, ..Start::SERVER },
                ];
                let mut anew = Conversation::of(family, port, PORT, [client, server]);
                let old = rig.expect("a SYN", &anew.syn(), passes(State::Established)).flow_id;
                let answer = anew.syn_ack();
                let stale = answer.clone().ack(anew.client_next().wrapping_add(1));
                rig.expect("an answer to another", &stale, refused(State::Established));
                if answer_is_reset {
                    let stale = stale.flags("RA").seq(0);
                    rig.expect("a RST to another", &stale, refused(State::Established));
                    let reset = answer.flags("RA").seq(0);
                    rig.expect("a RST to it", &reset, passes(State::Closed));
                    continue;
                }
                let new = rig.expect("the answer", &answer, passes(State::SynReceived)).flow_id;
                assert_ne!(old, new, "{hook:?} {family:?}: a flow of its own");
                let stray = talk.as_client("PA").payload(b"old");
                rig.expect("the old one is no more", &stray, refused(State::SynReceived));
                rig.expect("ACK", &anew.client_sends("A", b""), passes(State::Established));
                let data = anew.client_sends("PA", b"data");
                rig.expect("data", &data, passes(State::Established));
            }
        }
    }
}

#[test]
fn a_blind_syn_ack_on_a_live_connection_is_refused() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let mut talk = Conversation::new(family, 40_000, PORT);
        rig.expect("SYN", &talk.syn(), passes(State::SynSent));
        let answer = talk.syn_ack();
        rig.expect("its answer", &answer, passes(State::SynReceived));
        rig.expect("ACK", &talk.client_sends("A", b""), passes(State::Established));
        rig.expect("the answer again", &answer, passes(State::Established));
        for seq in [1, 1 << 20, 1 << 31] {
            let forged = answer.clone().seq(talk.server_next().wrapping_add(seq));
            rig.expect("another", &forged, refused(State::Established));
        }
        let own = talk.as_client("SA");
        rig.expect("one of the client", &own, refused(State::Established));
    }
}
