//! What no profile lets live.

use super::*;
use crate::policy::Mode;

fn killed(turns: &[Turn], expected: &'static str) {
    let shows = format!("{turns:?}");
    let standard = heard(turns);
    assert_eq!(standard.killed_by, Some(expected), "{shows}: {:?}", standard.names());
    let strict = heard_strictly(turns).killed_by;
    assert!(strict.is_some(), "{shows}");
}

#[test]
fn other_protocols_are_killed() {
    let greeting = server("220 mx.example ESMTP\r\n");
    for line in [
        "GET / HTTP/1.1\r\n",
        "POST /cgi-bin/ HTTP/1.0\r\n",
        "CONNECT mx.example:25 HTTP/1.1\r\n",
        "PRI * HTTP/2.0\r\n",
        "PROPFIND /x HTTP/1.1\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "\x16\x03\x01\x02\x00\x01",
        "\0\0\0\x2f",
        "\u{feff}EHLO",
    ] {
        killed(&[greeting.clone(), client(line)], "not-smtp");
        killed(&[client(line)], "not-smtp");
    }
    killed(&after_greeting([client("\x16\x03\x01\x02\x00\x01")]), "not-smtp");
    killed(&after_greeting([client("PROPFIND /x HTTP/1.1\r\n")]), "not-smtp");
    for line in [
        "HTTP/1.1 400 Bad Request\r\n",
        "SSH-2.0-x\r\n",
        "* OK IMAP4\r\n",
        "+OK POP3\r\n",
        "22 x\r\n",
        "2200\r\n",
        "\r\n",
        "22\r\n",
    ] {
        killed(&[server(line)], "not-smtp");
    }
}

#[test]
fn the_end_of_data_is_not_smuggled() {
    for end in [
        "\n.\n",
        "\n.\r\n",
        "\r\n.\n",
        "\r.\r",
        "\r.\r\n",
        "\r\n.\rx",
        "\n.\r",
        "\r\r.\r\n",
        "\r\n.\r\r\n",
        "\r\n\0.\r\n",
        "\r\n.\0\r\n",
        "\r.\n",
    ] {
        let text = format!("Subject: x\r\n\r\nx{end}MAIL FROM:<root@mx.example>\r\n");
        let turns = mail(text);
        killed(&turns, "smuggled-end-of-data");
        let heard = heard(&turns);
        let report = heard.reports.last().expect("it was killed");
        assert_eq!(report.excerpt, "DATA");
    }
    // And where the message begins.
    killed(&mail(".\n"), "smuggled-end-of-data");
}

#[test]
fn the_right_end_ends_the_message() {
    for text in [".\r\n", "\r\n.\r\n", "x\r\n.\r\n", "x\n\r\n.\r\n", "x\r\r\n.\r\n", "\0\r\n.\r\n"]
    {
        let mut turns = mail(text);
        turns.push(client("WIZ\r\n"));
        assert!(heard(&turns).names().contains(&"unknown-command"), "{text:?}");
    }
}

#[test]
fn a_command_behind_starttls_is_not_injected() {
    let injected = [client("STARTTLS\r\nRSET\r\n"), server("220 Ready\r\n250 Ok\r\n")];
    killed(&after_greeting(injected), "pipelined-after-starttls");
    let behind_others =
        [client("NOOP\r\nSTARTTLS\r\n\r\nRSET\r\n"), server("250 Ok\r\n220 Ready\r\n")];
    killed(&after_greeting(behind_others), "pipelined-after-starttls");
    // A line that servers count differently is no way around it.
    let behind_odd = [client("\r\nSTARTTLS\r\nRSET\r\n"), server("220 Ready\r\n")];
    killed(&after_greeting(behind_odd), "pipelined-after-starttls");
}

