//! RTSP through HTTP.

use super::{asks, frame, grants, lives, reply, request};
use crate::filter::rtsp::Parser;
use crate::filter::tests::talk::{Talk, Turn, client, server};

const GET: &str =
    "GET /film HTTP/1.0\r\nx-sessioncookie: c\r\nAccept: application/x-rtsp-tunnelled\r\n\r\n";
const POST: &str = "POST /film HTTP/1.0\r\nx-sessioncookie: c\r\nContent-Type: application/x-rtsp-tunnelled\r\n\
                    Content-Length: 32767\r\n\r\n";
const ACCEPTED: &str = "HTTP/1.0 200 OK\r\nContent-Type: application/x-rtsp-tunnelled\r\n\r\n";
const WANTED: &str = "Transport: RTP/AVP;unicast;client_port=4588-4589";
const GRANTED: &str = "Transport: RTP/AVP;unicast;client_port=4588-4589;server_port=6256-6257";

fn base64(text: impl AsRef<[u8]>) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let quantum = |bytes: &[u8]| {
        let number =
            bytes.iter().chain(&[0; 3]).take(3).fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let sextet = |at: usize| match at <= bytes.len() {
            true => char::from(ALPHABET[number >> (18 - 6 * at) & 63]),
            false => '=',
        };
        [sextet(0), sextet(1), sextet(2), sextet(3)]
    };
    text.as_ref().chunks(3).flat_map(quantum).collect()
}

fn notes(turns: impl IntoIterator<Item = Turn>) -> Vec<&'static str> {
    let heard = lives(turns);
    assert_eq!(heard.acts, [], "in a tunnel nothing acts");
    heard.names()
}

#[test]
fn base64_of_the_tests_is_that_of_the_rfc() {
    for (plain, encoded) in
        [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
    {
        assert_eq!(base64(plain), encoded);
    }
}

#[test]
fn the_server_answers_a_get_with_its_stream() {
    let stream = [
        reply("200 OK", 1, &[]).into_bytes(),
        reply("200 OK", 2, &[GRANTED, "Session: 1"]).into_bytes(),
        frame(0, 300),
        frame(1, 0),
        reply("200 OK", 3, &["Session: 1"]).into_bytes(),
    ];
    let names = notes([client(GET), server(ACCEPTED), server(stream.concat())]);
    assert_eq!(names, ["http-tunnel", "http-tunnel"]);
}

#[test]
fn in_the_servers_stream_departures_are_found() {
    let turns = [client(GET), server(ACCEPTED), server("RTSP/1.0 200 OK\r\n\r\nSSH-2.0\r\n")];
    let heard = Talk::new(turns).every_way::<Parser>();
    assert_eq!(heard.names(), ["http-tunnel", "http-tunnel", "missing-cseq", "not-rtsp"]);
    assert_eq!(heard.killed_by, Some("not-rtsp"));
}

#[test]
fn the_client_posts_its_requests_in_base64() {
    let requests = [
        request("OPTIONS", 1, &[]),
        request("SETUP", 2, &[WANTED]),
        request("GET_PARAMETER", 3, &["Session: 1"]),
        request("TEARDOWN", 4, &["Session: 1"]),
    ];
    let each: String = requests.iter().map(base64).collect();
    let with_line_ends: String = requests.iter().map(|request| base64(request) + "\r\n").collect();
    let folded: String = base64(requests.concat())
        .as_bytes()
        .chunks(60)
        .map(|line| format!("{}\n ", String::from_utf8_lossy(line)))
        .collect();
    for body in [each, with_line_ends, folded, base64(requests.concat())] {
        assert_eq!(notes([client(POST), client(&body)]), ["http-tunnel"], "{body}");
        let at_once = format!("{POST}{body}");
        assert_eq!(notes([client(at_once)]), ["http-tunnel"], "{body}");
    }
}

#[test]
fn in_base64_departures_are_found() {
    let odd = base64("X_PING * RTSP/1.0\r\nCSeq: 1\r\n\r\n");
    let heard = lives([client(POST), client(&odd)]);
    assert_eq!(heard.names(), ["http-tunnel", "unknown-method"]);
    assert_eq!(heard.reports[1].excerpt, "X_PING * RTSP/1.0");
    for shell in
        [base64("id; uname -a\n"), base64("GET / HTTP/1.0\r\nHost: h\r\n\r\n"), base64(POST)]
    {
        let heard = Talk::new([client(POST), client(&shell)]).every_way::<Parser>();
        assert!(heard.killed_by.is_some(), "{shell}");
    }
    let heard =
        Talk::new([client(POST), client("OPTIONS * RTSP/1.0\r\n\r\n")]).every_way::<Parser>();
    assert_eq!(heard.killed_by, Some("not-rtsp"));
}

#[test]
fn a_body_in_base64_is_skipped_by_its_own_length() {
    let body = "SETUP rtsp://h/s RTSP/1.0\r\n\r\n\x16\x03\x01";
    let head = request("SET_PARAMETER", 1, &[&format!("Content-Length: {}", body.len())]);
    let stream = base64(head + body + &request("X_PING", 2, &[]));
    assert_eq!(notes([client(POST), client(stream)]), ["http-tunnel", "unknown-method"]);
}

#[test]
fn a_post_may_be_answered_at_its_end() {
    let stream = base64(request("OPTIONS", 1, &[]));
    let turns =
        [client(POST), client(stream), server("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")];
    assert_eq!(notes(turns), ["http-tunnel", "http-tunnel"]);
}

#[test]
fn a_tunnel_may_be_asked_for_again_with_credentials() {
    let refused = "HTTP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"\r\nContent-Length: 2\r\n\r\nno";
    let turns = [client(GET), server(refused), client(GET), server(ACCEPTED), server(frame(0, 9))];
    let names = notes(turns);
    assert_eq!(names, ["http-tunnel", "http-refused", "http-tunnel", "http-tunnel"]);
}

#[test]
fn floods_of_requests_are_not_counted_in_a_tunnel() {
    let flood: String = (0..200).map(|cseq| base64(request("OPTIONS", cseq, &[]))).collect();
    let heard = Talk::new([client(POST), client(flood)]).whole::<Parser>();
    assert_eq!(heard.names(), ["http-tunnel"]);
}

#[test]
fn after_rtsp_no_tunnel_begins() {
    let turns = [asks("OPTIONS", 1, &[]), grants(1, &[]), client(GET)];
    let heard = Talk::new(turns).every_way::<Parser>();
    assert_eq!(heard.killed_by, Some("http-without-tunnel"));
    let turns = [asks("OPTIONS", 1, &[]), grants(1, &[]), server(ACCEPTED)];
    let heard = Talk::new(turns).every_way::<Parser>();
    assert_eq!(heard.killed_by, Some("http-without-tunnel"));
}
