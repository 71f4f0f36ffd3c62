//! Which replies open what, and for whom.

use super::{asks, deeds, grants, lives, lives_unblamed, opened, reply, server_asks};
use crate::filter::parser::Scene;
use crate::filter::pinhole::Wish;
use crate::filter::rtsp::Parser;
use crate::filter::tests::talk::{Act, Talk, Turn, client, server};

const WANTED: &str = "Transport: RTP/AVP;unicast;client_port=4588-4589";
const GRANTED: &str = "Transport: RTP/AVP;unicast;client_port=4588-4589;server_port=6256-6257";
const PORTLESS: &str = "Transport: RTP/AVP;unicast;client_port=4588-4589";
const BOTH: u8 = Wish::BY_ORIGINATOR | Wish::BY_RESPONDER;

fn setup(granted: &str) -> [Turn; 2] {
    [asks("SETUP", 1, &[WANTED]), grants(1, &[granted, "Session: 1;timeout=90"])]
}

/// The same where the server called the client.
fn setup_backwards(granted: &str) -> [Turn; 2] {
    [
        server_asks("SETUP", 1, &[WANTED]),
        client(reply("200 OK", 1, &[granted, "Session: 1;timeout=90"])),
    ]
}

#[test]
fn both_ends_may_begin_if_both_ports_are_known() {
    let heard = lives_unblamed(setup(GRANTED));
    let wish = heard.opened()[0];
    let expected = Wish {
        session: wish.session,
        timeout: 90,
        original_port: 4588,
        reply_port: 6256,
        ports: 2,
        transport: 17,
        begins: BOTH,
        ..Wish::default()
    };
    assert_eq!(wish, expected);
    assert_ne!(wish.session, 0);
}

#[test]
fn without_a_port_of_the_server_only_it_may_begin() {
    let wish = lives_unblamed(setup(PORTLESS)).opened()[0];
    assert_eq!((wish.original_port, wish.reply_port), (4588, 0));
    assert_eq!(wish.begins, Wish::BY_RESPONDER);
}

#[test]
fn the_end_that_was_called_may_ask_for_a_setup_too() {
    let wish = lives_unblamed(setup_backwards(GRANTED)).opened()[0];
    assert_eq!((wish.original_port, wish.reply_port, wish.begins), (6256, 4588, BOTH));
    let wish = lives_unblamed(setup_backwards(PORTLESS)).opened()[0];
    assert_eq!((wish.original_port, wish.reply_port), (0, 4588));
    assert_eq!(wish.begins, Wish::BY_ORIGINATOR);
}

fn translated(turns: impl IntoIterator<Item = Turn>) -> Talk {
    let mut talk = Talk::new(turns);
    talk.scenes = talk.scenes.map(|scene| Scene { translated: 1, ..scene });
    talk
}

#[test]
fn behind_a_translation_only_the_originator_may_begin() {
    let heard = translated(setup(GRANTED)).every_way::<Parser>();
    assert_eq!(heard.opened()[0].begins, Wish::BY_ORIGINATOR);
    assert_eq!(heard.reports, []);
    let heard = translated(setup(PORTLESS)).every_way::<Parser>();
    assert_eq!((heard.names(), opened(&heard)), (vec!["behind-nat"], vec![]));
    assert_eq!(heard.reports[0].excerpt, "RTSP/1.0 200 OK");
    let heard = translated(setup_backwards(PORTLESS)).every_way::<Parser>();
    assert_eq!(heard.opened()[0].begins, Wish::BY_ORIGINATOR);
}

#[test]
fn only_success_opens() {
    for status in
        ["100 Continue", "302 Found", "401 Unauthorized", "461 Unsupported Transport", "500 No"]
    {
        let heard = lives([
            asks("SETUP", 1, &[WANTED]),
            server(reply(status, 1, &[GRANTED, "Session: 1"])),
        ]);
        assert_eq!(opened(&heard), [], "{status}");
    }
}

