//! The filter reads a byte stream: however segments cut it, repeat it or arrive, it finds the same.

use firewall_common::{
    flow::State,
    policy::{Mode, Profile},
    reason::Reason,
};
use firewall_user::{event::Filter, replay::Hook};
use lab::{
    Packet,
    replaying::{
        Conversation, Expected, FAMILIES, Family, OPTIONS, REPLY, REPLY_WITHOUT_CSEQ, RTSP_PORT,
        RTSP_PROTOCOL, Rig, drops, passes, resets, rtsp_policy,
    },
};

const HOOKS: [Hook; 2] = [Hook::Xdp, Hook::Tc];
/// Offered by the server; media may follow.
const SETUP_REPLY: &[u8] = b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nSession:        7083\r\n\r\n";

fn lives() -> Expected {
    passes(State::Established)
}

fn killed() -> Expected {
    resets(Reason::ConnectionKilled).in_state(State::Killed)
}

fn held() -> Expected {
    drops(Reason::FilterSegmentHeld).in_state(State::Established)
}

/// A segment of the server's that begins `at` bytes into its stream, which begins with `start`.
fn server_at(talk: &Conversation, start: u32, at: usize, payload: &[u8]) -> Packet {
    Packet::tcp(talk.server(), talk.client())
        .flags("PA")
        .seq(start.wrapping_add(at as u32))
        .ack(talk.client_next())
        .payload(payload)
}

/// What the filter has said since last asked.
fn findings(rig: &mut Rig) -> Vec<Filter> {
    rig.events().into_iter().filter_map(|event| event.filter).collect()
}

#[test]
fn a_reply_cut_at_any_byte_gives_the_same_finding() {
    let stream = [REPLY, REPLY_WITHOUT_CSEQ, REPLY].concat();
    for hook in HOOKS {
        let mut rig = Rig::new(&rtsp_policy("monitor", "strict"), hook);
        for family in FAMILIES {
            let mut ports = 1000..;
            let mut port = || ports.next().expect("there are enough ports");
            let talk = Conversation::established(&mut rig, family, port(), RTSP_PORT);
            let start = talk.server_next();
            rig.expect("the whole stream", &server_at(&talk, start, 0, &stream), lives());
            let whole = findings(&mut rig);
            let [finding] = &whole[..] else { panic!("one finding, not {whole:#?}") };
            assert_eq!(finding.finding, "missing-cseq");
            assert_eq!(finding.offset, REPLY.len() as u64);
            assert_eq!(finding.excerpt, "RTSP/1.0 200 OK");

            for cut in 1..stream.len() {
                let talk = Conversation::established(&mut rig, family, port(), RTSP_PORT);
                for (at, part) in [(0, &stream[..cut]), (cut, &stream[cut..])] {
                    let shows = format!("cut at {cut}, the part at {at}");
                    rig.expect(&shows, &server_at(&talk, start, at, part), lives());
                }
                assert_eq!(findings(&mut rig), whole, "{hook:?} {family:?}: cut at {cut}");
            }
        }
    }
}

#[test]
fn a_reply_cut_at_any_byte_dies_with_the_byte_that_completes_the_offence() {
    /// Behind the blank line after the headers: then it is clear that there is no CSeq.
    fn decided_at() -> usize {
        let end = REPLY_WITHOUT_CSEQ.windows(4).position(|window| window == b"\r\n\r\n");
        // The CR of the blank line decides.
        end.expect("the reply has a blank line") + 3
    }
    let mut rig = Rig::new(&rtsp_policy("enforce", "strict"), Hook::Xdp);
    let mut ports = 1000..;
    for cut in 1..REPLY_WITHOUT_CSEQ.len() {
        let port = ports.next().expect("there are enough ports");
        let talk = Conversation::established(&mut rig, Family::V6, port, RTSP_PORT);
        let start = talk.server_next();
        let (front, rest) = REPLY_WITHOUT_CSEQ.split_at(cut);
        let front = server_at(&talk, start, 0, front);
        if cut < decided_at() {
            rig.expect(&format!("the front, {cut} bytes"), &front, lives());
            let rest = server_at(&talk, start, cut, rest);
            rig.expect(&format!("the rest from {cut}"), &rest, killed());
        } else {
            rig.expect(&format!("the front, {cut} bytes"), &front, killed());
        }
        let found = findings(&mut rig);
        let [finding] = &found[..] else { panic!("one finding, not {found:#?}") };
        assert_eq!((finding.offset, finding.excerpt.as_str()), (0, "RTSP/1.0 200 OK"), "{cut}");
    }
}

