//! Streams that are joined in the middle, and gaps.

use crate::filter::drive::{Drive, Passage};
use crate::filter::finding::Findings;
use crate::filter::parser::{Outcome, Parser as _};
use crate::filter::rtsp::{FINDINGS, Parser};
use crate::filter::tests::talk::FIRST;
use crate::flow::Direction;
use crate::policy::{Mode, Profile};

const ODD: &[u8] = b"PLAY * RTSP/1.0\r\n\r\n";

/// One direction, in segments of the test's choice.
struct Stream {
    drive: Drive<Parser>,
    /// Names and offsets.
    found: Vec<(&'static str, u64)>,
}

impl Stream {
    /// Seen from its SYN.
    fn new(mode: Mode, profile: Profile) -> Self {
        Self { drive: Drive::new(mode, profile, FIRST), found: Vec::new() }
    }

    /// One that already runs.
    fn joining() -> Self {
        let drive = Drive::joining(Mode::Enforce, Profile::Standard);
        Self { drive, found: Vec::new() }
    }

    /// A segment whose first byte is `at` bytes into the stream. Returns whether it passes.
    fn segment(&mut self, at: usize, bytes: &[u8]) -> bool {
        let seq = FIRST[0].wrapping_add(at as u32);
        let found = &mut self.found;
        let note = |parser: &Parser, outcome: Outcome| {
            let mut findings = outcome.found();
            while let Some(code) = findings.first() {
                found.push((FINDINGS[usize::from(code)].name, parser.finding_offset(code)));
                findings = findings.without(Findings::of(code));
            }
        };
        self.drive.segment(Direction::Original, seq, bytes, note) == Passage::Passed
    }

    fn segments<'a>(&mut self, segments: impl IntoIterator<Item = &'a [u8]>) {
        let mut at = 0;
        for bytes in segments {
            assert!(self.segment(at, bytes), "nothing is missing before {at}");
            at += bytes.len();
        }
    }
}

fn joined(segments: &[&[u8]]) -> Vec<&'static str> {
    let mut stream = Stream::joining();
    stream.segments(segments.iter().copied());
    stream.found.iter().map(|(name, _)| *name).collect()
}

#[test]
fn nothing_is_found_before_a_message_is_proven() {
    for segment in [
        b"\x16\x03\x01".as_slice(),
        b"$\x00\x00\x04PLAY * RTSP/1.0\r\n\r\n",
        b"media bytes PLAY * RTSP/1.0\r\n\r\n",
        b"SETUP is a word that a text may begin with\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"X_PING * RTSP/1.0\r\n\r\n",
        b"RTSP/1.0\r\n\r\n",
    ] {
        assert_eq!(joined(&[segment, segment]), [""; 0], "{}", segment.escape_ascii());
        assert_eq!(joined(&[segment, ODD]), ["missing-cseq"], "{}", segment.escape_ascii());
    }
}

#[test]
fn the_proof_may_be_cut_anywhere() {
    for message in [ODD, b"RTSP/1.0 200 OK\r\n\r\n"] {
        for cut in 1..message.len() {
            let (front, back) = message.split_at(cut);
            assert_eq!(joined(&[b"\xff", front, back]), ["missing-cseq"], "{cut}");
        }
        let bytes: Vec<&[u8]> = message.chunks(1).collect();
        assert_eq!(joined(&bytes), ["missing-cseq"]);
    }
}

#[test]
fn media_that_ends_like_a_word_does_not_hide_the_next_message() {
    assert_eq!(joined(&[b"media", ODD]), ["missing-cseq"]);
    assert_eq!(joined(&[b"X", ODD]), ["missing-cseq"]);
}

#[test]
fn after_a_join_media_needs_no_setup() {
    let frame = [b"$\x00\xff\xff".as_slice(), &[0; 0xffff]].concat();
    let mut stream = Stream::joining();
    let message = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n".as_slice();
    stream.segments([message, &frame, &frame, &frame]);
    assert_eq!(stream.found, []);
}

#[test]
fn a_head_with_a_gap_in_it_is_held_until_the_gap_is_filled() {
    let mut stream = Stream::new(Mode::Enforce, Profile::Standard);
    assert!(stream.segment(0, b"PLAY * RT"));
    assert!(!stream.segment(12, b".0\r\n\r\n"));
    assert!(stream.segment(9, b"SP/1"));
    assert_eq!(stream.found, []);
}

#[test]
fn a_gap_inside_a_frame_loses_nothing() {
    let mut stream = Stream::new(Mode::Enforce, Profile::Standard);
    assert!(stream.segment(0, b"$\x00\x00\x10abcd"));
    assert!(stream.segment(12, b"ijklmnop"));
    assert!(stream.segment(8, b"efgh"));
    assert!(stream.segment(20, ODD));
    assert_eq!(stream.found, [("missing-cseq", 20)]);
}

#[test]
fn where_media_flow_a_gap_beyond_a_frame_passes_and_the_parser_rejoins() {
    let mut stream = Stream::new(Mode::Enforce, Profile::Standard);
    let setup = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nSession: 1\r\n\r\n";
    let media = [&[b'$', 0, 0xff, 0xff][..], &[0; 0xffff]].concat();
    let flows = [&setup[..], &media, &media, b"$\x00\x00\x10abcd"].concat();
    let at = flows.len();
    assert!(stream.segment(0, &flows));
    assert!(stream.segment(at + 100, b"\xffmedia"));
    assert!(stream.segment(at + 106, ODD));
    assert_eq!(stream.found, [("missing-cseq", at as u64 + 106)]);
}

/// Else a few bytes of media, and segments in another order than they are meant, would hide anything.
#[test]
fn where_none_flow_a_gap_beyond_a_frame_is_waited_for() {
    let mut stream = Stream::new(Mode::Enforce, Profile::Standard);
    assert!(stream.segment(0, b"$\x00\x00\x10abcd"));
    assert!(!stream.segment(100, b"\xffmedia"));
    assert!(stream.segment(12, b"ijklmnop"), "it ends within the frame");
}

#[test]
fn monitor_mode_holds_nothing() {
    let mut stream = Stream::new(Mode::Monitor, Profile::Strict);
    assert!(stream.segment(0, b"PLAY * RT"));
    assert!(stream.segment(500, ODD));
    assert_eq!(stream.found, [("missing-cseq", 500)]);
}
