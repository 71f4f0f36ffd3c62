//! Data connections: where they may lead, and where not.

use super::*;
use crate::filter::pinhole::Wish;

const TO_CLIENT: Wish = Wish {
    session: 0,
    timeout: 300,
    original_port: 0,
    reply_port: 0,
    ports: 1,
    transport: 6,
    begins: Wish::BY_RESPONDER,
    once: 1,
    reserved: 0,
};
const TO_SERVER: Wish = Wish { begins: Wish::BY_ORIGINATOR, ..TO_CLIENT };

fn to_client(port: u16) -> Vec<Wish> {
    vec![Wish { original_port: port, ..TO_CLIENT }]
}

fn to_server(port: u16) -> Vec<Wish> {
    vec![Wish { reply_port: port, ..TO_SERVER }]
}

const PORT_OK: &str = "200 PORT command successful.\r\n";

#[test]
fn active_connections() {
    for said in [
        "PORT 10,1,0,2,195,80\r\n",
        "port 10,1,0,2,195,80 \r\n",
        "PORT  010,001,000,002,195,080\r\n",
        "PORT 0,0,0,0,195,80\r\n",
        "EPRT |1|10.1.0.2|50000|\r\n",
        "EPRT !1!10.1.0.2!50000!\r\n",
        "EPRT |2|::ffff:10.1.0.2|50000|\r\n",
    ] {
        assert_eq!(passes(&talk(&[[said, PORT_OK]])).opened(), to_client(50_000), "{said}");
    }
}

#[test]
fn active_connections_over_ipv6() {
    for said in ["EPRT |2|2001:db8::2|50000|\r\n", "EPRT |2|2001:DB8:0:0:0:0:0:2|50000|\r\n"] {
        let talk = over_ipv6(talk(&[[said, PORT_OK]]));
        assert_eq!(passes(&talk).opened(), to_client(50_000), "{said}");
    }
}

#[test]
fn passive_connections() {
    for text in [
        "Entering Passive Mode (10,2,0,2,195,80).",
        "Entering Passive Mode (10,2,0,2,195,80)",
        "Entering Passive Mode. 10,2,0,2,195,80",
        "=10,2,0,2,195,80",
        "10,2,0,2,195,80",
        "IPv4 mode, 4 (10,2,0,2,195,80)",
        "Passive (0,0,0,0,195,80,77)",
    ] {
        let reply = format!("227 {text}\r\n");
        assert_eq!(passes(&talk(&[["PASV\r\n", &reply]])).opened(), to_server(50_000), "{text}");
    }
    let lines = "227-Entering (10,2,0,2,1,1)\r\n227 (10,2,0,2,195,80)\r\n";
    assert_eq!(passes(&talk(&[["PASV\r\n", lines]])).opened(), to_server(50_000));
}

#[test]
fn extended_passive_connections() {
    let reply = "229 Entering Extended Passive Mode (|||50000|)\r\n";
    for said in ["EPSV\r\n", "EPSV 1\r\n", "epsv\r\n"] {
        assert_eq!(passes(&talk(&[[said, reply]])).opened(), to_server(50_000));
    }
    let ipv6 = over_ipv6(talk(&[["EPSV 2\r\n", reply]]));
    assert_eq!(passes(&ipv6).opened(), to_server(50_000));
    let named = "229 Extended (!2!2001:db8:1::2!50000!).\r\n";
    assert_eq!(passes(&over_ipv6(talk(&[["EPSV\r\n", named]]))).opened(), to_server(50_000));
}

#[test]
fn nothing_is_opened_for_others() {
    for said in
        ["PORT 10,9,9,9,195,80\r\n", "EPRT |1|10.2.0.2|50000|\r\n", "EPRT |2|::1|50000|\r\n"]
    {
        assert_eq!(is_noted(&talk(&[[said, PORT_OK]]), &["foreign-address"]).opened(), []);
    }
    for [said, answered] in [
        ["PASV\r\n", "227 Entering Passive Mode (192,168,0,9,195,80)\r\n"],
        ["EPSV\r\n", "229 Entering (|1|10.1.0.2|50000|)\r\n"],
    ] {
        assert_eq!(is_noted(&talk(&[[said, answered]]), &["foreign-address"]).opened(), []);
    }
    let mixed = over_ipv6(talk(&[["PASV\r\n", "227 (10,2,0,2,195,80)\r\n"]]));
    assert_eq!(is_noted(&mixed, &["foreign-address"]).opened(), []);
}

#[test]
fn an_address_before_translation_is_the_speakers_too() {
    let translated = |mut talk: Talk| {
        let [original, reply] = &mut talk.scenes;
        reply.speaker[1] = [u32::from_ne_bytes([192, 168, 0, 9]), 0, 0, 0];
        original.listener[1] = reply.speaker[1];
        talk
    };
    let reply = "227 Entering Passive Mode (192,168,0,9,195,80)\r\n";
    let heard = passes(&translated(talk(&[["PASV\r\n", reply]])));
    assert_eq!(heard.opened(), to_server(50_000));
}

