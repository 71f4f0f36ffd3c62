//! The grammar of one direction: what follows it, what departs from it, and what is reported about that.

use super::{frame, killed_by, whole};
use crate::filter::rtsp::{BODY_MAX, HEADERS_MAX, METHOD_MAX, Parser, URL_MAX};
use crate::filter::tests::talk::{Report, Talk, client};
use crate::flow::Direction;
use crate::policy::{Mode, Profile};

/// Streams that follow the grammar: nothing may be found in them in any profile.
pub(super) fn clean() -> Vec<(&'static str, Vec<u8>)> {
    let mut play = b"SETUP rtsp://h/s/1 RTSP/1.0\r\nCSeq: 1\r\n\r\n".to_vec();
    for len in [0u16, 3, 1400, u16::MAX] {
        play.extend(frame(7, len));
    }
    play.extend(b"\r\nPLAY rtsp://h/s RTSP/1.0\r\nCSeq: 2\r\n\r\n\r\n");
    play.extend(frame(0, 0x2424));
    let three_times = |request: &str| request.repeat(3).into_bytes();
    vec![
        (
            "a folded Transport, any case of Cseq, blanks around values",
            b"RTSP/1.0 200 OK\r\ncseq:\t3 \r\nSession:        7083\r\nTransport: RTP/AVP;unicast;\r\n \
              client_port=4588-4589\r\n\r\n"
                .to_vec(),
        ),
        ("frames of all sizes on any channel, blank lines before messages", play),
        (
            "a request repeated with credentials",
            three_times(
                "DESCRIBE rtsp://h/s RTSP/1.0\r\nCSeq: 2\r\nAuthorization: Basic dTpw\r\n\r\n",
            ),
        ),
        (
            "replies in one segment",
            three_times("RTSP/1.0 401 Unauthorized\r\nCSeq: 2\r\nWWW-Authenticate: Basic\r\n\r\n"),
        ),
        (
            "a push",
            b"ANNOUNCE rtsp://h/s RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 8\r\n\r\nv=0\r\nSETRECORD \
              rtsp://h/s RTSP/1.0\r\nCSeq: 2\r\n\r\n"
                .to_vec(),
        ),
        (
            "a server that asks its client",
            b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\nOPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\nREDIRECT \
              rtsp://h/s RTSP/1.0\r\nCSeq: 2\r\nLocation: rtsp://i:8554/s\r\n\r\n"
                .to_vec(),
        ),
        (
            "RTSP 2.0",
            b"PLAY_NOTIFY rtsp://h/s RTSP/2.0\r\nCSeq: 9\r\n\r\nRTSP/2.0 200 OK\r\nCSeq: 9\r\n\r\n"
                .to_vec(),
        ),
        (
            "a body that looks like messages",
            b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: 34\r\n\r\n\
              $SETUP rtsp://h/ RTSP/1.0\r\nCSeq:x\r\nRTSP/1.0 404 \r\nCSeq: 3\r\n\r\n"
                .to_vec(),
        ),
    ]
}

