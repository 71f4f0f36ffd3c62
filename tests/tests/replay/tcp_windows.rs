//! Sequence numbers and windows through the real programs: what fits passes, what does not is refused with what
//! it should have had.

use firewall_common::{flow::State, reason::Reason};
use firewall_user::{event::Tcp, replay::Hook};
use lab::replaying::{Conversation, Expected, FAMILIES, Rig, Start, drops, passes};

const HOOKS: [Hook; 2] = [Hook::Xdp, Hook::Tc];
const PORT: u16 = 80;
const WINDOW: u16 = 1_000;
const CLIENT: Start = Start { window: WINDOW, ..Start::CLIENT };
const SERVER: Start = Start { window: WINDOW, ..Start::SERVER };

fn lives() -> Expected {
    passes(State::Established)
}

fn refused() -> Expected {
    drops(Reason::SeqAckMismatch).in_state(State::Established)
}

fn told(rig: &mut Rig) -> Tcp {
    let event = rig.events().pop().expect("a refusal is told");
    assert_eq!(event.event, "packet_dropped");
    assert_eq!(event.reason.as_deref(), Some("FWX_E_SEQ_ACK_MISMATCH"));
    assert!(event.flow_id.is_some(), "of which flow");
    event.tcp.expect("a TCP header")
}

#[test]
fn data_passes_up_to_the_edge_and_the_refusal_says_where_it_is() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let talk = Conversation::of(family, 40_000, PORT, [CLIENT, SERVER]);
            let talk = talk.shaking_hands(&mut rig);
            rig.events();
            let (seq, ack) = (talk.client_next(), talk.server_next());
            let expected = [seq.wrapping_sub(1_000), seq.wrapping_add(1_000)];
            for (shows, at, len) in [
                ("one byte too many", 0, 1_001),
                ("a byte at the edge", 1_000, 1),
                ("far ahead", 1 << 30, 1),
                ("the other half of the circle", 1 << 31, 0),
                ("more than a window ago", u32::MAX - 1_000, 0),
            ] {
                let segment = talk.as_client("PA").seq(seq.wrapping_add(at));
                rig.expect(shows, &segment.payload(vec![7; len]), refused());
                let tcp = told(&mut rig);
                assert_eq!((tcp.expected, tcp.expected_ack), (Some(expected), None), "{shows}");
                assert_eq!(tcp.seq, seq.wrapping_add(at), "{shows}");
            }
            for (shows, wrong) in
                [("ahead", ack.wrapping_add(1)), ("behind", ack.wrapping_sub(66_001))]
            {
                rig.expect(shows, &talk.as_client("A").ack(wrong), refused());
                let tcp = told(&mut rig);
                let expected = [ack.wrapping_sub(66_000), ack];
                assert_eq!((tcp.expected, tcp.expected_ack), (None, Some(expected)), "{shows}");
                assert_eq!(tcp.ack, wrong, "{shows}");
            }
            let all = talk.as_client("PA").payload([7; 1_000]);
            rig.expect("all that fits", &all, lives());
        }
    }
}

#[test]
fn what_was_acknowledged_may_be_repeated() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let mut talk = Conversation::established(&mut rig, family, 40_000, PORT);
            let request = talk.client_sends("PA", b"hello");
            rig.expect("a request", &request, lives());
            rig.expect("its ACK", &talk.server_sends("A", b""), lives());
            rig.expect("the request again", &request, lives());
            rig.expect("a duplicate ACK", &talk.as_server("A"), lives());
        }
    }
}

#[test]
fn a_gap_is_filled_later() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let mut talk = Conversation::established(&mut rig, family, 40_000, PORT);
        let segments = [(); 3].map(|()| talk.client_sends("PA", &[7; 500]));
        let [first, second, third] = &segments;
        for (shows, segment) in [("the last", third), ("the first", first), ("between", second)] {
            rig.expect(shows, segment, lives());
        }
    }
}

#[test]
fn keep_alives_pass() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let talk = Conversation::established(&mut rig, family, 40_000, PORT);
            let back = |number: u32| number.wrapping_sub(1);
            let client = talk.as_client("A").seq(back(talk.client_next()));
            rig.expect("without a byte", &client, lives());
            rig.expect("with one", &client.payload([0]), lives());
            rig.expect("the answer", &talk.as_server("A"), lives());
            let server = talk.as_server("A").seq(back(talk.server_next()));
            rig.expect("of the server", &server, lives());
            rig.expect("with a byte", &server.payload([0]), lives());
        }
    }
}

