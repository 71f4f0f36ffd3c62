//! Interleaved frames.

use super::{asks, frame, grants, lives_unblamed};
use crate::filter::rtsp::Parser;
use crate::filter::tests::talk::{Heard, Talk, Turn, client, server};

/// The SETUP of an interleaved stream.
fn setup() -> [Turn; 2] {
    [
        asks("SETUP", 1, &["Transport: RTP/AVP/TCP;unicast;interleaved=0-1"]),
        grants(1, &["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1"]),
    ]
}

/// What is said about a conversation in whatever cut, but in order: among media a gap passes, and with it what
/// stands in it.
#[track_caller]
fn in_order(turns: impl IntoIterator<Item = Turn>) -> Heard {
    let talk = Talk::new(turns);
    let heard = talk.whole::<Parser>();
    for size in 1..40 {
        let cut = |len: usize| (0..len).step_by(size).map(|at| (at, len.min(at + size))).collect();
        assert_eq!(talk.deliver::<Parser>(cut), heard, "{size}");
    }
    heard
}

#[test]
fn frames_come_before_the_reply_to_play() {
    let play = [asks("PLAY", 2, &["Session: 1"]), server(frame(0, 30)), grants(2, &["Session: 1"])];
    let heard = in_order(setup().into_iter().chain(play));
    assert_eq!((heard.reports.len(), heard.acts.len()), (0, 3));
}

#[test]
fn frames_may_be_empty_and_on_any_channel() {
    let frames = [frame(0, 0), frame(255, 3), frame(0x24, 0x24), frame(7, 0)].concat();
    lives_unblamed(setup().into_iter().chain([server(&frames), client(&frames)]));
}

#[test]
fn a_frame_is_cut_between_its_mark_and_its_length() {
    let stream = [frame(0, 5), frame(1, 300), b"\r\n".to_vec()].concat();
    let talk = Talk::new(setup().into_iter().chain([server(&stream)]));
    for at in 1..9 {
        let heard = talk.deliver::<Parser>(|len| vec![(0, at.min(len)), (at.min(len), len)]);
        assert_eq!(heard.reports, [], "{at}");
    }
}

#[test]
fn a_frame_of_64_kilobytes_over_forty_segments_is_one_frame() {
    let media = [b"$\x00\xff\xff".as_slice(), &[b'R'; 0xffff]].concat();
    let stream = [media, b"RTSP/1.0 200 OK\r\n\r\n".to_vec()].concat();
    let talk = Talk::new(setup().into_iter().chain([server(stream)]));
    let cut = |len: usize| (0..len).step_by(1448).map(|at| (at, len.min(at + 1448))).collect();
    let heard = talk.deliver::<Parser>(cut);
    assert_eq!(heard.names(), ["missing-cseq"]);
    assert_eq!(talk.whole::<Parser>(), heard);
}

#[test]
fn media_that_looks_like_messages_is_media() {
    let text = b"TEARDOWN rtsp://h/s RTSP/1.0\r\nCSeq: 9\r\nSession: 1\r\n\r\n";
    let media = [b"$\0\0".as_slice(), &[text.len() as u8], text].concat();
    let heard = in_order(setup().into_iter().chain([client(&media), server(&media)]));
    assert_eq!((heard.reports.len(), super::deeds(&heard)), (0, vec![]));
}
