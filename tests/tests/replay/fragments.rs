//! Fragments: the first decides for its datagram, the others go its way or nowhere.

use firewall_common::{flow::State, reason::Reason};
use firewall_user::replay::Hook;
use lab::{
    Packet,
    replaying::{Conversation, FAMILIES, Family, RTSP_PORT, Rig, drops, passes, rtsp_policy},
};

const HOOKS: [Hook; 2] = [Hook::Xdp, Hook::Tc];
const SECOND: u64 = 1_000_000_000;
const DENY: &str = "[gateway]\ninterfaces = [\"lan0\"]\ndefault = \"deny\"\n";

fn refused() -> lab::replaying::Expected {
    drops(Reason::FragmentDropped)
}

#[test]
fn later_fragments_follow_their_first() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            for (id, packet, state) in [
                (1, family.tcp(40_000, 80).payload([7; 100]), State::SynSent),
                (2, family.udp(40_000, 80).payload([7; 100]), State::Unreplied),
                (
                    3,
                    Packet::echo_request(family.client(), family.camera(), 1, 1).payload([7; 100]),
                    State::Unreplied,
                ),
            ] {
                let packet = packet.identification(id);
                let end = packet.datagram_len();
                let later = packet.build_fragment(40..80);
                if id == 1 {
                    rig.expect_frame("between strangers, the middle first", &later, refused());
                }
                let first = packet.build_fragment(0..40);
                let flow = rig.expect_frame("the first", &first, passes(state)).flow_id;
                assert_ne!(flow, 0, "the first has ports and so a flow");
                rig.expect_frame("the middle", &later, passes(State::None));
                let last = packet.build_fragment(80..end);
                rig.expect_frame("the last", &last, passes(State::None));

                let other = packet.identification(id + 10).build_fragment(80..end);
                // Between hosts whose datagrams come in fragments one may overtake the first.
                rig.expect_frame("the last of another datagram", &other, passes(State::None));
            }
        }
    }
}

#[test]
fn nobody_waits_longer_for_fragments_than_the_kernel() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let packet = family.udp(40_000, 80).payload([7; 100]).identification(1);
        let (first, later) = (packet.build_fragment(0..40), packet.build_fragment(40..108));
        rig.expect_frame("the first", &first, passes(State::Unreplied));
        rig.wait(30 * SECOND - 1);
        rig.expect_frame("a nanosecond before 30 s", &later, passes(State::None));
        rig.wait(1);
        rig.expect_frame("at 30 s", &later, refused());
    }
}

#[test]
fn a_first_fragment_without_a_whole_transport_header_is_refused() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let tcp = family.tcp(40_000, 80).payload([7; 100]).identification(1);
            rig.expect_frame("8 bytes of TCP", &tcp.build_fragment(0..8), refused());
            rig.expect_frame("16 bytes of TCP", &tcp.build_fragment(0..16), refused());
            rig.expect_frame("what comes behind them", &tcp.build_fragment(16..120), refused());
            let options = tcp.clone().tcp_options(&[1; 40]).identification(2);
            let cut = options.build_fragment(0..56);
            rig.expect_frame("a header cut within its options", &cut, refused());
            let whole = options.build_fragment(0..64);
            rig.expect_frame("one that is just whole", &whole, passes(State::SynSent));
        }
    }
}

#[test]
fn fragments_of_what_is_refused_are_refused() {
    let mut rig = Rig::new(DENY, Hook::Xdp);
    for family in FAMILIES {
        let packet = family.udp(40_000, 80).payload([7; 100]).identification(1);
        let denied = drops(Reason::PolicyRulesDenied);
        rig.expect_frame("the first", &packet.build_fragment(0..40), denied);
        rig.expect_frame("a later one", &packet.build_fragment(40..108), refused());

        let ack = family.tcp(40_000, 80).flags("A").payload([7; 100]).identification(2);
        rig.expect_frame("of a lone ACK", &ack.build_fragment(0..40), drops(Reason::TcpNotSyn));
        rig.expect_frame("its later one", &ack.build_fragment(40..120), refused());
        let zero = family.udp(0, 80).payload([7; 100]).identification(3);
        rig.expect_frame("of port 0", &zero.build_fragment(0..40), drops(Reason::PortZero));
        rig.expect_frame("its later one", &zero.build_fragment(40..108), refused());
    }
}

