//! What clients and servers do say.

use super::*;

const LOGIN: [&str; 2] = [
    "USER anonymous\r\nPASS -wget@\r\n",
    "331 Please specify the password.\r\n230 Login successful.\r\n",
];

#[test]
fn an_anonymous_login() {
    passes(&talk(&[
        ["USER anonymous\r\n", "331 Guest login ok, send your email address as password.\r\n"],
        ["PASS guest@example.org\r\n", "230-Welcome!\r\n230-\r\n230 Logged in.\r\n"],
        ["SYST\r\n", "215 UNIX Type: L8\r\n"],
        ["pwd\r\n", "257 \"/\" is the current directory\r\n"],
        ["TYPE I\r\n", "200 Switching to Binary mode.\r\n"],
        ["CWD /pub/\u{e4}\u{f6}\u{fc}/a b  c\r\n", "250 Directory successfully changed.\r\n"],
        ["SIZE file.tar.gz\r\n", "213 1234567\r\n"],
        ["MDTM file.tar.gz\r\n", "213 20200102030405.678\r\n"],
        ["QUIT\r\n", "221 Goodbye.\r\n"],
    ]));
}

#[test]
fn features_in_a_reply_of_several_lines() {
    passes(&talk(&[
        LOGIN,
        [
            "FEAT\r\n",
            "211-Features:\r\n EPRT\r\n EPSV\r\n MDTM\r\n REST STREAM\r\n UTF8\r\n211 End\r\n",
        ],
        ["OPTS UTF8 ON\r\n", "200 Always in UTF8 mode.\r\n"],
        [
            "STAT\r\n",
            "211-FTP server status:\r\n     Connected to 10.1.0.2\r\n\r\n\t12 o'clock\r\n211 End of status\r\n",
        ],
        ["MLST a\r\n", "250-Listing a\r\n type=file;size=3; a\r\n250 End\r\n"],
    ]));
}

#[test]
fn a_long_banner() {
    let lines: String =
        (0..200).map(|n| format!("220-Line {n} of many. No trespassing!\r\n")).collect();
    let banner = format!("220-\r\n{lines}    220 files so far\r\n\r\n220 Ready.\r\n");
    passes(&Talk::new([server(banner), client("QUIT\r\n"), server("221 Bye\r\n")]));
}

#[test]
fn a_greeting_that_has_one_wait() {
    passes(&Talk::new([
        server("120 Service ready in 1 minutes.\r\n"),
        server("220 Ready.\r\n"),
        client("PASV\r\n"),
        server("227 Entering Passive Mode (10,2,0,2,200,10).\r\n"),
    ]));
}

#[test]
fn a_server_that_is_closing_down() {
    passes(&Talk::new([server("421 Too many users, sorry.\r\n")]));
    passes(&talk(&[LOGIN, ["", "421 Timeout.\r\n"]]));
}

#[test]
fn a_transfer_with_its_two_replies() {
    passes(&talk(&[
        LOGIN,
        ["RETR a\r\n", "150 Opening BINARY mode data connection for a (3 bytes).\r\n"],
        ["", "226 Transfer complete.\r\n"],
        ["STOR b\r\n", "125 Data connection already open; transfer starting.\r\n226 Done.\r\n"],
        ["LIST\r\n", "425 Use PORT or PASV first.\r\n"],
    ]));
}

#[test]
fn an_abort_with_telnet_bytes() {
    let abort: &[u8] = b"\xff\xf4\xff\xf2ABOR\r\n";
    let mut talk = talk(&[LOGIN, ["RETR a\r\n", "150 Opening.\r\n"]]);
    talk.turns.push(client(abort));
    talk.turns.push(server("426 Failure writing network stream.\r\n226 ABOR successful.\r\n"));
    talk.turns.push(client(b"\xff\xfd\x06PASV\r\n"));
    talk.turns.push(server("227 Entering Passive Mode (10,2,0,2,200,10).\r\n"));
    assert_eq!(passes(&talk).opened().len(), 1);
}

#[test]
fn pipelined_commands() {
    let heard = passes(&talk(&[
        LOGIN,
        ["TYPE I\r\nSIZE a\r\nPASV\r\nRETR a\r\nPASV\r\nLIST\r\n", "200 Ok\r\n213 3\r\n"],
        ["", "227 Entering Passive Mode (10,2,0,2,200,10)\r\n150 Opening.\r\n226 Done.\r\n"],
        [
            "NOOP\r\n",
            "227 Entering Passive Mode (10,2,0,2,200,11)\r\n150 Opening.\r\n226 Done.\r\n",
        ],
        ["", "200 NOOP ok\r\n"],
    ]));
    let ports: Vec<u16> = heard.opened().iter().map(|wish| wish.reply_port).collect();
    assert_eq!(ports, [200 << 8 | 10, 200 << 8 | 11]);
}

#[test]
fn tls_is_not_read() {
    let mut talk = talk(&[["AUTH TLS\r\n", "234 Proceed with negotiation.\r\n"]]);
    talk.turns.push(client(b"\x16\x03\x01\x02\x00\x01\x00\nGET / HTTP/1.1\r\n"));
    talk.turns.push(server(b"\x16\x03\x03\x00\x7a\x02\r\n227 (10,9,9,9,0,1)\r\n"));
    talk.turns.push(client(vec![0x17; 10_000]));
    talk.turns.push(server(vec![b'x'; 10_000]));
    assert_eq!(passes(&talk).opened(), []);
}