#[test]
fn an_interim_reply_is_not_the_reply() {
    let heard = lives_unblamed([
        asks("SETUP", 1, &[WANTED]),
        server(reply("100 Continue", 1, &[])),
        grants(1, &[GRANTED]),
    ]);
    assert_eq!(opened(&heard), [(4588, 6256, 2)]);
}

#[test]
fn what_nobody_asked_opens_nothing() {
    for turns in [
        vec![grants(1, &[GRANTED, "Session: 1"])],
        vec![asks("PLAY", 1, &[WANTED]), grants(1, &[GRANTED])],
        vec![asks("SETUP", 1, &[WANTED]), grants(2, &[]), grants(3, &[GRANTED])],
        // Who asks does not answer himself.
        vec![asks("SETUP", 1, &[WANTED]), client(reply("200 OK", 1, &[GRANTED]))],
    ] {
        assert_eq!(opened(&lives(turns)), []);
    }
}

#[test]
fn a_setup_is_granted_once() {
    let heard = lives([
        asks("SETUP", 1, &[WANTED]),
        grants(1, &[GRANTED, "Session: 1"]),
        asks("TEARDOWN", 2, &["Session: 1"]),
        grants(1, &[GRANTED, "Session: 1"]),
        grants(2, &[]),
        grants(1, &[GRANTED, "Session: 1"]),
    ]);
    assert_eq!(deeds(&heard), [Act::Open, Act::Close]);
}

#[test]
fn a_reply_without_cseq_is_to_the_request_whose_turn_it_is() {
    let heard = lives([
        asks("OPTIONS", 1, &[]),
        asks("SETUP", 2, &[WANTED]),
        grants(1, &[]),
        server(format!("RTSP/1.0 200 OK\r\n{GRANTED}\r\n\r\n")),
    ]);
    assert_eq!((heard.names(), opened(&heard)), (vec!["missing-cseq"], vec![(4588, 6256, 2)]));
}

#[test]
fn a_client_that_never_counts_gets_its_newest_setup_granted() {
    let second = "Transport: RTP/AVP;unicast;client_port=5000-5001";
    let heard = lives_unblamed([
        asks("SETUP", 1, &[WANTED]),
        server(reply("401 Unauthorized", 1, &[])),
        asks("SETUP", 1, &[second]),
        grants(1, &["Transport: RTP/AVP;client_port=5000-5001;server_port=6256-6257"]),
    ]);
    assert_eq!(opened(&heard), [(5000, 6256, 2)]);
}

#[test]
fn many_setups_later_the_oldest_are_forgotten_and_not_mistaken() {
    let mut turns: Vec<_> = (1..=40).map(|cseq| asks("SETUP", cseq, &[WANTED])).collect();
    turns.extend((1..=40).map(|cseq| grants(cseq, &[GRANTED, &format!("Session: {cseq}")])));
    let heard = Talk::new(turns).whole::<Parser>();
    assert_eq!((heard.names(), opened(&heard).len()), (vec![], 16));
}

#[test]
fn a_session_that_ended_leaves_room_for_its_successor() {
    let mut turns = Vec::new();
    for round in 0..40 {
        turns.extend([
            asks("SETUP", 2 * round, &[WANTED]),
            grants(2 * round, &[GRANTED, "Session: 1"]),
            asks("TEARDOWN", 2 * round + 1, &["Session: 1"]),
            grants(2 * round + 1, &["Session: 1"]),
        ]);
    }
    let heard = Talk::new(turns).whole::<Parser>();
    assert_eq!((heard.names(), heard.opened().len()), (vec![], 40));
}

#[test]
fn what_is_to_be_killed_opens_nothing() {
    let bad = "Content-Length: -1";
    let heard =
        Talk::new([asks("SETUP", 1, &[WANTED]), grants(1, &[GRANTED, bad])]).every_way::<Parser>();
    assert_eq!((heard.killed_by, opened(&heard)), (Some("bad-content-length"), vec![]));
}