/// Streams that depart from the grammar as devices do, and what is noted about them.
pub(super) fn odd() -> Vec<(&'static [u8], Vec<&'static str>)> {
    vec![
        (b"OPTIONS * RTSP/1.0\nCSeq: 1\n\n", vec!["bare-line-end"]),
        (
            b"OPTIONS * RTSP/1.0\rCSeq: 1\r\rOPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
            vec!["bare-line-end"],
        ),
        (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\n", vec!["bare-line-end"]),
        (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r$\0\0\0", vec!["bare-line-end"]),
        (b"X_PING * RTSP/1.0\r\nCSeq: 1\r\n\r\n", vec!["unknown-method"]),
        (b"options * RTSP/1.0\r\nCSeq: 1\r\n\r\n", vec!["unknown-method"]),
        (b"OPTIONS * RTSP/1.1\r\nCSeq: 1\r\n\r\n", vec!["unknown-version"]),
        (b"rtsp/1.0 200 OK\r\nCSeq: 1\r\n\r\n", vec!["unknown-version"]),
        (b"OPTIONS  * RTSP/1.0\r\nCSeq: 1\r\n\r\n", vec!["odd-spacing"]),
        (b"OPTIONS\t* RTSP/1.0\r\nCSeq: 1\r\n\r\n", vec!["odd-spacing"]),
        (b"OPTIONS * RTSP/1.0 \r\nCSeq: 1\r\n\r\n", vec!["odd-spacing"]),
        (b" OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", vec!["odd-spacing"]),
        (b" \r\nOPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", vec!["odd-spacing"]),
        (b"OPTIONS * RTSP/1.0\r\nCSeq : 1\r\n\r\n", vec!["odd-spacing"]),
        (b"PLAY rtsp://h/my film RTSP/1.0\r\nCSeq: 1\r\n\r\n", vec!["odd-spacing"]),
        (b"RTSP/1.0 200\r\nCSeq: 1\r\n\r\n", vec!["odd-spacing"]),
        (b"RTSP/1.0  200 OK\r\nCSeq: 1\r\n\r\n", vec!["odd-spacing"]),
        (b"PLAY /film RTSP/1.0\r\nCSeq: 1\r\n\r\n", vec!["malformed-start-line"]),
        (b"PLAY rtsp://h/\xc3\xa9 RTSP/1.0\r\nCSeq: 1\r\n\r\n", vec!["malformed-start-line"]),
        (b"PLAY RTSP/1.0\r\nCSeq: 1\r\n\r\n", vec!["malformed-start-line"]),
        (b"RTSP/1.0 OK\r\nCSeq: 1\r\n\r\n", vec!["malformed-start-line", "odd-spacing"]),
        (b"OPTIONS * RTSP/1.0\r\nnonsense\r\nCSeq: 1\r\n\r\n", vec!["malformed-header"]),
        (b"OPTIONS * RTSP/1.0\r\n: x\r\nCSeq: 1\r\n\r\n", vec!["malformed-header"]),
        (b"OPTIONS * RTSP/1.0\r\nMy Header: x\r\nCSeq: 1\r\n\r\n", vec!["malformed-header"]),
        (b"OPTIONS * RTSP/1.0\r\nA: \0\r\nCSeq: 1\r\n\r\n", vec!["malformed-header"]),
        (b"OPTIONS * RTSP/1.0\r\n fold of nothing\r\nCSeq: 1\r\n\r\n", vec!["malformed-header"]),
        (b"OPTIONS * RTSP/1.0\r\nCSeq: x\r\n\r\n", vec!["malformed-cseq"]),
        (b"OPTIONS * RTSP/1.0\r\nCSeq: 1 2\r\n\r\n", vec!["malformed-cseq"]),
        (b"OPTIONS * RTSP/1.0\r\nCSeq:\r\n\r\n", vec!["malformed-cseq"]),
        (b"OPTIONS * RTSP/1.0\r\n\r\n", vec!["missing-cseq"]),
        (
            b"GET /s HTTP/1.1\r\nAccept: text/html, Application/X-RTSP-tunnelled\r\n\r\n",
            vec!["http-tunnel"],
        ),
        (
            b"HTTP/1.0 200 OK\r\nContent-Type: application/x-rtsp-tunnelled\r\n\r\nabc",
            vec!["http-tunnel"],
        ),
        (b"HTTP/1.0 401 No\r\nContent-Length: 2\r\n\r\nno", vec!["http-refused"]),
    ]
}

/// Streams that no profile lets live, and why.
pub(super) fn killed() -> Vec<(&'static [u8], &'static str)> {
    vec![
        (b"\x16\x03\x01\x02\x00\x01", "not-rtsp"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not-rtsp"),
        (b"SSH-2.0-OpenSSH_9.6 Debian-1\r\n", "not-rtsp"),
        (b"root@host:~# ", "not-rtsp"),
        (b"ls /\n", "not-rtsp"),
        (b"uid=0(root) gid=0(root)\n", "not-rtsp"),
        (b"220 mail.example ESMTP\r\n", "not-rtsp"),
        (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n\xff", "not-rtsp"),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "http-without-tunnel"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", "http-without-tunnel"),
        (b"CONNECT h:25 HTTP/1.1\r\n", "http-without-tunnel"),
        (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\nGET / HTTP/1.1\r\n", "http-without-tunnel"),
        (b"PLAY * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: -1\r\n\r\n", "bad-content-length"),
        (b"PLAY * RTSP/1.0\r\nCSeq: 1\r\nContent-Length:\r\n\r\n", "bad-content-length"),
        (b"PLAY * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 4294967297\r\n\r\n", "bad-content-length"),
        (
            b"PLAY * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "bad-content-length",
        ),
    ]
}

fn request_with(lines: &str) -> Vec<u8> {
    format!("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n{lines}\r\n").into_bytes()
}

#[test]
fn conversations_by_the_book_live() {
    for (shows, stream) in clean() {
        for profile in Profile::ALL {
            let heard = Talk::new([client(&stream)]).in_profile(profile).whole::<Parser>();
            assert_eq!(heard.reports, [], "{shows}");
        }
    }
}

#[test]
fn odd_devices_are_noted_and_killed_by_the_strict_profile_only() {
    for (stream, expected) in odd() {
        let (heard, shows) = (whole(stream), stream.escape_ascii());
        let mut names = heard.names();
        names.sort_unstable();
        assert_eq!(names, expected, "{shows}");
        assert_eq!(heard.killed_by, None, "{shows}");
        assert!(killed_by(stream, Profile::Strict).is_some(), "{shows}");
    }
}

#[test]
fn what_is_not_rtsp_or_abuse_is_killed() {
    for (stream, expected) in killed() {
        let (heard, shows) = (whole(stream), stream.escape_ascii());
        assert_eq!(heard.names(), [expected], "{shows}");
        assert_eq!(heard.killed_by, Some(expected), "{shows}");
    }
}

#[test]
fn a_recorder_without_cseq_dies_in_the_strict_profile_only() {
    let before = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n";
    let reply = b"RTSP/1.0 200 OK\r\nServer:  Recorder\r\nSession:        7083\r\n\r\n";
    let stream = [before.as_slice(), reply].concat();
    let report = Report {
        direction: Direction::Original,
        name: "missing-cseq",
        offset: before.len() as u64,
        excerpt: "RTSP/1.0 200 OK".into(),
    };
    let heard = whole(&stream);
    assert_eq!((heard.reports, heard.killed_by), (vec![report], None));
    assert_eq!(killed_by(&stream, Profile::Strict), Some("missing-cseq"));
}

#[test]
fn a_finding_about_a_header_shows_that_header() {
    let heard =
        whole(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 12a\r\nUser-Agent: x\r\n\r\n");
    let report = Report {
        direction: Direction::Original,
        name: "bad-content-length",
        offset: 29,
        excerpt: "Content-Length: 12a".into(),
    };
    assert_eq!(heard.reports, [report]);
}

#[test]
fn a_finding_is_reported_once_a_message() {
    let message = b"OPTIONS * RTSP/1.0\nx\nCSeq: 1\ny\n\n";
    let expected = ["bare-line-end", "malformed-header"];
    assert_eq!(whole(message).names(), expected);
    assert_eq!(whole(&message.repeat(2)).names(), [expected, expected].concat());
}

#[test]
fn credentials_are_not_shown() {
    for (header, expected) in [
        ("Authorization: Basic c2VjcmV0\r\n", "Authorization: *"),
        ("proxy-authorization:secret\r\n", "proxy-authorization: *"),
        ("Authorization: Digest\r\n username=\"secret\"\r\n", "Authorization: *"),
        ("Authorization : secret\r\n", "Authorization  *"),
        ("Authorization secret\r\n", "Authorization  *"),
        ("X: rtsp://secret:secret@h/\r\n", "X: rtsp://*@h/"),
    ] {
        // The control character in a continuation line brings the header into a report.
        let stream = request_with(&format!("{header} \0\r\n"));
        let heard = whole(&stream);
        let excerpts: Vec<_> = heard.reports.iter().map(|report| report.excerpt.as_str()).collect();
        assert!(
            excerpts.iter().any(|excerpt| excerpt.starts_with(expected)),
            "{header:?}: {:?}",
            heard.reports
        );
        assert!(excerpts.iter().all(|excerpt| !excerpt.contains("secret")), "{header:?}");
    }
    let heard = whole(b"PLAY rtsp://user:secret@h/s RTSP/1.0\r\n\r\n");
    assert_eq!(heard.reports[0].excerpt, "PLAY rtsp://*@h/s RTSP/1.0");
    let heard = whole(b"PLAY rtsp://user:secret\0");
    assert_eq!(heard.reports[0].excerpt, "PLAY rtsp://*");
}

#[test]
fn limits_are_exact() {
    let method = |len: u16| format!("{} * RTSP/1.0\r\n", "M".repeat(len.into())).into_bytes();
    let url = |len: u16| {
        format!("PLAY rtsp://{} RTSP/1.0\r\n", "u".repeat(usize::from(len) - 7)).into_bytes()
    };
    let value = |len: usize| request_with(&format!("A: {}\r\n", "v".repeat(len)));
    let name = |len: usize| request_with(&format!("{}: 1\r\n", "n".repeat(len)));
    let headers = |count: u16| request_with(&"A: b\r\n".repeat(usize::from(count) - 1));
    let body = |len: u32| request_with(&format!("Content-Length: {len}\r\n"));
    for (finding, within, beyond) in [
        ("line-too-long", method(METHOD_MAX), method(METHOD_MAX + 1)),
        ("line-too-long", url(URL_MAX), url(URL_MAX + 1)),
        ("line-too-long", value(2048), value(2049)),
        ("line-too-long", name(2048), name(2049)),
        ("too-many-headers", headers(HEADERS_MAX), headers(HEADERS_MAX + 1)),
        ("body-too-long", body(BODY_MAX), body(BODY_MAX + 1)),
    ] {
        assert!(!whole(&within).names().contains(&finding), "{finding}");
        assert!(whole(&beyond).names().contains(&finding), "{finding}");
    }
}

#[test]
fn a_line_without_end_is_killed() {
    for endless in ["A", "PLAY rtsp://h/", "OPTIONS * RTSP/1.0\r\nA", "OPTIONS * RTSP/1.0\r\nA: "] {
        let heard = whole(format!("{endless}{}", "x".repeat(5000)).as_bytes());
        assert_eq!(heard.names(), ["line-too-long"], "{endless}");
        assert_eq!(heard.killed_by, Some("line-too-long"));
    }
}

#[test]
fn in_monitor_mode_it_is_told_and_nothing_is_killed() {
    for (stream, expected) in killed() {
        let heard = Talk::new([client(stream)]).in_mode(Mode::Monitor).whole::<Parser>();
        assert_eq!(heard.names(), [expected]);
        assert_eq!(heard.killed_by, None);
    }
}
