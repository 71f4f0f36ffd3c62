//! Dialects: noted in the standard profile, killed in the strict one.

use super::*;

fn answered(command: impl AsRef<[u8]>) -> Vec<Turn> {
    after_greeting([
        client(command),
        server("250 Ok\r\n"),
        client("NOOP\r\n"),
        server("250 Ok\r\n"),
    ])
}

fn replied(reply: impl AsRef<[u8]>) -> Vec<Turn> {
    after_greeting([client("NOOP\r\n"), server(reply), client("QUIT\r\n"), server("221 Bye\r\n")])
}

fn dialects() -> Vec<(Vec<Turn>, &'static str)> {
    let text = |text: &[u8]| mail([text, b"\r\n.\r\n"].concat());
    vec![
        (answered("WIZ\r\n"), "unknown-command"),
        (answered("STARTTLSX\r\n"), "unknown-command"),
        (answered("GET well soon\r\n"), "unknown-command"),
        (answered("X-LINK2STATE LAST CHUNK={0000002A}\r\n"), "private-command"),
        (answered("XFORWARD NAME=spike.example ADDR=192.0.2.1\r\n"), "private-command"),
        (answered("EHLO\r\n"), "malformed-command"),
        (answered("RSET now\r\n"), "malformed-command"),
        (answered("NOOP \r\n"), "odd-spacing"),
        (answered("RSET  \r\n"), "odd-spacing"),
        (answered(" RSET\r\n"), "odd-spacing"),
        (answered("EHLO  client.example\r\n"), "odd-spacing"),
        (answered("EHLO\tclient.example\r\n"), "odd-spacing"),
        (answered("MAIL FROM: <a@b>\r\n"), "odd-spacing"),
        (answered("MAIL  FROM:<a@b>\r\n"), "odd-spacing"),
        (answered("RCPT TO:<a@b> \r\n"), "odd-spacing"),
        (answered("MAIL FROM:<a@b>  SIZE=1\r\n"), "odd-spacing"),
        (answered("MAIL FROM:a@b\r\n"), "malformed-path"),
        (answered("MAIL FROM:<a@b\r\n"), "malformed-path"),
        (answered("MAIL FROM <a@b>\r\n"), "malformed-path"),
        (answered("MAIL FROM:<a@b>SIZE=1\r\n"), "malformed-path"),
        (answered("MAIL FROM:<a b@c>\r\n"), "malformed-path"),
        (answered("MAIL TO:<a@b>\r\n"), "malformed-path"),
        (answered("MAIL\r\n"), "malformed-path"),
        (answered("RCPT TO:<>\r\n"), "malformed-path"),
        (answered(format!("RCPT TO:<{}>\r\n", "p".repeat(255))), "long-path"),
        (answered(format!("NOOP {}\r\n", "n".repeat(506))), "long-line"),
        (answered(format!("MAIL FROM:<> X={}\r\n", "x".repeat(2048))), "long-line"),
        (answered("RSET\n"), "bare-line-end"),
        (answered("NOOP a\rb\r\n"), "bare-line-end"),
        (answered("EHLO a\0b\r\n"), "control-character"),
        (answered("EHLO caf\u{e9}\r\n"), "non-ascii-command"),
        (answered("RCPT TO:<caf\u{e9}@b>\r\n"), "non-ascii-command"),
        (replied("250 Ok\n"), "bare-line-end"),
        (replied("250 a\x07b\r\n"), "control-character"),
        (replied("Ok\r\n250 Ok\r\n"), "malformed-reply"),
        (replied("250-Ok\r\nmore\r\n250 Ok\r\n"), "malformed-reply"),
        (replied("250-Ok\r\n251 Ok\r\n"), "malformed-reply"),
        (replied("250:Ok\r\n250 Ok\r\n"), "malformed-reply"),
        (replied("290 Ok\r\n"), "odd-reply-code"),
        (replied("100 Ok\r\n"), "odd-reply-code"),
        (replied("250 Ok\r\n250 Ok\r\n"), "unexpected-reply"),
        (replied(format!("250 {}\r\n", "x".repeat(507))), "long-line"),
        (text(&[b'x'; 999]), "long-text-line"),
        (text(&[b'x'; 3000]), "long-text-line"),
        (text(b"a\0b\0c"), "nul-in-text"),
        (text(b"a\nb\nc"), "bare-line-end"),
        (text(b"a\rb\r.c\n..\nd"), "bare-line-end"),
        (text(b"a\n.hidden\nb"), "bare-line-end"),
        (vec![client("EHLO early.example\r\n"), server("220 mx\r\n250 Ok\r\n")], "early-talker"),
        (
            after_greeting([
                client("AUTH PLAIN AHVzZXIAc2VjcmV0\r\nMAIL FROM:<a@b>\r\n"),
                server("235 Ok\r\n250 Ok\r\n"),
                client("RCPT TO:<c@d>\r\n"),
                server("250 Ok\r\n"),
            ]),
            "out-of-turn",
        ),
    ]
}

#[test]
fn dialects_live_in_the_standard_profile_and_die_in_the_strict_one() {
    for (turns, expected) in dialects() {
        let shows = format!("{expected}: {:?}", turns[turns.len().min(4) - 1]);
        let standard = heard(&turns);
        assert_eq!(standard.names(), [expected], "{shows}");
        assert_eq!(standard.killed_by, None, "{shows}");
        assert_eq!(heard_strictly(&turns).killed_by, Some(expected), "{shows}");
    }
}

