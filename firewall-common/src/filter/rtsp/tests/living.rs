//! Conversations that must live in the standard profile, and that nothing but a note may be made of.

use super::{
    asks, deeds, frame, grants, judged_to_live, lives, lives_unblamed, opened, reply, request,
    server_asks,
};
use crate::filter::drive::{Drive, Passage};
use crate::filter::rtsp::Parser;
use crate::filter::tests::talk::{Act, FIRST, Talk, Turn, client, scenes, server};
use crate::flow::Direction;
use crate::policy::{Mode, Profile};

const WANTED: &str = "Transport: RTP/AVP;unicast;client_port=4588-4589";
const GRANTED: &str = "Transport: RTP/AVP;unicast;client_port=4588-4589;server_port=6256-6257";

/// A film from the first question to the end, over UDP.
fn film() -> Vec<Turn> {
    vec![
        asks("OPTIONS", 1, &[]),
        grants(1, &["Public: DESCRIBE, SETUP, TEARDOWN, PLAY, PAUSE"]),
        asks("DESCRIBE", 2, &["Accept: application/sdp"]),
        grants(2, &["Content-Type: application/sdp", "Content-Length: 0"]),
        asks("SETUP", 3, &[WANTED]),
        grants(3, &[GRANTED, "Session: 12345678;timeout=60"]),
        asks("PLAY", 4, &["Session: 12345678", "Range: npt=0-"]),
        grants(4, &["Session: 12345678", "RTP-Info: url=rtsp://10.2.0.2/film;seq=1;rtptime=2"]),
        asks("TEARDOWN", 5, &["Session: 12345678"]),
        grants(5, &[]),
    ]
}

#[test]
fn a_setup_cut_at_any_byte() {
    let heard = lives_unblamed(film());
    assert_eq!(deeds(&heard), [Act::Open, Act::Close]);
    for setup in [asks("SETUP", 3, &[WANTED]), grants(3, &[GRANTED, "Session: 1"])] {
        for at in 1..setup.1.len() {
            let talk = Talk::new(film());
            assert_eq!(
                talk.deliver::<Parser>(|len| vec![(0, at.min(len)), (at.min(len), len)]),
                heard
            );
        }
    }
}

#[test]
fn cseq_in_any_case_and_blanks_around_values() {
    lives_unblamed([
        client("OPTIONS * RTSP/1.0\r\nCseq: 1\r\n\r\n"),
        server("RTSP/1.0 200 OK\r\ncseq:\t1  \r\nSession:        7083\r\n\r\n"),
        client("PLAY rtsp://h/s RTSP/1.0\r\nCSEQ:2\r\nSession:7083\r\n\r\n"),
        server("RTSP/1.0 200 OK\r\nCSeq:    2\r\nSession:        7083\r\n\r\n"),
    ]);
}

#[test]
fn a_folded_transport() {
    let heard = lives_unblamed([
        asks("SETUP", 1, &["Transport: RTP/AVP;unicast;\r\n client_port=4588-4589"]),
        grants(
            1,
            &["Transport: RTP/AVP;\r\n\tunicast;client_port=4588-4589\r\n ;server_port=6256-6257"],
        ),
    ]);
    assert_eq!(opened(&heard), [(4588, 6256, 2)]);
}

#[test]
fn lf_alone_ends_lines() {
    let lf = |(direction, bytes): Turn| {
        (direction, String::from_utf8(bytes).unwrap().replace("\r\n", "\n").into_bytes())
    };
    let heard = lives(film().into_iter().map(lf));
    assert_eq!(deeds(&heard), [Act::Open, Act::Close]);
    assert!(heard.names().iter().all(|name| *name == "bare-line-end"));
}

#[test]
fn blank_lines_before_requests_and_frames() {
    let play = [b"\r\n\r\n".as_slice(), request("PLAY", 2, &[]).as_bytes()].concat();
    let frames = [b"\r\n".as_slice(), &frame(0, 9), b"\n\r\n", &frame(1, 2)].concat();
    lives_unblamed([
        asks("SETUP", 1, &["Transport: RTP/AVP/TCP;interleaved=0-1"]),
        grants(1, &["Transport: RTP/AVP/TCP;interleaved=0-1", "Session: 1"]),
        client(play),
        server(frames),
    ]);
}