#[test]
fn one_byte_a_segment_gives_the_same_finding() {
    let mut rig = Rig::new(&rtsp_policy("monitor", "standard"), Hook::Tc);
    let talk = Conversation::established(&mut rig, Family::V4, 40_000, RTSP_PORT);
    let start = talk.server_next();
    for (at, byte) in REPLY_WITHOUT_CSEQ.iter().enumerate() {
        rig.expect("a byte", &server_at(&talk, start, at, &[*byte]), lives());
    }
    let found = findings(&mut rig);
    let [finding] = &found[..] else { panic!("one finding, not {found:#?}") };
    assert_eq!((finding.finding.as_str(), finding.offset), ("missing-cseq", 0));
}

#[test]
fn replies_in_one_segment_are_each_read() {
    for hook in HOOKS {
        let mut rig = Rig::new(&rtsp_policy("monitor", "strict"), hook);
        for family in FAMILIES {
            let talk = Conversation::established(&mut rig, family, 40_000, RTSP_PORT);
            let stream = [REPLY_WITHOUT_CSEQ, REPLY, REPLY_WITHOUT_CSEQ].concat();
            let segment = server_at(&talk, talk.server_next(), 0, &stream);
            rig.expect("three replies", &segment, lives());
            let offsets: Vec<_> = findings(&mut rig).iter().map(|found| found.offset).collect();
            let third = (REPLY_WITHOUT_CSEQ.len() + REPLY.len()) as u64;
            assert_eq!(offsets, [0, third], "{hook:?} {family:?}");
        }
    }
}

#[test]
fn what_is_repeated_is_not_read_again() {
    for hook in HOOKS {
        let mut rig = Rig::new(&rtsp_policy("monitor", "strict"), hook);
        for family in FAMILIES {
            let talk = Conversation::established(&mut rig, family, 40_000, RTSP_PORT);
            let start = talk.server_next();
            let reply = server_at(&talk, start, 0, REPLY_WITHOUT_CSEQ);
            rig.expect("a reply", &reply, lives());
            assert_eq!(findings(&mut rig).len(), 1);
            rig.expect("the same again", &reply, lives());
            let tail = server_at(&talk, start, 30, &REPLY_WITHOUT_CSEQ[30..]);
            rig.expect("a part of it", &tail, lives());
            let alive = server_at(&talk, start, REPLY_WITHOUT_CSEQ.len() - 1, b"!");
            rig.expect("a keep-alive's old byte, changed", &alive, lives());
            assert_eq!(findings(&mut rig), [], "{hook:?} {family:?}");
            // Old bytes in front of new ones.
            let stream = [REPLY_WITHOUT_CSEQ, REPLY_WITHOUT_CSEQ].concat();
            let longer = server_at(&talk, start, 10, &stream[10..]);
            rig.expect("the same and one more", &longer, lives());
            let found = findings(&mut rig);
            let [finding] = &found[..] else { panic!("one finding, not {found:#?}") };
            assert_eq!(finding.offset, REPLY_WITHOUT_CSEQ.len() as u64, "{hook:?} {family:?}");
        }
    }
}