#[test]
fn an_empty_line_is_noted_whether_the_server_answers_it_or_not() {
    for answer in ["", "500 5.5.2 Error: bad syntax\r\n"] {
        let mut turns = after_greeting([client("\r\n")]);
        if !answer.is_empty() {
            turns.push(server(answer));
        }
        turns.extend([client("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")]);
        turns.extend([server("250 Ok\r\n250 Ok\r\n354 Go\r\n"), client("x\r\n.\r\n")]);
        turns.extend([server("250 Ok\r\n"), client("STARTTLS\r\n"), server("454 No\r\n")]);
        turns.extend([client("QUIT\r\n"), server("221 Bye\r\n")]);
        let heard = heard(&turns);
        assert_eq!(heard.names(), ["malformed-command"], "{answer:?}");
        assert_eq!(heard.killed_by, None);
    }
}

/// Exim's PIPECONNECT: a client that knows the server sends its commands at once.
#[test]
fn a_client_that_knows_the_server_need_not_wait_for_its_greeting() {
    let heard = heard(&[
        client("EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 3 LAST\r\nabc"),
        server("220 mx\r\n250-mx\r\n250 CHUNKING\r\n250 Ok\r\n250 Ok\r\n250 Ok\r\n"),
    ]);
    assert_eq!(heard.names(), ["early-talker"]);
    assert_eq!(heard.killed_by, None);
}

#[test]
fn exchange_exchanges_its_blob() {
    let heard = heard(&after_greeting([
        client("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nXEXCH50 4 2\r\n"),
        server("250 Ok\r\n250 Ok\r\n354 Send binary data\r\n"),
        client(b"\0\n.\nDATA\r\n".as_slice()),
        server("250 Ok\r\n354 Go\r\n"),
        client("x\r\n.\r\n"),
        server("250 Ok\r\n"),
        client("XEXCH50 4 2\r\n"),
        server("504 Need to authenticate first\r\n"),
        client("QUIT\r\n"),
        server("221 Bye\r\n"),
    ]));
    assert_eq!(heard.names(), ["private-command", "private-command"]);
}

#[test]
fn exchange_servers_have_a_starttls_of_their_own() {
    let heard = heard(&after_greeting([
        client("X-ANONYMOUSTLS\r\n"),
        server("220 2.0.0 SMTP server ready\r\n"),
        client(b"\x16\x03\x01\x02\x00\x01\n".as_slice()),
        server(b"\x16\x03\x03\x00\x7a\x02\r\n".as_slice()),
    ]));
    assert_eq!(heard.names(), ["private-command"]);
}

/// PRDR: Exim answers for each recipient.
#[test]
fn there_may_be_a_reply_for_each_recipient() {
    let mut turns = mail("x\r\n.\r\n");
    turns.pop();
    turns.push(server(
        "353 PRDR content analysis beginning\r\n250 first\r\n550 second\r\n250 OK\r\n",
    ));
    turns.extend(mail("x\r\n.\r\n").split_off(3));
    turns.extend([client("STARTTLS\r\n"), server("454 No\r\n"), client("QUIT\r\n")]);
    assert_eq!(heard(&turns), Heard::default());
}

/// sendmail's VERB.
#[test]
fn preliminary_replies_are_no_answers() {
    let heard = heard(&after_greeting([
        client("VERB\r\n"),
        server("250 Verbose mode\r\n"),
        client("RCPT TO:<a@b>\r\nDATA\r\n"),
        server("050 aliased to c@d\r\n250 Ok\r\n354 Go\r\n"),
        client("x\r\n.\r\n"),
        server("050 c@d... Connecting to local...\r\n250 Ok\r\n"),
        client("STARTTLS\r\n"),
        server("454 No\r\n"),
        client("QUIT\r\n"),
    ]));
    assert_eq!(heard.names(), ["unknown-command", "odd-reply-code", "odd-reply-code"]);
    assert_eq!(heard.killed_by, None);
}

#[test]
fn xclient_begins_the_session_anew() {
    let mut turns = after_greeting([
        client("XCLIENT NAME=spike.example ADDR=192.0.2.1\r\n"),
        server("220 mx.example ESMTP Postfix\r\n"),
        client("EHLO spike.example\r\n"),
        server("250 mx.example\r\n"),
    ]);
    turns.extend(mail("x\r\n.\r\n").split_off(3));
    assert_eq!(heard(&turns).names(), ["private-command"]);
}

#[test]
fn a_finding_shows_its_line_and_comes_once_for_it() {
    let before = b"EHLO client.example\r\n".len() as u64;
    let heard = heard(&answered("MAIL FROM: <a b>\n"));
    let shown: Vec<_> =
        heard.reports.iter().map(|r| (r.name, r.offset, r.excerpt.as_str())).collect();
    assert_eq!(
        shown,
        [
            ("malformed-path", before, "MAIL FROM: <a b>"),
            ("odd-spacing", before, "MAIL FROM: <a b>"),
            ("bare-line-end", before, "MAIL FROM: <a b>"),
        ]
    );
}

#[test]
fn a_finding_in_a_message_tells_where_and_shows_nothing_of_it() {
    let turns = mail("private\r\nlines\r\nand\na\nb\r\n.\r\n");
    let data: usize = turns
        .iter()
        .filter(|turn| turn.0 == crate::flow::Direction::Original)
        .take(2)
        .map(|turn| turn.1.len())
        .sum();
    let heard = heard(&turns);
    let [report] = heard.reports.as_slice() else { panic!("{heard:?}") };
    assert_eq!(report.name, "bare-line-end");
    assert_eq!(report.offset, data as u64 + 16);
    assert_eq!(report.excerpt, "DATA");
}
