//! Conversations that must be killed.

use super::{asks, dies, frame, grants, reply, request, whole};
use crate::filter::pinhole::PINHOLES_MAX;
use crate::filter::rtsp::{INTERLEAVED_BEFORE_SETUP_MAX, Parser, UNANSWERED_MAX};
use crate::filter::tests::talk::{Talk, Turn, client, server};

#[test]
fn ssh_tls_or_a_shell_on_the_port_of_rtsp() {
    for stream in [
        b"SSH-2.0-OpenSSH_9.6 Debian-1\r\n".as_slice(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"root@camera:~# ",
        b"sh: 1: not found\n",
        b"\0\0\0\0",
    ] {
        dies([client(stream)], "not-rtsp");
        dies([server(stream)], "not-rtsp");
    }
}

#[test]
fn a_server_that_speaks_first_and_not_rtsp() {
    for banner in ["220 mail.example ESMTP\r\n", "+OK ready\r\n", "login: \r\n"] {
        dies([server(banner), asks("OPTIONS", 1, &[])], "not-rtsp");
    }
}

#[test]
fn a_shell_behind_proper_requests() {
    dies([asks("OPTIONS", 1, &[]), grants(1, &[]), client("id; uname -a\n")], "not-rtsp");
}

#[test]
fn http_without_the_markers_of_a_tunnel() {
    dies([client("GET / HTTP/1.1\r\nHost: h\r\n\r\n")], "http-without-tunnel");
    dies([client("POST /x HTTP/1.1\r\nContent-Type: text/html\r\n\r\n")], "http-without-tunnel");
    dies([server("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")], "http-without-tunnel");
}

#[test]
fn http_connect() {
    dies([client("CONNECT h:25 HTTP/1.1\r\nHost: h\r\n\r\n")], "http-without-tunnel");
}

#[test]
fn a_line_without_end() {
    for begin in ["A", "PLAY rtsp://h/", "OPTIONS * RTSP/1.0\r\nA", "OPTIONS * RTSP/1.0\r\nA: "] {
        let endless = format!("{begin}{}", "x".repeat(5000));
        dies([client(&endless)], "line-too-long");
        let folded = format!("OPTIONS * RTSP/1.0\r\nA: {}", "x\r\n ".repeat(1500));
        dies([client(&folded)], "line-too-long");
    }
}

#[test]
fn headers_without_end() {
    let endless = format!("OPTIONS * RTSP/1.0\r\n{}", "A: b\r\n".repeat(300));
    dies([client(endless)], "too-many-headers");
}

/// A request of which a few bytes come every now and then.
fn dripped(pause: u64) -> Talk {
    let bytes = request("OPTIONS", 1, &["User-Agent: someone with very much time"]).into_bytes();
    Talk::new(bytes.chunks(10).map(client)).pausing(pause)
}

#[test]
fn a_head_that_is_dripped_in() {
    assert_eq!(dripped(1).every_way::<Parser>().names(), [""; 0]);
    let heard = dripped(10).every_way::<Parser>();
    assert_eq!(heard.killed_by, Some("head-too-slow"));
    assert_eq!(heard.reports[0].excerpt, "OPTIONS rtsp://10.2.0.2/film RTSP/1.0");
}

#[test]
fn a_first_line_that_is_dripped_in_does_not_show_its_password() {
    let talk = Talk::new([client("PLAY rtsp://user:secret"), client("x")]).pausing(31);
    let heard = talk.whole::<Parser>();
    assert_eq!(heard.killed_by, Some("head-too-slow"));
    assert_eq!(heard.reports[0].excerpt, "PLAY rtsp://*");
}

#[test]
fn a_length_that_is_negative_overflows_or_contradicts_itself() {
    for lengths in [
        ["Content-Length: -1"].as_slice(),
        &["Content-Length: 4294967295"],
        &["Content-Length: 18446744073709551617"],
        &["Content-Length: 0x10"],
        &["Content-Length: 1", "Content-Length: 2"],
        &["Content-Length: 1, 2"],
    ] {
        dies([asks("SET_PARAMETER", 1, lengths)], "bad-content-length");
    }
}

#[test]
fn more_requests_than_the_limit_without_a_reply() {
    let flood = |count: u32| (1..=count).map(|cseq| asks("OPTIONS", cseq, &[])).collect::<Vec<_>>();
    let within = Talk::new(flood(UNANSWERED_MAX)).whole::<Parser>();
    assert_eq!(within.names(), [""; 0]);
    let beyond = Talk::new(flood(UNANSWERED_MAX + 1)).whole::<Parser>();
    assert_eq!(beyond.killed_by, Some("too-many-requests"));
    let at_once: Vec<u8> = flood(UNANSWERED_MAX + 1).into_iter().flat_map(|turn| turn.1).collect();
    dies([client(at_once)], "too-many-requests");
}

#[test]
fn a_flood_of_setups() {
    let wanted = "Transport: RTP/AVP;unicast;client_port=5000-5001";
    let flood = (1..=UNANSWERED_MAX + 1).map(|cseq| asks("SETUP", cseq, &[wanted]));
    assert_eq!(Talk::new(flood).whole::<Parser>().killed_by, Some("too-many-requests"));
    let both = Talk::new(setups(PINHOLES_MAX / 2 + 1)).whole::<Parser>();
    assert_eq!(both.killed_by, Some("too-many-pinholes"));
    assert_eq!(both.opened().len() as u32, PINHOLES_MAX / 2);
    let within = Talk::new(setups(PINHOLES_MAX / 2)).whole::<Parser>();
    assert_eq!(within.names(), [""; 0]);
}

/// Pairs of ports that are asked for and granted one by one, all in one session.
fn setups(count: u32) -> Vec<Turn> {
    let mut turns = Vec::new();
    for n in 1..=count {
        let wanted =
            format!("Transport: RTP/AVP;unicast;client_port={}-{}", 5000 + 2 * n, 5001 + 2 * n);
        let granted = format!("{wanted};server_port=7000-7001");
        turns.extend([asks("SETUP", n, &[&wanted]), grants(n, &[&granted, "Session: 1"])]);
    }
    turns
}

#[test]
fn media_without_end_before_any_setup() {
    let flood = frame(0, 1020).repeat(INTERLEAVED_BEFORE_SETUP_MAX as usize / 1024);
    assert_eq!(whole(&flood).reports, []);
    let more = [flood, frame(0, 0).repeat(9)].concat();
    assert_eq!(whole(&more).killed_by, Some("interleaved-before-setup"));
    // Either end shows that there was a SETUP.
    let wanted = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1";
    let answered = server(reply("200 OK", 3, &["Session: 7083"]));
    for before in [asks("SETUP", 3, &[wanted]), answered] {
        let talk = Talk::new([before, server(&more), client(&more)]);
        assert_eq!(talk.whole::<Parser>().reports, []);
    }
}