/// Where a message head would begin, both profiles wait; among media only the strict one does.
#[test]
fn a_segment_beyond_a_gap_is_held_back_until_the_gap_is_filled() {
    for hook in HOOKS {
        let mut rig = Rig::new(&rtsp_policy("enforce", "strict"), hook);
        for (port, profile) in [(40_000, Profile::Strict), (40_001, Profile::Standard)] {
            rig.bind(Mode::Enforce, profile);
            for family in FAMILIES {
                let talk = Conversation::established(&mut rig, family, port, RTSP_PORT);
                let start = talk.server_next();
                let stream = [REPLY, REPLY].concat();
                let part =
                    |from: usize, to: usize| server_at(&talk, start, from, &stream[from..to]);
                rig.expect("the third part", &part(80, stream.len()), held());
                rig.expect("the second", &part(20, 80), held());
                rig.expect("the second again", &part(20, 80), held());
                let events = rig.events_of("packet_dropped");
                assert_eq!(events.len(), 3, "{events:#?}");
                for event in events {
                    assert_eq!(event.reason.as_deref(), Some("FWX_E_FILTER_SEGMENT_HELD_BACK"));
                    assert_eq!(event.code.as_deref(), Some("0xc0f00001"));
                    assert!(event.flow_id.is_some());
                }
                rig.expect("the first", &part(0, 20), lives());
                rig.expect("the second, repeated", &part(20, 80), lives());
                rig.expect("the third, repeated", &part(80, stream.len()), lives());
                assert_eq!(findings(&mut rig), [], "{profile:?} {hook:?} {family:?}");
            }
        }
        let counters = rig.tables().filter_counters(RTSP_PROTOCOL).expect("the counters");
        assert_eq!((counters.held, counters.kills), (12, 0), "{hook:?}");
        assert_eq!(rig.count(Reason::FilterSegmentHeld), 12, "{hook:?}");
    }
}

#[test]
fn in_monitor_mode_nothing_is_held_back() {
    let mut rig = Rig::new(&rtsp_policy("monitor", "strict"), Hook::Xdp);
    for family in FAMILIES {
        let talk = Conversation::established(&mut rig, family, 40_000, RTSP_PORT);
        let start = talk.server_next();
        let tail = server_at(&talk, start, REPLY.len(), REPLY_WITHOUT_CSEQ);
        rig.expect("a segment beyond a gap", &tail, lives());
        rig.expect("what was missing", &server_at(&talk, start, 0, REPLY), lives());
    }
    let counters = rig.tables().filter_counters(RTSP_PROTOCOL).expect("the counters");
    assert_eq!(counters.held, 0);
}

#[test]
fn a_loss_among_media_holds_nothing_back_in_the_standard_profile() {
    let frame = |fill: u8| [&[b'$', 0, 0, 100][..], &[fill; 100]].concat();
    let media = [frame(1), frame(2), frame(3)].concat();
    for (profile, expected) in [("standard", lives()), ("strict", held())] {
        let mut rig = Rig::new(&rtsp_policy("enforce", profile), Hook::Xdp);
        for family in FAMILIES {
            let mut talk = Conversation::established(&mut rig, family, 40_000, RTSP_PORT);
            let setup = talk.server_sends("PA", SETUP_REPLY);
            rig.expect("a reply to SETUP", &setup, lives());
            let start = talk.server_next();
            rig.expect("a frame and a half", &server_at(&talk, start, 0, &media[..150]), lives());
            // Bytes 150 to 170 are lost: they end within the second frame.
            let rest = server_at(&talk, start, 170, &media[170..]);
            rig.expect(profile, &rest, expected);
            if profile == "standard" {
                let offence = server_at(&talk, start, media.len(), b"X\r\n\r\n");
                rig.expect("the reader stands behind the frames", &offence, killed());
                let found = findings(&mut rig);
                assert_eq!(found[0].finding, "not-rtsp");
                assert_eq!(found[0].offset, (SETUP_REPLY.len() + media.len()) as u64);
            }
        }
    }
}

