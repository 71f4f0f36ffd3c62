//! Requests without a reply.

use super::{asks, grants, reply, server_asks};
use crate::filter::drive::Drive;
use crate::filter::rtsp::{Parser, UNANSWERED_MAX};
use crate::filter::tests::talk::{Heard, Talk, Turn, client, scenes, server};
use crate::policy::{Mode, Profile};

fn heard(turns: impl IntoIterator<Item = Turn>, pause: u64) -> Heard {
    Talk::new(turns).pausing(pause).whole::<Parser>()
}

#[test]
fn who_is_answered_may_ask_without_end() {
    let turns = (1..500).flat_map(|cseq| [asks("GET_PARAMETER", cseq, &[]), grants(cseq, &[])]);
    assert_eq!(heard(turns, 0).reports, []);
    let server_side = (1..500).flat_map(|cseq| {
        [server_asks("GET_PARAMETER", cseq, &[]), client(reply("200 OK", cseq, &[]))]
    });
    assert_eq!(heard(server_side, 0).reports, []);
}

#[test]
fn a_server_that_ignores_keep_alives_is_left_alone() {
    let turns = (1..1000).map(|cseq| asks("GET_PARAMETER", cseq, &["Session: 1"]));
    assert_eq!(heard(turns.clone(), 1).reports, []);
    assert_eq!(heard(turns, 25).reports, []);
}

#[test]
fn a_client_that_does_not_count_is_answered_too() {
    let turns = (1..500).flat_map(|_| [asks("GET_PARAMETER", 1, &[]), grants(1, &[])]);
    assert_eq!(heard(turns, 0).reports, []);
}

#[test]
fn replies_without_cseq_count() {
    let turns = (1..200)
        .flat_map(|cseq| [asks("GET_PARAMETER", cseq, &[]), server("RTSP/1.0 200 OK\r\n\r\n")]);
    let heard = heard(turns, 0);
    assert!(heard.names().iter().all(|name| *name == "missing-cseq"));
    assert_eq!(heard.killed_by, None);
}

#[test]
fn one_reply_to_the_last_request_answers_all() {
    let mut turns = Vec::new();
    for round in 0..20 {
        turns.extend((0..UNANSWERED_MAX / 2).map(|n| asks("OPTIONS", 100 * round + n, &[])));
        turns.push(grants(100 * round + UNANSWERED_MAX / 2 - 1, &[]));
    }
    assert_eq!(heard(turns, 0).reports, []);
}

#[test]
fn interim_replies_answer_nothing() {
    let turns = (1..=UNANSWERED_MAX + 1)
        .flat_map(|cseq| [asks("OPTIONS", cseq, &[]), server(reply("100 Continue", cseq, &[]))]);
    assert_eq!(heard(turns, 0).killed_by, Some("too-many-requests"));
}

#[test]
fn where_replies_are_not_read_nobody_counts() {
    let mut drive = Drive::<Parser>::joining(Mode::Enforce, Profile::Standard);
    drive.scenes = scenes();
    let turns = (1..200).map(|cseq| asks("OPTIONS", cseq, &[]));
    let heard = Talk::new(turns).deliver_to(&mut drive, |len| vec![(0, len)]);
    assert_eq!(heard.reports, []);
}

#[test]
fn in_monitor_mode_it_is_told_once() {
    let turns = (1..=3 * UNANSWERED_MAX).map(|cseq| asks("OPTIONS", cseq, &[]));
    let heard = Talk::new(turns).in_mode(Mode::Monitor).whole::<Parser>();
    assert_eq!(heard.names(), ["too-many-requests"]);
}
