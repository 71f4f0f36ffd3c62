//! What is not FTP, and what is said to be understood differently by two readers.

use super::*;

#[test]
fn other_protocols_from_the_client() {
    for said in [
        "GET / HTTP/1.1\r\n",
        "POST /upload HTTP/1.1\r\nHost: a\r\n",
        "OPTIONS rtsp://a RTSP/1.0\r\n",
        "CONNECT a:443 HTTP/1.1\r\n",
        "EHLO me\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "{\"jsonrpc\":1}\r\n",
    ] {
        let heard = is_killed(&talk(&[[said, ""]]), "not-ftp");
        assert_eq!(heard.reports[0].excerpt, said.lines().next().unwrap());
    }
    for said in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..], b"\x00\x00", b"\xf0\x9f\x98\x80\r\n"]
    {
        is_killed(&Talk::new([greeting(), client(said)]), "not-ftp");
    }
}

#[test]
fn binary_data_after_commands() {
    let mut talk = talk(&[["USER a\r\n", "331 go on\r\n"]]);
    talk.turns.push(client(b"\x16\x03\x01\x02"));
    is_killed(&talk, "not-ftp");
}

#[test]
fn other_protocols_from_the_server() {
    for said in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/1.1 400 Bad Request\r\n",
        "+OK POP3\r\n",
        "\x16\x03\x01",
        "22\r\n",
        "2200 Ready\r\n",
        "099 Ready\r\n",
        "999 Ready\r\n",
    ] {
        let heard = is_killed(&Talk::new([server(said)]), "not-ftp");
        assert!(said.starts_with(heard.reports[0].excerpt.as_str()));
    }
}

#[test]
fn lines_without_end() {
    let long = "a".repeat(usize::from(super::super::LINE_MAX) + 1);
    is_killed(&talk(&[[&format!("CWD {long}"), ""]]), "line-too-long");
    is_killed(&talk(&[[&format!("NOOP{}", "\r".repeat(5_000)), ""]]), "line-too-long");
    is_killed(&talk(&[["NOOP\r\n", &format!("200 {long}")]]), "line-too-long");
    is_killed(&talk(&[["FEAT\r\n", &format!("211-\r\n{long}")]]), "line-too-long");
}

#[test]
fn a_cr_within_a_command() {
    is_killed(&talk(&[["NOOP\r\n", "200 ok\r\n"], ["CWD a\rDELE a\r\n", ""]]), "bare-cr");
    passes(&talk(&[["CWD a\r\0b\r\n", "250 ok\r\n"]]));
}

#[test]
fn commands_that_the_policy_does_not_allow() {
    let read = only(&["USER", "PASS", "PASV", "RETR", "QUIT"]);
    let reading = talk(&[
        ["user a\r\n", "331 go on\r\n"],
        ["PASV\r\n", "227 Entering Passive Mode (10,2,0,2,200,10)\r\n"],
        ["RETR a\r\n", "150 here\r\n226 done\r\n"],
    ]);
    passes(&with_scene(reading, |scene| scene.commands = read));
    for said in ["STOR a\r\n", "dele a\r\n", "PORT 10,1,0,2,200,10\r\n", "NOOP\r\n", " STOR a\r\n"]
    {
        let talk = with_scene(talk(&[["USER a\r\n", "331 go on\r\n"], [said, ""]]), |scene| {
            scene.commands = read;
        });
        let heard = talk.every_way::<Parser>();
        assert_eq!(heard.killed_by, Some("command-not-allowed"), "{said}");
        assert_eq!(heard.opened(), [], "{said}");
    }
}

#[test]
fn what_nobody_knows_is_not_on_a_list() {
    let talk = with_scene(talk(&[["USER a\r\n", "331 go on\r\n"], ["XDEL a\r\n", ""]]), |scene| {
        scene.commands = only(&["USER"]);
    });
    assert_eq!(talk.every_way::<Parser>().killed_by, Some("command-not-allowed"));
}

#[test]
fn commands_in_front_of_tls() {
    let name = "pipelined-after-auth";
    for said in
        ["AUTH TLS\r\nUSER a\r\n", "NOOP\r\nauth ssl\r\nNOOP\r\n", "AUTH TLS-C\r\n\r\nPBSZ 0\r\n"]
    {
        is_killed(&talk(&[[said, ""]]), name);
    }
    // The reply to the command before is not the one that counts.
    is_killed(&talk(&[["NOOP\r\nAUTH TLS\r\n", "200 ok\r\n"], ["USER a\r\n", ""]]), name);
    // Half a command waits in the server's buffer.
    is_killed(&talk(&[["AUTH TLS\r\nUSER", "234 go on\r\n"], [" a\r\n", ""]]), name);
    let mut eager = talk(&[["AUTH TLS\r\n", ""]]);
    eager.turns.push(client(b"\x16\x03\x01"));
    is_killed(&eager, name);
}

#[test]
fn what_should_be_tls_and_is_not() {
    is_killed(&talk(&[["AUTH TLS\r\n", "234 go on\r\n"], ["USER a\r\n", ""]]), "not-tls");
    is_killed(&talk(&[["AUTH TLS\r\n", "234 go on\r\n220 and on\r\n"]]), "not-tls");
}

#[test]
fn segments_that_disagree() {
    use crate::{
        filter::drive::{Drive, Passage},
        flow::Direction,
    };
    let mut drive = Drive::<Parser>::new(Mode::Enforce, Profile::Standard, [1, 1]);
    let passage = drive.segment(Direction::Original, 1, b"CWD a\r\n", |_, _| {});
    assert_eq!(passage, Passage::Passed);
    let passage = drive.segment(Direction::Original, 1, b"CWD b\r\n", |_, _| {});
    assert_eq!(passage, Passage::Killed(super::super::Finding::SegmentsDisagree as u16));
}