/// RFC 6946: offset 0 and nothing to follow, as a translator makes them.
#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        let packet = Family::V6.tcp(40_000, 80).payload([7; 100]);
        let atomic = packet.build_fragment(0..packet.datagram_len());
        rig.expect_frame("a SYN", &atomic, passes(State::SynSent));
        let ack = Family::V6.tcp(40_001, 80).flags("A");
        let atomic = ack.build_fragment(0..ack.datagram_len());
        rig.expect_frame("a lone ACK", &atomic, drops(Reason::TcpNotSyn));
    }
}

/// A filter reads whole segments: what follows a first fragment would pass unread.
#[test]
fn where_a_filter_enforces_no_fragment_of_a_segment_passes() {
    for hook in HOOKS {
        let mut rig = Rig::new(&rtsp_policy("enforce", "standard"), hook);
        for family in FAMILIES {
            let mut talk = Conversation::established(&mut rig, family, 40_000, RTSP_PORT);
            let segment = talk.client_sends("PA", &[b'x'; 100]).identification(1);
            let in_flow = refused().in_state(State::Established);
            rig.expect_frame("the first", &segment.build_fragment(0..48), in_flow);
            rig.expect_frame("a later one", &segment.build_fragment(48..120), refused());
        }
    }
}

/// As above, with all of the payload behind the first fragment: 24 bytes are a header with an option.
#[test]
fn where_a_filter_enforces_a_first_fragment_of_the_header_alone_does_not_open_a_way() {
    for hook in HOOKS {
        let mut rig = Rig::new(&rtsp_policy("enforce", "standard"), hook);
        for family in FAMILIES {
            let mut talk = Conversation::established(&mut rig, family, 40_000, RTSP_PORT);
            let segment = talk.client_sends("PA", &[b'x'; 100]).tcp_options(&[1; 4]);
            let segment = segment.identification(1);
            // Whether the first one passes is no matter: it has nothing to read.
            rig.frame(&segment.build_fragment(0..24));
            let payload = segment.build_fragment(24..124);
            rig.expect_frame("the payload, which nothing has read", &payload, refused());
        }
    }
}

#[test]
fn a_filter_that_only_watches_lets_fragments_pass_and_says_so() {
    for hook in HOOKS {
        let mut rig = Rig::new(&rtsp_policy("monitor", "standard"), hook);
        for family in FAMILIES {
            let mut talk = Conversation::established(&mut rig, family, 40_000, RTSP_PORT);
            rig.events();
            let segment = talk.client_sends("PA", &[b'x'; 100]).identification(1);
            let first = segment.build_fragment(0..48);
            rig.expect_frame("the first", &first, passes(State::Established));
            let events = rig.events();
            let [event] = &events[..] else { panic!("one event, not {events:?}") };
            assert_eq!(event.event, "filter_finding");
            assert_eq!(event.reason.as_deref(), Some("FWX_E_FRAGMENT_PACKET_DROPPED"));
            let later = segment.build_fragment(48..120);
            rig.expect_frame("a later one", &later, passes(State::None));
        }
    }
}

/// RFC 8200 §4.5: what stands between the fragment header and the transport header belongs to the part
/// that is cut; the fragments name the first of it, not the transport.
#[test]
fn fragments_with_an_extension_header_behind_the_fragment_header_pass() {
    const DESTINATION_OPTIONS: u8 = 60;
    const UDP: u8 = 17;
    let mut rig = Rig::open(Hook::Xdp);
    let udp = Family::V6.udp(40_000, 80).payload([7; 100]).build();
    let udp = &udp[14 + 40..];
    let options = [UDP, 0, 1, 4, 0, 0, 0, 0];
    let packet = Packet::other(Family::V6.client(), Family::V6.camera(), DESTINATION_OPTIONS)
        .payload([&options[..], udp].concat())
        .identification(1);
    let end = packet.datagram_len();
    rig.expect_frame("the first", &packet.build_fragment(0..48), passes(State::Unreplied));
    rig.expect_frame("the last", &packet.build_fragment(48..end), passes(State::None));
}

/// A datagram of 20 kB as an Ethernet carries it: in 14 fragments.
fn twenty_kilobytes(family: Family, id: u32) -> Vec<Vec<u8>> {
    const PART: usize = 1_480;
    let packet = family.udp(40_000, 80).payload(vec![7; 20_000]).identification(id);
    let end = packet.datagram_len();
    let parts: Vec<_> =
        (0..end).step_by(PART).map(|at| packet.build_fragment(at..end.min(at + PART))).collect();
    assert_eq!(parts.len(), 14);
    parts
}