#[test]
fn a_filter_that_is_bound_while_a_stream_runs_joins_at_the_next_message() {
    for hook in HOOKS {
        let mut rig = Rig::new(&rtsp_policy("enforce", "strict"), hook);
        for family in FAMILIES {
            rig.unbind();
            let mut talk = Conversation::established(&mut rig, family, 40_000, RTSP_PORT);
            for (shows, packet) in [
                ("OPTIONS", talk.client_sends("PA", OPTIONS)),
                ("half a reply, unread", talk.server_sends("PA", &REPLY_WITHOUT_CSEQ[..30])),
            ] {
                rig.expect(shows, &packet, lives());
            }

            rig.bind(Mode::Enforce, Profile::Strict);
            for (shows, packet) in [
                (
                    "the other half is no message",
                    talk.server_sends("PA", &REPLY_WITHOUT_CSEQ[30..]),
                ),
                ("media bytes prove nothing", talk.server_sends("PA", b"$\0\0\x04abcd")),
                ("nor do others", talk.server_sends("PA", &[0xff; 300])),
                ("a reply by the book", talk.server_sends("PA", REPLY)),
                ("a request by the book", talk.client_sends("PA", OPTIONS)),
            ] {
                rig.expect(shows, &packet, lives());
            }
            assert_eq!(findings(&mut rig), [], "{hook:?} {family:?}: it joined in silence");
            let offence = talk.server_sends("PA", REPLY_WITHOUT_CSEQ);
            rig.expect("from here on it is read", &offence, killed());
            let found = findings(&mut rig);
            let [finding] = &found[..] else { panic!("one finding, not {found:#?}") };
            assert_eq!(finding.finding, "missing-cseq");
            assert_eq!(finding.excerpt, "RTSP/1.0 200 OK");
        }
    }
}

/// Payload that passed while the filter was off leaves no gap for it to wait for.
#[test]
fn what_passes_while_a_filter_is_off_does_not_stall_the_stream_afterwards() {
    let mut rig = Rig::new(&rtsp_policy("enforce", "strict"), Hook::Xdp);
    for (port, profile) in [(40_000, Profile::Strict), (40_001, Profile::Standard)] {
        for family in FAMILIES {
            rig.bind(Mode::Enforce, profile);
            let mut talk = Conversation::established(&mut rig, family, port, RTSP_PORT);
            rig.expect("read", &talk.server_sends("PA", REPLY), lives());
            rig.bind(Mode::Off, profile);
            rig.expect("unread", &talk.server_sends("PA", REPLY), lives());
            rig.bind(Mode::Enforce, profile);
            rig.expect("read again", &talk.server_sends("PA", REPLY), lives());
            assert_eq!(findings(&mut rig), [], "{profile:?} {family:?}");
        }
    }
}

/// 64 KiB segments, as GSO makes them: far more than one page, and read to the last byte.
#[test]
fn a_segment_of_many_pages_is_read_to_its_end_and_can_become_a_rst() {
    let mut rig = Rig::new(&rtsp_policy("enforce", "strict"), Hook::Xdp);
    for (port, len) in [(40_000, 4_000), (40_001, 9_000), (40_002, 60_000)] {
        for family in FAMILIES {
            let mut talk = Conversation::established(&mut rig, family, port, RTSP_PORT);
            let body = format!("RTSP/1.0 200 OK\r\nCSeq: 3\r\nContent-Length: {len}\r\n\r\n");
            let fine = [body.as_bytes(), &vec![b'b'; len]].concat();
            rig.expect("a long body", &talk.server_sends("PA", &fine), lives());
            // Without it the next one would not fit into the window.
            rig.expect("an acknowledgment", &talk.client_sends("A", b""), lives());
            let seq = talk.server_next();
            let offence = [&fine[..], REPLY_WITHOUT_CSEQ].concat();
            let packet = talk.server_sends("PA", &offence);
            let outcome = rig.expect("the offence behind it", &packet, killed());
            let rst = Packet::tcp(talk.server(), talk.client())
                .flags("RA")
                .seq(seq)
                .ack(talk.client_next())
                .window(0);
            assert_eq!(outcome.frame, rst.build(), "{len} bytes, {family:?}");
            let found = findings(&mut rig);
            assert_eq!(found[0].offset, 2 * fine.len() as u64, "{len} bytes, {family:?}");
        }
    }
}
