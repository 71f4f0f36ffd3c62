//! Streams that are joined in the middle, and gaps.

use super::driver::Driver;
use crate::policy::{Mode, Profile};

const ODD: &[u8] = b"PLAY * RTSP/1.0\r\n\r\n";

fn joined(segments: &[&[u8]]) -> Vec<&'static str> {
    let mut driver = Driver::joining(Mode::Enforce, Profile::Standard);
    driver.segments(segments.iter().copied());
    driver.names()
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
    let mut driver = Driver::joining(Mode::Enforce, Profile::Standard);
    let message = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n".as_slice();
    driver.segments([message, &frame, &frame, &frame]);
    assert_eq!(driver.reports, []);
}

#[test]
fn a_head_with_a_gap_in_it_is_held_until_the_gap_is_filled() {
    let mut driver = Driver::new(Mode::Enforce, Profile::Standard);
    assert!(driver.segment(0, b"PLAY * RT"));
    assert!(!driver.segment(12, b".0\r\n\r\n"));
    assert!(driver.segment(9, b"SP/1"));
    assert_eq!(driver.reports, []);
}

#[test]
fn a_gap_inside_a_frame_loses_nothing() {
    let mut driver = Driver::new(Mode::Enforce, Profile::Standard);
    assert!(driver.segment(0, b"$\x00\x00\x10abcd"));
    assert!(driver.segment(12, b"ijklmnop"));
    assert!(driver.segment(8, b"efgh"));
    assert!(driver.segment(20, ODD));
    assert_eq!(driver.names(), ["missing-cseq"]);
    assert_eq!(driver.reports[0].offset, 20);
}

#[test]
fn a_gap_beyond_a_frame_passes_and_the_parser_rejoins() {
    let mut driver = Driver::new(Mode::Enforce, Profile::Standard);
    assert!(driver.segment(0, b"$\x00\x00\x10abcd"));
    assert!(driver.segment(100, b"\xffmedia"));
    assert!(driver.segment(106, ODD));
    assert_eq!(driver.names(), ["missing-cseq"]);
    assert_eq!(driver.reports[0].offset, 106);
}

#[test]
fn monitor_mode_holds_nothing() {
    let mut driver = Driver::new(Mode::Monitor, Profile::Strict);
    assert!(driver.segment(0, b"PLAY * RT"));
    assert!(driver.segment(500, ODD));
    assert_eq!(driver.names(), ["missing-cseq"]);
    assert_eq!(driver.reports[0].offset, 500);
}
