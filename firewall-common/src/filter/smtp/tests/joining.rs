//! Conversations that are joined in the middle, and gaps.

use super::*;
use crate::filter::drive::{Drive, Passage};
use crate::filter::parser::Parser as _;
use crate::filter::smtp::Finding;
use crate::flow::Direction;
use crate::policy::Mode;

/// A mail about mail: each of its lines could be said by a client or by a server.
const TRANSCRIPT: &str = "220 mx.example ESMTP\r\nEHLO a\r\n250 Ok\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n\
    354 Go\r\nSTARTTLS\r\nAUTH PLAIN x\r\nBDAT x\r\nBDAT 4000000000 LAST\r\nGET / HTTP/1.1\r\nWIZ\r\n\x16\x03\r\n";

fn whole_mail() -> Vec<Turn> {
    let text = format!("{}\r\n.\r\n", TRANSCRIPT.repeat(3));
    let again = mail("x\r\n.\r\n").split_off(3);
    mail(text).into_iter().chain(again).chain([client("QUIT\r\n"), server("221 Bye\r\n")]).collect()
}

/// What is heard by one who joins in turn `from`, at byte `at`.
fn joined(turns: &[Turn], from: usize, at: usize, size: usize) -> Heard {
    let mut turns = turns[from..].to_vec();
    turns[0].1.drain(..at);
    let mut drive = Drive::<Parser>::joining(Mode::Enforce, Profile::Strict);
    Talk::new(turns).deliver_to(&mut drive, |len| {
        (0..len).step_by(size).map(|at| (at, len.min(at + size))).collect()
    })
}

#[test]
fn nothing_is_found_wherever_a_good_session_is_joined() {
    let turns = whole_mail();
    for from in 0..turns.len() {
        for at in 0..turns[from].1.len() {
            for size in [1, 16, 1448] {
                assert_eq!(joined(&turns, from, at, size), Heard::default(), "{from} {at} {size}");
            }
        }
    }
}

#[test]
fn nothing_is_found_in_chunks_that_are_joined() {
    let chunk = format!("BDAT {}\r\n{TRANSCRIPT}", TRANSCRIPT.len());
    let turns = after_greeting([
        client(format!("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n{chunk}")),
        server("250 Ok\r\n250 Ok\r\n250 Ok\r\n"),
        client(chunk.repeat(2)),
        server("250 Ok\r\n"),
        client(&chunk),
        server("250 Ok\r\n250 Ok\r\n"),
    ]);
    for from in 0..turns.len() {
        for at in 0..turns[from].1.len() {
            assert_eq!(joined(&turns, from, at, 1448), Heard::default(), "{from} {at}");
        }
    }
}

/// From the first message on that the server asked for, everything is read.
#[test]
fn one_who_joined_reads_the_next_message() {
    let mut turns = whole_mail();
    let smuggled = mail("x\n.\nMAIL FROM:<a@b>\r\n").split_off(3);
    turns.truncate(turns.len() - 2);
    turns.extend(smuggled);
    for from in 0..7 {
        let heard = joined(&turns, from, 0, 1448);
        assert_eq!(heard.killed_by, Some("bare-line-end"), "{from}");
    }
}

#[test]
fn one_who_joined_takes_part_in_starttls() {
    let turns = after_greeting([
        client("STARTTLS\r\n"),
        server("220 Go\r\n"),
        client(b"\x16\x03\x01".as_slice()),
        server(b"\x16\x03\x03250 \r\n".as_slice()),
    ]);
    for from in 0..turns.len() {
        assert_eq!(joined(&turns, from, 0, 1448), Heard::default(), "{from}");
    }
    let injected = after_greeting([
        client("NOOP\r\n"),
        server("250 Ok\r\n"),
        client("DATA\r\n"),
        server("354 Go\r\n"),
        client(".\r\n"),
        server("250 Ok\r\n"),
        client("STARTTLS\r\nRSET\r\n"),
    ]);
    assert_eq!(joined(&injected, 0, 0, 1448).killed_by, Some("pipelined-after-starttls"));
}

/// Were what is behind a chunk let pass before what ends it has come, nobody would read that.
#[test]
fn a_gap_beyond_a_chunk_is_waited_for() {
    let mut drive = Drive::<Parser>::new(Mode::Enforce, Profile::Standard, [0, 0]);
    let mut say =
        |direction, seq, bytes: &str| drive.segment(direction, seq, bytes.as_bytes(), |_, _| {});
    say(Direction::Reply, 0, "220 mx\r\n");
    say(Direction::Original, 0, "EHLO a\r\n");
    say(Direction::Reply, 8, "250 CHUNKING\r\n");
    assert_eq!(say(Direction::Original, 8, "BDAT 20\r\n0123"), Passage::Passed);
    assert_eq!(say(Direction::Original, 25, "89"), Passage::Passed, "inside of the chunk");
    assert_eq!(say(Direction::Original, 40, "NOOP\r\n"), Passage::Held, "beyond it");
    assert_eq!(say(Direction::Original, 27, "0123456789"), Passage::Passed);
    assert_eq!(say(Direction::Original, 37, "WIZ\r\nNOOP\r\n"), Passage::Passed);
}

#[test]
fn monitoring_survives_gaps() {
    let turns = whole_mail();
    for lost in 0..turns.len() {
        let mut drive = Drive::<Parser>::new(Mode::Monitor, Profile::Strict, [0, 0]);
        let mut at = [0_u32; 2];
        for (index, (direction, bytes)) in turns.iter().enumerate() {
            let seq = &mut at[*direction as usize];
            if index != lost {
                drive.segment(*direction, *seq, bytes, |parser, outcome| {
                    // Whose turn it seems to be before the one who lost something speaks again.
                    let turn = Finding::EarlyTalker.bit()
                        | Finding::DataBeforeReply.bit()
                        | Finding::UnexpectedReply.bit()
                        | Finding::UnexpectedRequest.bit();
                    let others = outcome.found().without(turn);
                    assert!(others.is_empty(), "{lost} {index} {others:?} {}", parser.offset());
                });
            }
            *seq = seq.wrapping_add(bytes.len() as u32);
        }
    }
}