#[test]
fn a_closed_window_takes_a_probe_and_no_more() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let talk = Conversation::of(family, 40_000, PORT, [CLIENT, SERVER]);
            let mut talk = talk.shaking_hands(&mut rig);
            rig.expect("a window full", &talk.client_sends("PA", &[7; 1_000]), lives());
            rig.expect("it closes", &talk.as_server("A").window(0), lives());
            rig.expect("two bytes", &talk.as_client("A").payload([7; 2]), refused());
            rig.expect("a probe", &talk.as_client("A").payload([7]), lives());
            rig.expect("its answer", &talk.as_server("A").window(0), lives());
            rig.expect("the probe again", &talk.as_client("A").payload([7]), lives());
            talk.client_sends("A", &[7]);
            rig.expect("it opens", &talk.as_server("A"), lives());
            rig.expect("a window full", &talk.client_sends("PA", &[7; 1_000]), lives());
        }
    }
}

#[test]
fn a_fin_may_stand_one_beyond_the_edge_once() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let talk = Conversation::of(family, 40_000, PORT, [CLIENT, SERVER]);
        let mut talk = talk.shaking_hands(&mut rig);
        let two = talk.as_client("FA").payload([7; 1_001]);
        rig.expect("a byte and a FIN", &two, refused());
        let fin = talk.client_sends("FPA", &[7; 1_000]);
        rig.expect("the FIN alone", &fin, passes(State::FinWait));
        rig.expect("that again", &fin, passes(State::FinWait));
        let behind = drops(Reason::SeqAckMismatch).in_state(State::FinWait);
        rig.expect("a FIN behind the FIN", &talk.client_sends("FA", b""), behind);
    }
}

#[test]
fn windows_are_scaled_as_both_syns_offer() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            for (port, (client, server, room)) in (40_000..).zip([
                (None, None, 1_000_u32),
                (Some(7), None, 1_000),
                (None, Some(7), 1_000),
                (Some(0), Some(0), 1_000),
                (Some(14), Some(0), 1_000),
                (Some(0), Some(7), 1_000 << 7),
                (Some(0), Some(14), 1_000 << 14),
                (Some(0), Some(15), 1_000 << 14),
                (Some(0), Some(254), 1_000 << 14),
            ]) {
                let ends = [Start { scale: client, ..CLIENT }, Start { scale: server, ..SERVER }];
                let shows = format!("{client:?} {server:?} {hook:?} {family:?}");
                let talk = Conversation::of(family, port, PORT, ends).shaking_hands(&mut rig);
                rig.expect(&shows, &talk.as_server("A"), lives());
                let last = talk.client_next().wrapping_add(room - 1);
                let segment = talk.as_client("PA").seq(last);
                rig.expect(&shows, &segment.clone().payload([7; 2]), refused());
                rig.expect(&shows, &segment.payload([7]), lives());
            }
        }
    }
}

/// Both ends begin a little before the end of the circle.
#[test]
fn numbers_may_wrap_anywhere() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            for (port, before_the_end) in (40_000..).zip([0, 1, 2, 99, 100, 101, 1_000]) {
                let start = u32::MAX - before_the_end;
                let ends =
                    [Start { seq: start, ..CLIENT }, Start { seq: start ^ 1 << 31, ..SERVER }];
                let talk = Conversation::of(family, port, PORT, ends);
                let mut talk = talk.shaking_hands(&mut rig);
                for _ in 0..8 {
                    rig.expect("data", &talk.client_sends("PA", &[7; 99]), lives());
                    rig.expect("data back", &talk.server_sends("PA", &[7; 98]), lives());
                    let beyond = talk.as_client("PA").seq(talk.client_next().wrapping_add(2_000));
                    rig.expect("beyond", &beyond.payload([7]), refused());
                }
            }
        }
    }
}

/// 4,096 guesses spread over the circle, 2^20 apart, of which none hits a window of 1,000 bytes.
#[test]
fn data_is_not_injected_blindly() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let talk = Conversation::of(family, 40_000, PORT, [CLIENT, SERVER]);
        let mut talk = talk.shaking_hands(&mut rig);
        for guess in 0..4_096_u32 {
            let seq = talk.server_next().wrapping_add((guess << 20) + (1 << 19));
            let forged = talk.as_server("PA").seq(seq).payload(b"RTSP/1.0 200 OK\r\n\r\n");
            rig.expect("a guess", &forged, refused());
        }
        rig.expect("the real one", &talk.server_sends("PA", b"hello"), lives());
    }
}

#[test]
fn data_on_a_live_connection_needs_an_acknowledgment_that_fits_too() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let talk = Conversation::established(&mut rig, family, 40_000, PORT);
        for by in [1, 1 << 16, 1 << 31, u32::MAX - 70_000] {
            let forged = talk.as_server("PA").ack(talk.client_next().wrapping_add(by));
            rig.expect("the right place, a wrong ACK", &forged.payload(b"x"), refused());
        }
    }
}