#[test]
fn a_chunk_of_unknown_length_is_killed() {
    for line in [
        "BDAT\r\n",
        "BDAT \r\n",
        "BDAT LAST\r\n",
        "BDAT -1\r\n",
        "BDAT +5\r\n",
        "BDAT 0x10\r\n",
        "BDAT 4294967296\r\n",
        "BDAT 99999999999999999999 LAST\r\n",
        "BDAT 5 LASTLY\r\n",
        "BDAT 5 LAST 6\r\n",
        "BDAT 5 6\r\n",
        "BDAT 5\n",
        "BDAT 5\r6\r\n",
        "BDAT 5\0 LAST\r\n",
        "NOOP\nBDAT 5\r\n",
        "AUTH PLAIN\r\nBDAT 5\r\n",
        "AUTH LOGIN\r\nNOOP\r\nBDAT 5\r\n",
    ] {
        killed(&after_greeting([client(line)]), "malformed-bdat");
    }
}

#[test]
fn chunks_go_only_to_servers_that_know_them() {
    let greeting = [
        server("220 mx\r\n"),
        client("EHLO a\r\n"),
        server("250-mx CHUNKING\r\n250 CHUNKINGS\r\n"),
    ];
    // The name of the command that is hidden in the chunk is what the policy may forbid.
    let hidden = client("BDAT 11 LAST\r\nVRFY root\r\n");
    let turns: Vec<_> =
        greeting.into_iter().chain([hidden.clone(), server("500 What?\r\n252 root\r\n")]).collect();
    killed(&turns[..2].iter().chain(&turns[2..]).cloned().collect::<Vec<_>>(), "bdat-unannounced");
    killed(&[server("220 mx\r\n"), hidden.clone()], "bdat-unannounced");
    let early = [
        client("EHLO a\r\nBDAT 11 LAST\r\nVRFY root\r\n"),
        server("220 mx\r\n250 mx\r\n500 What?\r\n252 root\r\n"),
    ];
    killed(&early, "bdat-unannounced");
    let odd_behind = client("EHLO a\r\nBDAT 9\r\n*\r\nVRFY x\r\n");
    killed(&[odd_behind, server("220 mx\r\n250 mx\r\n500 What?\r\n252 x\r\n")], "runs-ahead");
}

#[test]
fn commands_do_not_hide_in_a_message_that_the_server_refused() {
    let turns = after_greeting([
        client("DATA\r\nVRFY root\r\n.\r\n"),
        server("503 Need RCPT\r\n252 root\r\n500 What?\r\n"),
    ]);
    killed(&turns, "data-before-reply");
    // Nor behind a line that servers count differently, before or after.
    let before = after_greeting([client("\r\nDATA\r\nVRFY root\r\n"), server("503 No\r\n")]);
    killed(&before, "runs-ahead");
    let after = after_greeting([client("DATA\r\nVRFY root\r\n.\r\n\r\n"), server("503 No\r\n")]);
    killed(&after, "data-before-reply");
    let again = after_greeting([
        client("DATA\r\nVRFY root\r\n.\r\nDATA\r\nx\r\n.\r\n"),
        server("503 Need RCPT\r\n252 root\r\n500 What?\r\n"),
    ]);
    killed(&again, "data-before-reply");
}

#[test]
fn a_client_that_never_waits_is_killed() {
    killed(&after_greeting([client("AUTH PLAIN x\r\n".repeat(9))]), "runs-ahead");
}

#[test]
fn commands_do_not_hide_behind_credentials() {
    let mut talk = Talk::new(after_greeting([
        client("AUTH PLAIN x\r\nVRFY root\r\n"),
        server("535 No\r\n252 root\r\n"),
    ]));
    talk.scenes[0].commands = !(1 << 8);
    assert_eq!(talk.every_way::<Parser>().killed_by, Some("command-not-allowed"));
}

