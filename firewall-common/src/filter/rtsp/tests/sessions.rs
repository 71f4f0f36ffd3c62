//! Signs of life, and ends of sessions.

use super::{asks, deeds, grants, lives, lives_unblamed, reply, request};
use crate::filter::pinhole::Wish;
use crate::filter::rtsp::Parser;
use crate::filter::tests::talk::{Act, Heard, Talk, Turn, client, server};
use crate::policy::Mode;

const WANTED: &str = "Transport: RTP/AVP;unicast;client_port=4588-4589";
const GRANTED: &str = "Transport: RTP/AVP;unicast;client_port=4588-4589;server_port=6256-6257";

/// The hash of a session's name.
fn hash(name: &str) -> u64 {
    let heard = lives_unblamed([asks("PLAY", 1, &[&format!("Session: {name}")])]);
    let [(Act::Alive, wish)] = heard.acts.as_slice() else { panic!("{:?}", heard.acts) };
    wish.session
}

fn sessions(heard: &Heard, act: Act) -> Vec<u64> {
    heard.acts.iter().filter(|(done, _)| *done == act).map(|(_, wish)| wish.session).collect()
}

#[test]
fn names_are_told_apart_and_blanks_and_parameters_are_no_part_of_them() {
    let name = hash("12345678");
    for same in ["   12345678  ", "12345678;timeout=60", "12345678 ; timeout = 60", "\t12345678;x"]
    {
        assert_eq!(hash(same), name, "{same}");
    }
    for other in ["1234567", "123456789", "12345687", "a", "A"] {
        assert_ne!(hash(other), name, "{other}");
    }
    assert_ne!(hash("a"), hash("A"));
}

#[test]
fn timeouts_are_read_and_bounded() {
    for (header, expected) in [
        ("Session: 1", 0),
        ("Session: 1;timeout=60", 60),
        ("Session: 1; Timeout = 90 ", 90),
        ("Session: 1;x=7;timeout=90;y=8", 90),
        ("Session: 1;timeout=", 0),
        ("Session: 1;timeout=-5", 0),
        ("Session: 1;timeout=6x", 0),
        ("Session: 1;timeout=4294967297", 86_400),
        ("Session: 1;\r\n timeout=75", 75),
    ] {
        let heard = lives_unblamed([asks("SETUP", 1, &[WANTED]), grants(1, &[header, GRANTED])]);
        assert_eq!(heard.opened()[0].timeout, expected, "{header}");
    }
}

#[test]
fn every_message_of_a_session_is_a_sign_of_life() {
    let session = "Session: 12345678";
    let heard = lives_unblamed([
        asks("GET_PARAMETER", 1, &[session]),
        grants(1, &[session]),
        asks("PLAY", 2, &[session]),
        server(reply("455 Method Not Valid in This State", 2, &[session])),
    ]);
    assert_eq!(sessions(&heard, Act::Alive), [hash("12345678"); 4]);
}

#[test]
fn keep_alives_without_a_session_are_for_all_of_the_connection() {
    for method in ["OPTIONS", "GET_PARAMETER", "SET_PARAMETER"] {
        let heard = lives_unblamed([asks(method, 1, &[]), grants(1, &[])]);
        assert_eq!(heard.acts, [(Act::Alive, Wish::default())], "{method}");
    }
    let heard = lives_unblamed([asks("PLAY", 1, &[]), grants(1, &[]), asks("DESCRIBE", 2, &[])]);
    assert_eq!(heard.acts, []);
}

#[test]
fn a_sign_of_life_comes_with_the_end_of_the_head() {
    let head = request("GET_PARAMETER", 1, &["Session: 1"]);
    let heard = lives_unblamed([client(&head[..head.len() - 2])]);
    assert_eq!(heard.acts, []);
}

#[test]
fn teardown_ends_the_session_that_it_names_and_no_other() {
    let setup = |cseq: u32, port: u16, session: &str| -> [Turn; 2] {
        let wanted = format!("Transport: RTP/AVP;unicast;client_port={port}-{}", port + 1);
        [
            asks("SETUP", cseq, &[&wanted]),
            grants(cseq, &[&format!("{wanted};server_port=9000-9001"), session]),
        ]
    };
    let turns = [setup(1, 5000, "Session: one"), setup(2, 6000, "Session: two")];
    let end = [asks("TEARDOWN", 3, &["Session: one"]), grants(3, &["Session: one"])];
    let heard = lives_unblamed(turns.into_iter().flatten().chain(end));
    assert_eq!(sessions(&heard, Act::Open), [hash("one"), hash("two")]);
    assert_eq!(sessions(&heard, Act::Close), [hash("one")]);
}

#[test]
fn a_teardown_that_names_none_closes_nothing() {
    let heard = lives_unblamed([asks("TEARDOWN", 1, &[]), grants(1, &[])]);
    assert_eq!(heard.acts, []);
}

#[test]
fn pause_closes_nothing() {
    let heard = lives_unblamed([
        asks("SETUP", 1, &[WANTED]),
        grants(1, &[GRANTED, "Session: 1"]),
        asks("PAUSE", 2, &["Session: 1"]),
        grants(2, &["Session: 1"]),
    ]);
    assert_eq!(deeds(&heard), [Act::Open]);
}

#[test]
fn a_setup_without_a_session_belongs_to_the_connection() {
    let heard = lives_unblamed([asks("SETUP", 1, &[WANTED]), grants(1, &[GRANTED])]);
    assert_eq!(sessions(&heard, Act::Open), [0]);
}

#[test]
fn a_session_may_go_on_over_another_connection() {
    let heard = lives_unblamed([
        asks("TEARDOWN", 1, &["Session: one"]),
        server(reply("200 OK", 1, &["Connection: close"])),
    ]);
    assert_eq!(sessions(&heard, Act::Close), [hash("one")]);
}

#[test]
fn in_monitor_mode_what_would_have_been_killed_does_nothing() {
    let turns = [asks("PLAY", 1, &["Session: 1", "Content-Length: x"])];
    let heard = Talk::new(turns).in_mode(Mode::Monitor).whole::<Parser>();
    assert_eq!((heard.names(), heard.acts), (vec!["bad-content-length"], vec![]));
}

#[test]
fn an_empty_session_is_none() {
    assert_eq!(
        lives([asks("PLAY", 1, &["Session:"]), asks("PLAY", 2, &["Session: ;timeout=5"])]).acts,
        []
    );
}
