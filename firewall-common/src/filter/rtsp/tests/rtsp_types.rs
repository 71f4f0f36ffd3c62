//! What the parser of another project reads, the filter lets live: `rtsp-types`, with which GStreamer's clients and
//! servers in Rust read what real devices send.

use proptest::prelude::*;
use rtsp_types::{
    Data, HeaderName, Message, Method, Request, Response, StatusCode, Url, Version, headers,
};

use crate::filter::rtsp::{HEADER_MAX, HEADERS_MAX, METHOD_MAX, Parser, URL_MAX};
use crate::filter::tests::talk::{Talk, client, server};

/// Messages of one turn. Their number is what a client may ask without an answer.
const MESSAGES_MAX: usize = 8;

/// As devices send them; what they are made of is mixed below.
const REALISTIC: [&str; 8] = [
    "OPTIONS rtsp://192.168.1.64:554/Streaming/Channels/101 RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: LibVLC/3.0.18\r\n\r\n",
    "RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: OPTIONS, DESCRIBE, PLAY, PAUSE, SETUP, TEARDOWN, GET_PARAMETER\r\n\
     Date:  Mon, Jan 01 2024 08:00:00 GMT\r\n\r\n",
    "RTSP/1.0 401 Unauthorized\r\nCSeq: 2\r\nWWW-Authenticate: Digest realm=\"IP Camera(10789)\", \
     nonce=\"6b9a455aec675b8db81a9ceb802e4eb8\", stale=\"FALSE\"\r\n\r\n",
    "SETUP rtsp://10.2.0.2/trackID=1 RTSP/1.0\r\nCSeq: 4\r\nTransport: RTP/AVP;unicast;client_port=4588-4589\r\n\r\n",
    "RTSP/1.0 200 OK\r\nCSeq: 4\r\nSession:        1521267155;timeout=60\r\nTransport: RTP/AVP;unicast;\r\n \
     client_port=4588-4589;server_port=8216-8217;ssrc=4a7c2b11;mode=\"play\"\r\n\r\n",
    "ANNOUNCE rtsp://10.2.0.2/live RTSP/1.0\r\nContent-Type: application/sdp\r\nCSeq: 2\r\nContent-Length: 17\r\n\r\n\
     v=0\r\nm=video 0\r\n\r\n",
    "\r\nSET_PARAMETER * RTSP/2.0\r\ncseq:9\r\nX-Dyn\t: late\r\nX-Dyn: late\r\ncontent-length:0\r\n\r\n",
    "RTSP/2.0 454 Session Not Found\r\nCSeq:431\r\n:no name\r\n\r\n$\x01\0\x04RTCP",
];

/// What is put in the midst of them.
const PIECES: [&str; 30] = [
    "\r\n",
    "\r\n ",
    "\r\n\t",
    " ",
    "\t",
    ":",
    ";",
    ",",
    "\"",
    "=",
    "-",
    "/",
    "*",
    "$",
    "$\0\0\x03abc",
    "\0",
    "\x7f",
    "\u{fc}",
    "0",
    "65536",
    "99999999999999999999",
    "X",
    "RTSP/1.0",
    "RTSP/2.0 200 \r\n",
    "HTTP/1.1 200 OK\r\n",
    "rtsp://u:p@[fd00::1]:554/",
    "Content-Length: 0\r\n",
    "Accept: application/x-rtsp-tunnelled\r\n",
    "Transport: RTP/AVP;interleaved=0-1,RTP/SAVP;multicast;destination=224.2.0.1;port=3456\r\n",
    "Session: \r\n",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_global_rejects: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn what_its_builder_makes_lives(turns in turns(built()), cuts in cuts()) {
        check(&turns, &cuts)?;
    }

    #[test]
    fn what_it_reads_of_mutated_text_lives(turns in turns(mutated()), cuts in cuts()) {
        check(&turns, &cuts)?;
    }
}

/// Judges a conversation, if it is one that both parsers have to agree on.
fn check(turns: &[(bool, Vec<u8>)], cuts: &[usize]) -> Result<(), TestCaseError> {
    prop_assume!(turns.iter().all(|(_, said)| agrees(said)));
    for turned in [false, true] {
        let turns =
            turns.iter().map(
                |(by_client, said)| {
                    if *by_client != turned { client(said) } else { server(said) }
                },
            );
        let talk = Talk::new(turns);
        let heard = talk.whole::<Parser>();
        prop_assert_eq!(heard.killed_by, None, "{:?}", heard.reports);
        let bytewise = talk.deliver::<Parser>(|len| (0..len).map(|at| (at, at + 1)).collect());
        prop_assert_eq!(&bytewise, &heard);
        let in_pieces = talk.deliver::<Parser>(|len| pieces(len, cuts));
        prop_assert_eq!(&in_pieces, &heard);
    }
    Ok(())
}