#[test]
fn other_protection_is_not_read_either() {
    let mut talk =
        talk(&[["AUTH GSSAPI\r\n", "334 Using authentication type GSSAPI; ADAT must follow\r\n"]]);
    talk.turns.push(client("ADAT YIIFBgYJKoZIhvcSAQICAQBuggT1MIIE\r\n"));
    talk.turns.push(server("335 ADAT=YIGXBgkqhkiG9xIBAgIC\r\n"));
    talk.turns.push(client("ENC FwMBACBqd\r\n"));
    talk.turns.push(server("633 FwMBACBqd\r\n"));
    passes(&talk);
}

#[test]
fn a_server_that_refuses_tls() {
    for refusal in
        ["500 Unknown command.\r\n", "530 Please login with USER and PASS.\r\n", "534 No\r\n"]
    {
        let heard = passes(&talk(&[
            ["AUTH TLS\r\n", refusal],
            ["AUTH SSL\r\n", refusal],
            LOGIN,
            ["EPSV\r\n", "229 Entering Extended Passive Mode (|||50000|)\r\n"],
        ]));
        assert_eq!(heard.opened().len(), 1);
    }
}

#[test]
fn blank_lines_and_odd_ends() {
    passes(&talk(&[LOGIN, ["\r\n\r\nNOOP\r\n", "200 ok\r\n\r\n"]]));
    let bare = Talk::new([server("220 Ready\n"), client("USER a\r\n"), server("331 Go on\r\n")]);
    let heard = is_noted(&bare, &["bare-line-end"]);
    assert_eq!(heard.reports[0].excerpt, "220 Ready");
    let bare = talk(&[["USER a\nPASS b\n", "331 Go on\r\r\n230 In\r\n"]]);
    is_noted(&bare, &["bare-line-end", "bare-line-end"]);
    is_noted(&talk(&[["NOOP\r\n", "200 a\rb\r\n"]]), &["bare-line-end"]);
}

#[test]
fn what_departs_a_little() {
    for (said, answered, name) in [
        ("XSHA256 file\r\n", "250 0\r\n", "unknown-command"),
        ("   NOOP\r\n", "200 ok\r\n", "malformed-command"),
        ("N-OP\r\n", "500 what?\r\n", "malformed-command"),
        ("CWD a\x07b\r\n", "550 no\r\n", "control-byte"),
        ("NOOP\r\n", "200\r\n", "malformed-reply"),
        ("NOOP\r\n", "yes\r\n200 ok\r\n", "malformed-reply"),
        ("NOOP\r\n", "200 \x1b[31mok\r\n", "control-byte"),
        ("FEAT\r\n", "211-a\r\n250 b\r\n211 c\r\n", "ambiguous-reply"),
        ("NOOP\r\n", "200 ok\r\n500 OOPS: child died\r\n", "unasked-reply"),
    ] {
        is_noted(&talk(&[LOGIN, [said, answered], ["NOOP\r\n", "200 ok\r\n"]]), &[name]);
    }
}

#[test]
fn a_first_command_that_nobody_knows() {
    is_noted(&talk(&[["CSID Client\r\n", "500 what?\r\n"], LOGIN]), &["unknown-command"]);
}

#[test]
fn long_paths() {
    let path = "d/".repeat(2_040);
    let (said, answered) = (format!("CWD {path}\r\n"), format!("250 Now in {path}\r\n"));
    passes(&talk(&[LOGIN, [&said, &answered]]));
}

#[test]
fn secrets_are_not_shown() {
    for (said, shown) in [
        ("PASS secret\n", "PASS *"),
        ("pass  secret word\n", "pass  *"),
        ("PASS\tsecret\n", "PASS\t*"),
        ("PASS\n", "PASS"),
        ("ACCT secret\n", "ACCT *"),
        ("ADAT c2VjcmV0\n", "ADAT *"),
        ("USER bob\nPASS secret\n", "USER bob"),
        ("NOOP\r\nPASS secret\n", "PASS *"),
        ("PASS a\x01secret\r\n", "PASS *"),
        ("PASSWORD secret\r\n", "PASS*"),
        ("PASS\0secret\r\n", "PASS*"),
        ("P-PASS secret\r\n", "P-PASS *"),
        ("  PASS secret\n", "  PASS *"),
    ] {
        let heard = talk(&[["NOOP\r\n", "200 ok\r\n"], [said, ""]]).every_way::<Parser>();
        assert_eq!(heard.reports[0].excerpt, shown, "{said:?}");
        assert!(heard.reports.iter().all(|report| !report.excerpt.contains("secret")));
    }
}

#[test]
fn a_secret_that_is_killed_in_its_middle_is_not_shown() {
    let long = format!("PASS {}\r\n", "secret".repeat(1_000));
    assert_eq!(is_killed(&talk(&[[&long, ""]]), "line-too-long").reports[0].excerpt, "PASS *");
}