#[test]
fn a_datagram_of_14_fragments_passes_in_order_and_backwards() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let parts = twenty_kilobytes(family, 1);
            rig.expect_frame("the first", &parts[0], passes(State::Unreplied));
            for part in &parts[1..] {
                rig.expect_frame("in order", part, passes(State::None));
            }
            let parts = twenty_kilobytes(family, 2);
            for part in parts[1..].iter().rev() {
                rig.expect_frame("backwards", part, passes(State::None));
            }
            rig.expect_frame("the first at last", &parts[0], passes(State::Unreplied));
            let parts = twenty_kilobytes(family, 3);
            rig.expect_frame("the first of another", &parts[0], passes(State::Unreplied));
            for part in parts[1..].iter().rev() {
                rig.expect_frame("backwards behind it", part, passes(State::None));
            }
        }
    }
}

#[test]
fn a_fragment_passes_once() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let packet = family.udp(40_000, 80).payload([7; 100]).identification(1);
            let [first, middle, last] =
                [0..40, 40..80, 80..108].map(|part| packet.build_fragment(part));
            rig.expect_frame("the first", &first, passes(State::Unreplied));
            rig.expect_frame("the middle", &middle, passes(State::None));
            rig.expect_frame("the middle again", &middle, refused());
            rig.expect_frame("the first again", &first, refused().in_state(State::Unreplied));
            rig.expect_frame("the last: it lives", &last, passes(State::None));
        }
    }
}

/// RFC 1858, RFC 3128, RFC 5722.
#[test]
fn fragments_that_overlap_end_their_datagram() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            for (id, (shows, offset, more, len)) in (1..).zip([
                ("over the end of the first", 4, true, 16),
                ("within the header", 1, true, 40),
                ("around the first's last unit", 3, true, 24),
            ]) {
                let packet = family.udp(40_000, 80).payload([7; 200]).identification(id);
                let first = packet.build_fragment(0..40);
                rig.expect_frame("the first", &first, passes(State::Unreplied));
                let over = packet.build_piece(offset, more, &vec![9; len]);
                rig.expect_frame(shows, &over, refused());
                let fine = packet.build_fragment(80..120);
                rig.expect_frame("what would have fit", &fine, refused());
            }
            let packet = family.udp(40_000, 80).payload([7; 100]).identification(9);
            rig.expect_frame("first", &packet.build_fragment(0..40), passes(State::Unreplied));
            rig.expect_frame("last", &packet.build_fragment(80..108), passes(State::None));
            let behind = packet.build_piece(20, false, &[9; 8]);
            rig.expect_frame("another end", &behind, refused());
            rig.expect_frame("the rest", &packet.build_fragment(40..80), refused());
        }
    }
}

/// The first fragment of an answer opens the flow, and is refused all the same.
#[test]
fn a_first_fragment_that_overlaps_is_told_and_counted_once_and_so_is_the_flow_it_opens() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            rig.expect("a request", &family.udp(40_000, 80), passes(State::Unreplied));
            let answer = family.udp_back(80, 40_000).payload([7; 100]).identification(1);
            let first = answer.build_fragment(0..40);
            rig.expect_frame("its answer in fragments", &first, passes(State::Assured));
            rig.expect("another request", &family.udp(40_001, 80), passes(State::Unreplied));
            let answer = family.udp_back(80, 40_001).payload([7; 100]).identification(2);
            let later = answer.build_fragment(32..72);
            rig.expect_frame("the answer's middle", &later, passes(State::None));

            rig.events();
            let first = answer.build_fragment(0..40);
            let in_flow = refused().in_state(State::Assured);
            rig.expect_frame("its first, over the middle", &first, in_flow);
            let told: Vec<_> =
                rig.events().into_iter().map(|event| (event.event, event.reason)).collect();
            let dropped = "FWX_E_FRAGMENT_PACKET_DROPPED".to_owned();
            let [(opened, None), (refused, Some(reason))] = &told[..] else { panic!("{told:?}") };
            assert_eq!((&opened[..], &refused[..]), ("connection_opened", "packet_dropped"));
            assert_eq!(*reason, dropped);
        }
    }
}