fn pieces(len: usize, cuts: &[usize]) -> Vec<(usize, usize)> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % len).chain([len]).collect();
    ends.sort_unstable();
    ends.dedup();
    let begins = std::iter::once(0).chain(ends.clone());
    begins.zip(ends).filter(|(begin, end)| begin < end).collect()
}

/// Whether it reads the whole of `said` as messages, and none of them is of a kind that the filter kills for good
/// reason.
fn agrees(said: &[u8]) -> bool {
    let mut rest = said;
    let mut messages = 0;
    while !rest.is_empty() {
        let Ok((message, len)) = Message::<Vec<u8>>::parse(rest) else {
            // Blank lines behind the last message are for the next one.
            return rest.chunks(2).all(|end| end == b"\r\n");
        };
        let (read, behind) = rest.split_at(len);
        if is_killed_for_good_reason(&message, read) {
            return false;
        }
        rest = behind;
        messages += 1;
    }
    messages <= MESSAGES_MAX
}

/// What it takes for a message and the filter must not.
fn is_killed_for_good_reason(message: &Message<Vec<u8>>, bytes: &[u8]) -> bool {
    let head_of = |body: &Vec<u8>| &bytes[..bytes.len() - body.len()];
    let (start_is_odd, head) = match message {
        Message::Data(_) => return false,
        Message::Request(request) => {
            let method: &str = request.method().into();
            let url = request.request_uri().map_or(0, |url| url.as_str().len());
            // It takes nothing at all for a method. RFC 2326 §6.1 has at least one byte; a server
            // answers anything else with 400 and cannot know where the next message begins.
            let odd = method.is_empty();
            let too_long = method.len() > usize::from(METHOD_MAX) || url > usize::from(URL_MAX);
            (odd || too_long, head_of(request.body()))
        }
        Message::Response(response) => {
            let reason = response.reason_phrase();
            // It reads a reason up to CRLF, whatever stands there. RFC 2326 §7.1: no CR, LF or other
            // control character, of which the former end the line for lenient clients.
            let odd = reason.bytes().any(|byte| byte != b'\t' && byte.is_ascii_control());
            (odd || reason.len() > usize::from(URL_MAX), head_of(response.body()))
        }
    };
    start_is_odd || has_lone_line_end(head) || !is_within_limits(head) || is_length_odd(head)
}

/// It reads a header's value up to CRLF, even if CR or LF stand in it. Servers and clients that are more lenient end the
/// line there, so the filter does: two of them in a row end the head, and what follows is no message.
fn has_lone_line_end(head: &[u8]) -> bool {
    let text = head.escape_ascii().to_string().replace("\\r\\n", "");
    text.contains("\\r") || text.contains("\\n")
}

/// It has no limits. Servers have, as an endless header is an attack.
fn is_within_limits(head: &[u8]) -> bool {
    let lines = head.split(|byte| *byte == b'\n');
    lines.clone().count() <= usize::from(HEADERS_MAX) && head.len() <= usize::from(HEADER_MAX)
}

/// It takes the first Content-Length and anything that Rust takes for a number: with a plus sign, or with a form feed
/// around it. Others take the last one, or none: where the body ends is then a matter of who reads (RFC 9112 §11.2
/// tells the same of HTTP).
fn is_length_odd(head: &[u8]) -> bool {
    // A value may be folded.
    let head = String::from_utf8_lossy(head).replace("\r\n ", " ").replace("\r\n\t", " ");
    let mut lengths = head.split("\r\n").filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim_matches([' ', '\t']))
    });
    let Some(first) = lengths.next() else { return false };
    let is_number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u32>().is_ok();
    !is_number(first)
        || lengths.any(|other| {
            !is_number(other) || other.parse::<u32>().ok() != first.parse::<u32>().ok()
        })
}

fn turns(messages: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
    let turn = (any::<bool>(), prop::collection::vec(messages, 1..4).prop_map(|all| all.concat()));
    prop::collection::vec(turn, 1..4)
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(any::<usize>(), 0..10)
}

