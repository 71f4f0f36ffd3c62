//! Credentials are not shown, wherever a report cuts them.

use super::*;

const SECRET: &str = "AHNlY3JldABzZWNyZXQ=";

fn excerpts(turns: Vec<Turn>) -> Vec<String> {
    let heard = heard(&turns);
    assert!(!heard.reports.is_empty(), "{turns:?}");
    heard.reports.into_iter().map(|report| report.excerpt).collect()
}

#[test]
fn credentials_in_a_command_are_not_shown() {
    for (line, expected) in [
        (format!("AUTH PLAIN {SECRET}\n"), "AUTH PLAIN *"),
        (format!("auth  login\t{SECRET}\r\n"), "auth  login\t*"),
        (format!("AUTH PLAIN {SECRET} {SECRET} \r\n"), "AUTH PLAIN *"),
        (format!("AUTH {SECRET}\n"), "AUTH AHNlY3JldABzZWNyZXQ*"),
        (format!("AUTHPLAIN {SECRET}\r\n"), "AUTHPLAIN *"),
        (format!("AUTH=PLAIN {SECRET}\r\n"), "AUTH=PLAIN *"),
        (format!("AUTH PLAIN={SECRET}\n"), "AUTH PLAIN*"),
        (format!("AUTH\0 PLAIN {SECRET}\n"), "AUTH\0 *"),
        (format!("X-EXPS GSSAPI {SECRET}\r\n"), "X-EXPS GSSAPI *"),
        (format!("XAUTH {SECRET}\r\n"), "XAUTH *"),
        (format!("BURL imap://u@h/;urlauth=submit+u:internal:{SECRET} LAST\n"), "BURL *"),
    ] {
        for excerpt in excerpts(after_greeting([client(&line), server("535 No\r\n")])) {
            assert_eq!(excerpt, expected, "{line:?}");
        }
    }
}

#[test]
fn credentials_in_an_exchange_are_not_shown() {
    let turns = after_greeting([
        client("AUTH LOGIN\r\n"),
        server("334 VXNlcm5hbWU6\n"),
        client(format!("{SECRET}\n")),
        server("334 UGFzc3dvcmQ6\n"),
        client(format!("{SECRET}\n")),
        server("235 Ok\r\n"),
    ]);
    assert_eq!(excerpts(turns), ["334 *", "*", "334 *", "*"].map(|s| s.replace("334 *", "334*")));
}

#[test]
fn credentials_before_the_challenge_are_not_shown() {
    let turns = after_greeting([
        client(format!("AUTH LOGIN\r\n{SECRET}\r\n{SECRET}\r\nMAIL FROM:<a@b>\r\n")),
        server("334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n235 Ok\r\n250 Ok\r\n"),
        client("NOOP\n"),
        server("250 Ok\r\n"),
    ]);
    assert_eq!(excerpts(turns), ["*", "*", "*", "NOOP"]);
}

#[test]
fn a_command_is_shown_again_when_the_exchange_is_over() {
    for last in ["235 Ok\r\n", "535 No\r\n", "501 Cancelled\r\n"] {
        let turns = after_greeting([
            client("AUTH PLAIN\r\n"),
            server("334 \r\n"),
            client("*\r\n"),
            server(last),
            client("WIZ x\r\n"),
        ]);
        assert_eq!(excerpts(turns), ["WIZ x"]);
    }
}