#[test]
fn no_fragment_reaches_beyond_the_largest_datagram() {
    const LAST_UNIT: u16 = 8_191;
    let bad = drops(Reason::BadLength);
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let packet = family.udp(40_000, 80).payload([7; 100]).identification(1);
            let first = packet.build_fragment(0..40);
            rig.expect_frame("the first", &first, passes(State::Unreplied));
            let piece = |len| packet.build_piece(LAST_UNIT, false, &vec![7; len]);
            rig.expect_frame("one byte too far", &piece(8), bad);
            rig.expect_frame("up to the end", &piece(7), passes(State::None));
            let odd = packet.build_piece(5, true, &[7; 12]);
            rig.expect_frame("of no whole units, and not the last", &odd, bad);
            let empty = packet.build_piece(5, true, &[]);
            rig.expect_frame("of nothing", &empty, bad);
        }
    }
}

#[test]
fn what_comes_before_its_first_fragment_is_bounded() {
    const EARLY_MAX: u16 = 64;
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let packet = |id| family.udp(40_000, 80).payload([7; 100]).identification(id);
            let piece = |id, offset| packet(id).build_piece(offset, true, &[7; 8]);
            rig.expect_frame("between strangers", &piece(1, 5), refused());
            let first = packet(2).build_fragment(0..40);
            rig.expect_frame("a first one", &first, passes(State::Unreplied));
            for offset in 0..EARLY_MAX {
                rig.expect_frame("an early one", &piece(3, 5 + offset), passes(State::None));
            }
            rig.expect_frame("one more", &piece(3, 5 + EARLY_MAX), refused());
            for gap in 0..8 {
                rig.expect_frame("beside a gap", &piece(4, 5 + 2 * gap), passes(State::None));
            }
            rig.expect_frame("beside too many", &piece(4, 25), refused());
            rig.wait(30 * SECOND);
            rig.expect_frame("when that is long ago", &piece(5, 5), refused());
        }
    }
}

#[test]
fn a_first_fragment_that_is_refused_stops_the_early_ones_too() {
    let policy = "[gateway]\ninterfaces = [\"lan0\"]\ndefault = \"allow\"\n\
        [protocol.bad]\ntransport = \"udp\"\nports = [81]\n\
        [[rule]]\nname = \"no\"\naction = \"deny\"\nprotocols = [\"bad\"]\n";
    let mut rig = Rig::new(policy, Hook::Xdp);
    for family in FAMILIES {
        let good = family.udp(40_000, 80).payload([7; 100]).identification(1);
        rig.expect_frame("a first", &good.build_fragment(0..40), passes(State::Unreplied));
        let bad = family.udp(40_000, 81).payload([7; 100]).identification(2);
        rig.expect_frame("early", &bad.build_fragment(80..108), passes(State::None));
        let denied = drops(Reason::PolicyRulesDenied);
        rig.expect_frame("its first", &bad.build_fragment(0..40), denied);
        rig.expect_frame("the rest", &bad.build_fragment(40..80), refused());
    }
}

/// Its first fragment tells where the segment begins, and nobody where it ends.
#[test]
fn a_segment_in_fragments_is_acknowledged_whole() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let mut talk = Conversation::established(&mut rig, family, 40_000, 80);
            let segment = talk.client_sends("PA", &[7; 1_460]).identification(9);
            let lives = passes(State::Established);
            rig.expect_frame("the first", &segment.build_fragment(0..720), lives);
            let last = segment.build_fragment(720..segment.datagram_len());
            rig.expect_frame("the last", &last, passes(State::None));
            rig.expect("ACK of all of it", &talk.server_sends("A", b""), lives);
            rig.expect("more", &talk.client_sends("PA", b"more"), lives);
            rig.expect("its ACK", &talk.server_sends("A", b""), lives);
        }
    }
}

/// Who reads the one and who reads the other would not agree on what the packet is.
#[test]
fn a_packet_has_one_fragment_header() {
    const FRAGMENT: u8 = 44;
    const FIRST_OF_1: [u8; 6] = [0, 1, 0, 0, 0, 1];
    const WHOLE: [u8; 6] = [0, 0, 0, 0, 0, 2];
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        let packet = Family::V6.udp(5_000, 6_000).payload([7; 8]);
        let twice = packet.extension(FRAGMENT, &FIRST_OF_1).extension(FRAGMENT, &WHOLE);
        rig.expect("two", &twice, drops(Reason::ExtensionHeaders));
    }
}