/// A message made by its builder.
fn built() -> impl Strategy<Value = Vec<u8>> {
    let version = prop::sample::select(vec![Version::V1_0, Version::V2_0]);
    let start = (version, "[A-Z_]{1,20}|OPTIONS|SETUP|PLAY|TEARDOWN|ANNOUNCE", 0..1000_u16);
    let body = prop::collection::vec(any::<u8>(), 0..40);
    let parts = (start, url(), prop::collection::vec(header(), 0..6), body, 0..4_u8);
    parts.prop_map(|((version, method, status), url, headers, body, kind)| match kind {
        0 => written(Message::Data(Data::new(status as u8, body))),
        1 => {
            let response = Response::builder(version, StatusCode::from(status));
            let add = |response, (name, value): (HeaderName, String)| {
                rtsp_types::ResponseBuilder::header(response, name, value)
            };
            written(Message::from(headers.into_iter().fold(response, add).build(body)))
        }
        _ => {
            let request = Request::builder(Method::from(method.as_str()), version);
            let request = match url {
                Some(url) => request.request_uri(url),
                None => request,
            };
            let add = |request, (name, value): (HeaderName, String)| {
                rtsp_types::RequestBuilder::header(request, name, value)
            };
            written(Message::from(headers.into_iter().fold(request, add).build(body)))
        }
    })
}

fn url() -> impl Strategy<Value = Option<Url>> {
    let text = "rtspu?://([a-z]{1,8}|[a-z]:p@1\\.2\\.3\\.4|\\[fd00::[0-9]\\])(:[1-9][0-9]{0,3})?/\\PC{0,20}";
    prop::option::of(text.prop_filter_map("it is no URL", |text| Url::parse(&text).ok()))
}

fn header() -> impl Strategy<Value = (HeaderName, String)> {
    let names = [
        headers::CSEQ,
        headers::SESSION,
        headers::TRANSPORT,
        headers::CONTENT_TYPE,
        headers::ACCEPT,
        headers::AUTHORIZATION,
        headers::PUBLIC,
        headers::RTP_INFO,
    ];
    let value = prop_oneof![
        "[0-9]{1,12}",
        "\\PC{0,30}",
        "[0-9A-Za-z]{1,20};timeout=[0-9]{1,12}",
        "RTP/AVP(/TCP|/UDP)?;unicast(;(client_port|server_port|interleaved|ttl)=[0-9]{1,6}(-[0-9]{1,6})?){0,4}",
        "RTP/AVP;(source|destination|src_addr|dest_addr)=\"?[0-9a-f:.]{0,16}\"?(/\"?:[0-9]{1,5}\"?)?",
    ];
    (prop::sample::select(names.to_vec()), value)
}

fn written(message: Message<Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.write(&mut bytes).expect("a vector takes everything");
    bytes
}

/// A message with a change or two.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), 0..4_u8, prop::sample::select(PIECES.to_vec()));
    let changes = prop::collection::vec(change, 0..3);
    (prop::sample::select(REALISTIC.to_vec()), changes).prop_map(|(text, changes)| {
        let mut bytes = text.as_bytes().to_vec();
        for (at, kind, piece) in changes {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] ^= 0x20,
                1 => drop(bytes.remove(at)),
                _ => drop(bytes.splice(at..at, piece.bytes())),
            }
        }
        bytes
    })
}

#[test]
fn where_it_and_the_filter_part_is_known() {
    for (said, alike) in [
        ("OPTIONS * RTSP/1.0\r\n\r\n", true),
        (" rtsp://h/ RTSP/1.0\r\n\r\n", false),
        ("RTSP/1.0 200 O\x01K\r\n\r\n", false),
        ("RTSP/1.0 200 OK\r\nX: a\n\nb\r\n\r\n", false),
        ("RTSP/1.0 200 OK\r\nContent-Length: +1\r\n\r\nx", false),
        ("RTSP/1.0 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", false),
    ] {
        assert!(Message::<Vec<u8>>::parse(said).is_ok_and(|(_, len)| len == said.len()), "{said}");
        assert_eq!(agrees(said.as_bytes()), alike, "{said}");
        let killed = super::killed_by(said.as_bytes(), crate::policy::Profile::Standard);
        assert_eq!(killed.is_none(), alike, "{said}");
    }
}