#[test]
fn a_command_that_the_policy_does_not_allow_is_killed() {
    for (bit, name) in crate::filter::smtp::INFO.commands.iter().enumerate() {
        for line in
            [format!("{name}\r\n"), format!("{} x\r\n", name.to_lowercase()), format!("{name}\n")]
        {
            let mut talk = Talk::new([server("220 mx\r\n"), client(line)]);
            talk.scenes[0].commands = !(1 << bit);
            let heard = talk.every_way::<Parser>();
            assert_eq!(heard.killed_by, Some("command-not-allowed"), "{name}");
            let report = heard.reports.first().expect("there is one");
            assert!(report.excerpt.trim().eq_ignore_ascii_case(name));
        }
    }
}

/// What is said about a conversation too long to be delivered in many ways.
fn heard_once(turns: &[Turn]) -> Heard {
    let talk = Talk::new(turns.to_vec());
    let heard = talk.whole::<Parser>();
    let in_packets =
        |len: usize| (0..len).step_by(1448).map(|at| (at, len.min(at + 1448))).collect();
    assert_eq!(talk.deliver::<Parser>(in_packets), heard);
    heard
}

#[test]
fn lines_without_end_are_killed() {
    let endless = |line: &str, len| client(format!("{line}{}", "x".repeat(len)));
    let auth = |end| vec![client("AUTH PLAIN\r\n"), server("334 \r\n"), end];
    for turns in [
        after_greeting([endless("A", 13_000)]),
        after_greeting([endless("EHLO ", 13_000)]),
        after_greeting([endless("MAIL FROM:<", 13_000)]),
        after_greeting([endless(" ", 13_000)]),
        after_greeting([endless("AUTH PLAIN ", 66_000)]),
        after_greeting(auth(endless("", 66_000))),
        vec![server(format!("220 {}", "x".repeat(5000)))],
    ] {
        assert_eq!(heard_once(&turns).killed_by, Some("line-too-long"));
    }
}

/// Windows' tickets are larger than the RFC thinks.
#[test]
fn a_large_ticket_is_noted_at_most() {
    let heard = heard_once(&after_greeting([
        client("AUTH GSSAPI\r\n"),
        server("334 \r\n"),
        client(format!("{}\r\n", "x".repeat(64_000))),
        server("235 Ok\r\n"),
        client("MAIL FROM:<a@b>\r\n"),
        server("250 Ok\r\n"),
    ]));
    assert_eq!(heard.names(), ["long-line"]);
    assert_eq!(heard.killed_by, None);
}

#[test]
fn monitoring_goes_on_after_what_would_kill() {
    let turns = mail("a\n.\nb\n.\nc\r\n.\r\n");
    let talk = Talk::new(turns.into_iter().chain([client("WIZ\r\n")])).in_mode(Mode::Monitor);
    let heard = talk.whole::<Parser>();
    assert_eq!(heard.names(), ["bare-line-end", "smuggled-end-of-data", "unknown-command"]);
    assert_eq!(heard.killed_by, None);
}

/// A server that cuts lines at a NUL takes this for DATA.
#[test]
fn a_message_behind_a_command_that_only_the_server_understands_is_killed() {
    for odd in ["DATA\0x\r\n", "DATA:\r\n", "NOOP\r\nDATA\0\r\n"] {
        let turns = after_greeting([
            client(odd),
            server("250 Ok\r\n354 Go\r\n".split_at(if odd.starts_with("NOOP") { 0 } else { 8 }).1),
            client("x\n.\n"),
        ]);
        killed(&turns, "unexpected-request");
    }
    // The NOOP was taken for a name, and the second AUTH for its password.
    let login = [client("AUTH LOGIN\r\nNOOP\r\nAUTH PLAIN\r\n"), server("334 a\r\n334 b\r\n")];
    killed(&after_greeting(login), "unexpected-request");
    let tls = after_greeting([client("STARTTLS\r\n"), server("354 What?\r\n")]);
    killed(&tls, "unexpected-request");
}

/// What follows cannot be read, and a client alone could bring it about.
#[test]
fn who_turns_the_connection_around_is_killed() {
    let turns = after_greeting([
        client("ATRN client.example\r\n"),
        server("250 OK now reversing the connection\r\n220 client.example ESMTP\r\n"),
    ]);
    killed(&turns, "turned-around");
}