#[test]
fn a_request_again_and_again_with_credentials() {
    let refused = [
        "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"",
        "WWW-Authenticate: Basic realm=\"r\"",
    ];
    let mut turns = Vec::new();
    for round in 0..3 {
        let credentials = format!("Authorization: Digest username=\"u\", response=\"{round}\"");
        turns.extend([
            asks("SETUP", 2 * round + 1, &[WANTED]),
            server(reply("401 Unauthorized", 2 * round + 1, &refused)),
            asks("SETUP", 2 * round + 2, &[WANTED, &credentials]),
        ]);
        turns.push(match round {
            2 => grants(6, &[GRANTED, "Session: 1"]),
            _ => server(reply("401 Unauthorized", 2 * round + 2, &refused)),
        });
    }
    assert_eq!(opened(&lives_unblamed(turns)), [(4588, 6256, 2)]);
}

#[test]
fn a_request_with_credentials_under_the_same_cseq() {
    let heard = lives_unblamed([
        asks("SETUP", 3, &[WANTED]),
        server(reply("401 Unauthorized", 3, &["WWW-Authenticate: Basic realm=\"r\""])),
        asks("SETUP", 3, &[WANTED, "Authorization: Basic dTpw"]),
        grants(3, &[GRANTED, "Session: 1"]),
    ]);
    assert_eq!(opened(&heard), [(4588, 6256, 2)]);
}

#[test]
fn setups_in_a_pipeline_and_replies_in_one_segment() {
    let track = |n: u32| {
        format!("Transport: RTP/AVP;unicast;client_port={}-{}", 5000 + 2 * n, 5001 + 2 * n)
    };
    let asked: String = (0..4).map(|n| request("SETUP", n, &[&track(n)])).collect();
    let answered: String = (0..4)
        .map(|n| {
            let granted = format!("{};server_port={}-{}", track(n), 7000 + 2 * n, 7001 + 2 * n);
            reply("200 OK", n, &[&granted, "Session: 1"])
        })
        .collect();
    let heard = lives_unblamed([client(asked), server(answered)]);
    assert_eq!(
        opened(&heard),
        [(5000, 7000, 2), (5002, 7002, 2), (5004, 7004, 2), (5006, 7006, 2)]
    );
}

#[test]
fn a_push_by_announce_and_record() {
    let sdp = "v=0\r\nm=video 0 RTP/AVP 96\r\n";
    let announce = request("ANNOUNCE", 1, &[&format!("Content-Length: {}", sdp.len())]) + sdp;
    let heard = lives_unblamed([
        client(announce),
        grants(1, &[]),
        asks("SETUP", 2, &[&format!("{WANTED};mode=record")]),
        grants(2, &[&format!("{GRANTED};mode=\"RECORD\""), "Session: 1"]),
        asks("RECORD", 3, &["Session: 1"]),
        grants(3, &["Session: 1"]),
    ]);
    assert_eq!(opened(&heard), [(4588, 6256, 2)]);
}

#[test]
fn a_server_that_asks_its_client() {
    lives_unblamed([
        server_asks("OPTIONS", 1, &[]),
        client(reply("200 OK", 1, &[])),
        asks("OPTIONS", 1, &[]),
        server_asks("REDIRECT", 2, &["Location: rtsp://10.2.0.3/film"]),
        grants(1, &[]),
        client(reply("200 OK", 2, &[])),
        server_asks("ANNOUNCE", 3, &["Session: 1"]),
        client(reply("200 OK", 3, &[])),
    ]);
}

#[test]
fn a_server_of_rtsp_2_that_notifies() {
    lives_unblamed([
        server(
            "PLAY_NOTIFY rtsp://h/s RTSP/2.0\r\nCSeq: 9\r\nSession: 1\r\nNotify-Reason: end-of-stream\r\n\r\n",
        ),
        client("RTSP/2.0 200 OK\r\nCSeq: 9\r\n\r\n"),
    ]);
}

