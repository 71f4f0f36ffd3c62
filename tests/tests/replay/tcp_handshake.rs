//! How a connection comes about, and what is no handshake, through the real programs.

use firewall_common::{flow::State, reason::Reason};
use firewall_user::replay::Hook;
use lab::{
    Packet,
    replaying::{Conversation, Expected, FAMILIES, Family, Rig, drops, passes},
};

const HOOKS: [Hook; 2] = [Hook::Xdp, Hook::Tc];
const PORT: u16 = 80;

fn refused(state: State) -> Expected {
    drops(Reason::SeqAckMismatch).in_state(state)
}

/// All that matters of a byte of flags: PSH and the two bits of ECN do not.
fn without_the_rest(flags: u8) -> u8 {
    flags & 0b0011_0111
}

#[test]
fn of_all_flag_bytes_only_a_syn_begins_a_flow_and_none_hides() {
    const SYN: [u8; 2] = [0b00_0010, 0b10_0010];
    const SENT_BY_STACKS: [u8; 9] = [
        0b00_0010, 0b10_0010, 0b01_0010, 0b00_0100, 0b01_0100, 0b01_0001, 0b11_0001, 0b01_0000,
        0b11_0000,
    ];
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            for bits in 0..=255_u8 {
                let port = 20_000 + u16::from(bits);
                let packet = family.tcp(port, PORT).flag_bits(bits).seq(7).ack(9);
                let expected = match without_the_rest(bits) {
                    flags if SYN.contains(&flags) => passes(State::SynSent),
                    flags if SENT_BY_STACKS.contains(&flags) => drops(Reason::TcpNotSyn),
                    _ => drops(Reason::IpHalfScan),
                };
                rig.expect(&format!("flags {bits:#010b}"), &packet, expected);
            }
        }
    }
}

#[test]
fn an_impossible_combination_is_refused_on_a_live_connection_too() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let talk = Conversation::established(&mut rig, family, 40_000, PORT);
        for bits in 0..=255_u8 {
            let syn_fin = bits & 0b11 == 0b11;
            let nothing = bits & 0b01_0110 == 0;
            if syn_fin || nothing {
                let shows = format!("flags {bits:#010b}");
                let expected = drops(Reason::IpHalfScan).in_state(State::Established);
                rig.expect(&shows, &talk.as_client("A").flag_bits(bits), expected);
                rig.expect(&shows, &talk.as_server("A").flag_bits(bits), expected);
            }
        }
    }
}

#[test]
fn a_syn_that_offers_ecn_begins_a_flow_and_its_answer_passes() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let mut talk = Conversation::new(family, 40_000, PORT);
        rig.expect("SYN", &talk.syn().flags("SEW"), passes(State::SynSent));
        rig.expect("SYN, ACK", &talk.syn_ack().flags("SAE"), passes(State::SynReceived));
        rig.expect("ACK", &talk.client_sends("A", b""), passes(State::Established));
        let echo = talk.client_sends("PA", b"x").flags("PAEW");
        rig.expect("an echo of congestion", &echo, passes(State::Established));
    }
}

/// TCP fast open (RFC 7413): the server takes the data or only the SYN.
#[test]
fn a_syn_may_bring_data() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            for (port, taken) in [(40_000, 0), (40_001, 5)] {
                let mut talk = Conversation::new(family, port, PORT);
                let syn = talk.syn().payload(b"hello");
                rig.expect("SYN with data", &syn, passes(State::SynSent));
                let first = talk.client_next();
                let answer = talk.syn_ack();
                let too_much = answer.clone().ack(first.wrapping_add(6));
                rig.expect("an answer to more", &too_much, refused(State::SynSent));
                let answer = answer.ack(first.wrapping_add(taken));
                rig.expect("the answer", &answer, passes(State::SynReceived));
                let data = talk.client_sends("PA", b"hello");
                rig.expect("the data again", &data, passes(State::Established));
                let more = talk.client_sends("PA", b"more");
                rig.expect("more", &more, passes(State::Established));
            }
        }
    }
}

#[test]
fn both_ends_may_begin_at_once() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let mut talk = Conversation::new(family, 40_000, PORT);
            let (client, server) = (talk.syn(), talk.syn_ack());
            rig.expect("SYN", &client, passes(State::SynSent));
            let crossing = server.clone().flags("S").ack(0);
            rig.expect("SYN of the other end", &crossing, passes(State::SynReceived));
            let answer = client.flags("SA").ack(talk.server_next());
            rig.expect("its answer", &answer, passes(State::SynReceived));
            rig.expect("the other answer", &server, passes(State::SynReceived));
            let data = talk.client_sends("PA", b"hello");
            rig.expect("data", &data, passes(State::Established));
            let reply = talk.server_sends("PA", b"hello");
            rig.expect("and back", &reply, passes(State::Established));
        }
    }
}

