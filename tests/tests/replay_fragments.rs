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