#[test]
fn an_unknown_method() {
    let heard = lives([asks("X_PING", 1, &[]), grants(1, &[])]);
    assert_eq!(heard.names(), ["unknown-method"]);
}

#[test]
fn pause_and_play_again() {
    let mut turns = film();
    let end = turns.split_off(8);
    for cseq in [10, 12, 14] {
        turns.extend([
            asks("PAUSE", cseq, &["Session: 12345678"]),
            grants(cseq, &["Session: 12345678"]),
            asks("PLAY", cseq + 1, &["Session: 12345678"]),
            grants(cseq + 1, &["Session: 12345678"]),
        ]);
    }
    turns.extend(end);
    assert_eq!(deeds(&lives_unblamed(turns)), [Act::Open, Act::Close]);
}

#[test]
fn keep_alive_every_25_seconds_for_an_hour_and_media_over_udp() {
    for (answered, pause) in [(true, 12), (false, 25)] {
        let mut turns = film();
        turns.truncate(8);
        for cseq in 10..10 + 3600 / 25 {
            turns.push(asks("GET_PARAMETER", cseq, &["Session: 12345678"]));
            if answered {
                turns.push(grants(cseq, &["Session: 12345678"]));
            }
        }
        let talk = Talk::new(turns).pausing(pause);
        let heard = talk.whole::<Parser>();
        assert_eq!((heard.killed_by, heard.reports.len()), (None, 0));
        let alive = heard.acts.iter().filter(|(act, _)| *act == Act::Alive).count();
        assert!(alive > 3600 / 25);
    }
}

#[test]
fn a_control_connection_that_is_silent_for_an_hour() {
    let talk = Talk::new(film()).pausing(3600);
    assert_eq!(deeds(&judged_to_live(&talk)), [Act::Open, Act::Close]);
}

#[test]
fn a_body_in_a_segment_of_its_own() {
    let sdp = "v=0\r\ns=SETUP rtsp://h/s RTSP/1.0\r\na=control:TEARDOWN\r\n$\r\n\r\nSETUP\r\n";
    let length = format!("Content-Length: {}", sdp.len());
    lives_unblamed([
        asks("DESCRIBE", 1, &[]),
        grants(1, &["Content-Type: application/sdp", &length]),
        server(sdp),
        asks("SET_PARAMETER", 2, &[&length]),
        client(sdp),
        grants(2, &[]),
    ]);
}

#[test]
fn a_filter_bound_while_the_stream_runs() {
    let sdp: &[u8] = b"he middle of something\r\nCSeq: 5\r\n\r\n";
    let turns = [
        server(sdp),
        client(b"\xff\xfe"),
        server(frame(0, 400)),
        asks("GET_PARAMETER", 77, &["Session: 1"]),
        grants(77, &["Session: 1"]),
        asks("SETUP", 78, &[WANTED]),
        grants(78, &[GRANTED, "Session: 1"]),
    ];
    for profile in Profile::ALL {
        let mut drive = Drive::<Parser>::joining(Mode::Enforce, profile);
        drive.scenes = scenes();
        let heard = Talk::new(turns.clone()).deliver_to(&mut drive, |len| vec![(0, len)]);
        assert_eq!((heard.reports.len(), heard.killed_by), (0, None));
        assert_eq!(opened(&heard), [(4588, 6256, 2)]);
    }
}

#[test]
fn before_it_has_joined_a_filter_opens_nothing() {
    let mut drive = Drive::<Parser>::joining(Mode::Enforce, Profile::Standard);
    let stream =
        [b"\xff".as_slice(), reply("200 OK", 1, &[GRANTED, "Session: 1"]).as_bytes()].concat();
    let passage = drive.segment(Direction::Reply, FIRST[1], &stream, |_, outcome| {
        panic!("{outcome:?}");
    });
    assert_eq!(passage, Passage::Passed);
}
