//! Connections that were not seen from their start, or of which a part is lost.

use super::*;
use crate::{filter::drive::Drive, flow::Direction};

/// Read from the middle, in the segments that the turns are.
fn joined(turns: impl IntoIterator<Item = Turn>) -> Heard {
    let talk = Talk::new(turns);
    let mut drive = Drive::joining(talk.mode, Profile::Strict);
    drive.scenes = talk.scenes;
    talk.deliver_to::<Parser>(&mut drive, |len| vec![(0, len)])
}

#[test]
fn nothing_is_said_of_what_does_not_prove_itself() {
    let heard = joined([
        client("ret of a line\r\nSTOR\0\r\n"),
        client(b"\x17\x03\x03\x00\x20garbage"),
        client("GET / HTTP/1.1\r\n"),
        client("  USER a\n"),
        server(" EPSV\r\n211 End\r\n"),
        server("of a banner\n220"),
        server("0 no code\n"),
        server(b"\x17\x03\x03"),
    ]);
    assert_eq!(heard, Heard::default());
}

#[test]
fn a_command_and_a_reply_prove_themselves() {
    let heard = joined([
        client("what is left of a line\r\n"),
        client("QUX\r\n"),
        client("PASV\r\n"),
        server("200 rest of what went before\r\n227 (10,2,0,2,195,80)\r\n"),
        client("PASV\r\n"),
        server("227 Entering Passive Mode (10,2,0,2,195,81)\r\n"),
        client("NOOP"),
        client("\r\n"),
        server("211-Features:\r\n"),
        server(" EPSV\r\n211 End\r\n150 unasked\r\n226 unasked\r\n"),
        client("PORT 10,1,0,2,195,82\r\n"),
    ]);
    assert_eq!(heard.reports, []);
    let ports: Vec<_> =
        heard.opened().iter().map(|wish| (wish.reply_port, wish.original_port)).collect();
    assert_eq!(ports, [(50_001, 0), (0, 50_002)]);
}

#[test]
fn a_name_that_is_cut_proves_itself_too() {
    let heard = joined([client("NO"), client("OP"), client("\r\n"), client("a\0b\r\n")]);
    assert_eq!(heard.killed_by, Some("malformed-command"));
}

#[test]
fn tls_after_a_join() {
    let tls = |bytes: &[u8]| [client(bytes), server(bytes)];
    let asked = [client("AUTH TLS\r\n"), server("234 go on\r\n")];
    let unseen = [server("234 go on\r\n")];
    for turns in [&asked[..], &unseen[..]] {
        let rest = tls(b"\x16\x03\x01").into_iter().chain(tls(b"\x17\x03\x03NOOP\r\n"));
        assert_eq!(joined(turns.iter().cloned().chain(rest)), Heard::default());
    }
    let pipelined = joined([client("AUTH TLS\r\n"), client("NOOP\r\n")]);
    assert_eq!(pipelined.killed_by, Some("pipelined-after-auth"));
}

#[test]
fn after_a_loss_a_line_has_to_prove_itself() {
    let mut drive = Drive::<Parser>::new(Mode::Monitor, Profile::Standard, [0, 0]);
    let mut found = 0;
    for (seq, bytes) in [
        (0, &b"USER a\r\nPA"[..]),
        (20, b"cret\r\nand more\0\r\n"),
        (50, b"\x01\r\n"),
        (60, b"NOOP\r\n\x01\r\n"),
    ] {
        drive.segment(Direction::Original, seq, bytes, |_, outcome| {
            found += outcome.found().bits().count_ones();
        });
    }
    assert_eq!(found, 1, "the last one alone follows a command");
}