#[test]
fn a_server_cannot_begin_through_translation() {
    let nat = |talk| with_scene(talk, |scene| scene.translated = 1);
    for said in ["PORT 10,1,0,2,195,80\r\n", "EPRT |1|10.1.0.2|50000|\r\n"] {
        let talk = nat(talk(&[[said, PORT_OK]])).in_profile(Profile::Strict);
        let heard = talk.every_way::<Parser>();
        assert_eq!((heard.names(), heard.killed_by), (vec!["behind-nat"], None));
        assert_eq!(heard.opened(), []);
    }
    let passive = nat(talk(&[["PASV\r\n", "227 (10,2,0,2,195,80)\r\n"]]));
    assert_eq!(passes(&passive).opened(), to_server(50_000));
}

#[test]
fn nothing_is_opened_to_system_ports() {
    for [said, answered] in [
        ["PORT 10,1,0,2,0,22\r\n", PORT_OK],
        ["PORT 10,1,0,2,3,255\r\n", PORT_OK],
        ["EPRT |1|10.1.0.2|0|\r\n", PORT_OK],
        ["PASV\r\n", "227 (10,2,0,2,0,80)\r\n"],
        ["EPSV\r\n", "229 Entering Extended Passive Mode (|||1023|)\r\n"],
    ] {
        assert_eq!(is_noted(&talk(&[[said, answered]]), &["low-port"]).opened(), []);
    }
}

#[test]
fn nothing_is_opened_for_what_is_malformed() {
    for said in [
        "PORT\r\n",
        "PORT 10,1,0,2,195\r\n",
        "PORT 10,1,0,2,195,\r\n",
        "PORT 10,1,0,2,195,80,1\r\n",
        "PORT 10,1,0,2,195,256\r\n",
        "PORT 10,1,0,2,-1,80\r\n",
        "PORT 10,1,0,2,195,80x\r\n",
        "PORT 10, 1,0,2,195,80\r\n",
        "PORT 10.1.0.2,195,80\r\n",
        "PORT 4294967306,1,0,2,195,80\r\n",
        "EPRT\r\n",
        "EPRT |1|10.1.0.2|50000\r\n",
        "EPRT |1|10.1.0.2|65536|\r\n",
        "EPRT |1|10.1.0.2|4295017296|\r\n",
        "EPRT |1|10.1.0.2||\r\n",
        "EPRT |1||50000|\r\n",
        "EPRT ||10.1.0.2|50000|\r\n",
        "EPRT |2|10.1.0|50000|\r\n",
        "EPRT |1|::1|50000|\r\n",
        "EPRT |3|10.1.0.2|50000|\r\n",
        "EPRT |1|localhost|50000|\r\n",
        "EPRT |1|10.1.0.2|50000|x\r\n",
        "EPRT 1|10.1.0.2|50000|\r\n",
        "EPRT .1.10.1.0.2.50000.\r\n",
    ] {
        let heard = is_noted(&talk(&[[said, "500 what?\r\n"]]), &["malformed-port"]);
        assert_eq!(heard.opened(), [], "{said}");
    }
    for [said, answered] in [
        ["PASV\r\n", "227 Entering Passive Mode\r\n"],
        ["PASV\r\n", "227 Entering Passive Mode (10,2,0,2,195)\r\n"],
        ["PASV\r\n", "227 Entering Passive Mode (|||50000|)\r\n"],
        ["EPSV\r\n", "229 Entering Extended Passive Mode |||50000|\r\n"],
        ["EPSV\r\n", "229 Entering Extended Passive Mode (|||50000)\r\n"],
        ["EPSV\r\n", "229 (none) (|||50000|)\r\n"],
    ] {
        let heard = is_noted(&talk(&[[said, answered]]), &["malformed-port"]);
        assert_eq!(heard.opened(), [], "{answered}");
    }
}

#[test]
fn nothing_is_opened_that_was_not_asked_for() {
    let passive = "227 Entering Passive Mode (10,2,0,2,195,80)\r\n";
    let extended = "229 Entering Extended Passive Mode (|||50000|)\r\n";
    for [said, answered] in [
        ["NOOP\r\n", passive],
        ["", passive],
        ["PASV\r\n", extended],
        ["EPSV\r\n", passive],
        ["NOOP\r\n", extended],
    ] {
        assert_eq!(is_noted(&talk(&[[said, answered]]), &["unasked-passive"]).opened(), []);
    }
    // Once asked is once answered.
    let twice = talk(&[["PASV\r\n", passive], ["", passive]]);
    assert_eq!(is_noted(&twice, &["unasked-passive"]).opened(), to_server(50_000));
    // What was refused is answered as well.
    let refused = talk(&[["EPSV\r\n", "500 what?\r\n"], ["NOOP\r\n", extended]]);
    assert_eq!(is_noted(&refused, &["unasked-passive"]).opened(), []);
    // The greeting answers nothing.
    let greeting = Talk::new([server(passive), client("PASV\r\n"), server(passive)]);
    assert_eq!(passes(&greeting).opened(), to_server(50_000));
}

#[test]
fn a_missing_reply_does_no_harm() {
    let heard = passes(&talk(&[
        ["RETR a\r\n", "150 here\r\n"],
        ["ABOR\r\n", "226 aborted\r\n"],
        ["PASV\r\n", "227 Entering Passive Mode (10,2,0,2,195,80)\r\n"],
        ["RETR a\r\n", "150 here\r\n226 done\r\n"],
        ["EPSV\r\n", "229 Entering Extended Passive Mode (|||50000|)\r\n"],
    ]));
    assert_eq!(heard.opened(), [to_server(50_000), to_server(50_000)].concat());
}