#[test]
fn a_stale_answer_is_refused_and_the_right_one_still_establishes() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let mut talk = Conversation::new(family, 40_000, PORT);
            rig.expect("SYN", &talk.syn(), passes(State::SynSent));
            let first = talk.client_next();
            let answer = talk.syn_ack();
            rig.events();
            for (shows, ack) in [
                ("to an older SYN", first.wrapping_sub(100_000)),
                ("to the SYN's own number", first.wrapping_sub(1)),
                ("to one ahead", first.wrapping_add(1)),
                ("to nothing", 0),
            ] {
                rig.expect(shows, &answer.clone().ack(ack), refused(State::SynSent));
                let event = rig.events().pop().expect("the refusal is told");
                let tcp = event.tcp.expect("a TCP header");
                assert_eq!(tcp.expected_ack, Some([first, first]), "{shows}");
                assert_eq!((tcp.expected, tcp.ack), (None, ack), "{shows}");
            }
            rig.expect("the right one", &answer, passes(State::SynReceived));
            let ack = talk.client_sends("A", b"");
            rig.expect("completes", &ack, passes(State::Established));
        }
    }
}

#[test]
fn the_wrong_side_does_not_answer() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let mut talk = Conversation::new(family, 40_000, PORT);
        let syn = talk.syn();
        rig.expect("SYN", &syn, passes(State::SynSent));
        let own = syn.flags("SA").ack(talk.server_next());
        rig.expect("the client answers itself", &own, refused(State::SynSent));
        rig.expect(
            "data without an answer",
            &talk.as_server("PA").payload(b"x"),
            refused(State::SynSent),
        );
        rig.expect(
            "data of the client",
            &talk.as_client("PA").payload(b"x"),
            refused(State::SynSent),
        );
        rig.expect("its ACK", &talk.as_client("A"), refused(State::SynSent));
        rig.expect("its FIN", &talk.as_client("FA"), refused(State::SynSent));
        rig.expect("a FIN of the server", &talk.as_server("FA"), refused(State::SynSent));
    }
}

#[test]
fn a_syn_that_is_repeated_with_another_number_may_be_answered_either_way() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            for (port, first_is_answered) in [(40_000, true), (40_001, false)] {
                let mut one = Conversation::new(family, port, PORT);
                let start =
                    lab::replaying::Start { seq: 123_456_789, ..lab::replaying::Start::CLIENT };
                let server = lab::replaying::Start::SERVER;
                let mut other = Conversation::of(family, port, PORT, [start, server]);
                rig.expect("a SYN", &one.syn(), passes(State::SynSent));
                rig.expect("another", &other.syn(), passes(State::SynSent));
                let mut talk = if first_is_answered { one } else { other };
                rig.expect("its answer", &talk.syn_ack(), passes(State::SynReceived));
                rig.expect("ACK", &talk.client_sends("A", b""), passes(State::Established));
                let data = talk.client_sends("PA", b"data");
                rig.expect("data", &data, passes(State::Established));
            }
        }
    }
}

#[test]
fn a_guess_does_not_complete_a_handshake() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let mut talk = Conversation::new(family, 40_000, PORT);
        rig.expect("SYN", &talk.syn(), passes(State::SynSent));
        rig.expect("its answer", &talk.syn_ack(), passes(State::SynReceived));
        let right = talk.server_next();
        for ack in [right.wrapping_sub(1), right.wrapping_add(1), right ^ 1 << 31, 0] {
            let guess = talk.as_client("A").ack(ack);
            rig.expect(&format!("ACK of {ack}"), &guess, refused(State::SynReceived));
        }
        rig.expect("the ACK", &talk.client_sends("A", b""), passes(State::Established));
    }
}

#[test]
fn a_responder_that_lost_the_connection_ends_the_handshake() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let mut talk = Conversation::new(family, 40_000, PORT);
            let syn = talk.syn();
            rig.expect("SYN", &syn, passes(State::SynSent));
            rig.expect("its answer", &talk.syn_ack(), passes(State::SynReceived));
            rig.expect("the SYN again", &syn, passes(State::SynReceived));
            let reset = talk.as_server("RA").seq(0).window(0);
            let other = reset.clone().ack(talk.client_next().wrapping_add(1));
            rig.expect("a RST to another SYN", &other, refused(State::SynReceived));
            rig.expect("the RST", &reset, passes(State::Closed));
        }
    }
}

#[test]
fn options_of_a_syn_that_lie_are_refused() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        for (port, (shows, options, expected)) in (40_000..).zip([
            ("a length of 0, which would loop", &[3, 0, 7, 0][..], drops(Reason::BadLength)),
            ("a length of 1", &[3, 1, 7, 0], drops(Reason::BadLength)),
            ("a length beyond the header", &[1, 1, 3, 3], drops(Reason::BadLength)),
            ("a length of 255", &[2, 255, 5, 180], drops(Reason::BadLength)),
            ("forty times nothing", &[1; 40], passes(State::SynSent)),
            ("what follows the end", &[0, 3, 0, 0], passes(State::SynSent)),
            ("an unknown one", &[253, 4, 1, 2], passes(State::SynSent)),
            ("its last byte alone", &[1, 1, 1, 3], passes(State::SynSent)),
        ]) {
            let syn = family.tcp(port, PORT).tcp_options(options);
            rig.expect(shows, &syn, expected);
        }
    }
}

#[test]
fn extension_headers_64_deep_hide_no_syn() {
    let mut rig = Rig::open(Hook::Xdp);
    let mut syn: Packet = Family::V6.tcp(40_000, PORT);
    for _ in 0..64 {
        syn = syn.destination_options(&[]);
    }
    rig.expect("64 headers", &syn, drops(Reason::ExtensionHeaders));
}
