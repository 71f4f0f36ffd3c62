//! Before, during and beside the handshake.

use super::{BACK, C, MISMATCH, OUT, Observer, back, follow, out, segment};
use crate::flow::State;

#[test]
fn a_stale_answer_is_refused_and_the_right_one_still_establishes() {
    let mut observer = Observer::default();
    follow(
        &mut observer,
        [
            ("SYN", OUT, out("S", 0, 0, 0), Ok(State::SynSent)),
            ("an answer to another SYN", BACK, back("SA", 0, 2, 0), MISMATCH),
            ("one to the number before", BACK, back("SA", 0, 0, 0), MISMATCH),
            ("data", BACK, back("PA", 1, 1, 5), MISMATCH),
            ("a RST that acknowledges nothing", BACK, back("R", 0, 0, 0), MISMATCH),
            ("a RST that acknowledges another", BACK, back("RA", 0, 7, 0), MISMATCH),
            ("an ACK of the client", OUT, out("A", 1, 1, 0), MISMATCH),
            ("a SYN/ACK of the client", OUT, out("SA", 0, 1, 0), MISMATCH),
            ("data of the client", OUT, out("PA", 1, 1, 5), MISMATCH),
            ("the right answer", BACK, back("SA", 0, 1, 0), Ok(State::SynReceived)),
            ("the ACK", OUT, out("A", 1, 1, 0), Ok(State::Established)),
        ],
    );
}

/// Another firewall before the responder, which wants to know whether the client's address is its own.
#[test]
fn a_challenge_that_comes_again_passes_and_so_does_its_answer() {
    let mut observer = Observer::default();
    follow(
        &mut observer,
        [
            ("SYN", OUT, out("S", 0, 0, 0), Ok(State::SynSent)),
            ("the challenge, or something stale", BACK, back("SA", 900, 7_000, 0), MISMATCH),
            ("SYN again", OUT, out("S", 0, 0, 0), Ok(State::SynSent)),
            ("another stale answer", BACK, back("SA", 901, 8_000, 0), MISMATCH),
            ("the challenge", BACK, back("SA", 900, 7_000, 0), MISMATCH),
            ("the challenge again", BACK, back("SA", 900, 7_000, 0), Ok(State::SynSent)),
            ("its answer", OUT, out("R", 7_000, 0, 0), Ok(State::SynSent)),
            ("a RST of another number", OUT, out("R", 7_001, 0, 0), MISMATCH),
            ("SYN again", OUT, out("S", 0, 0, 0), Ok(State::SynSent)),
            ("the right answer", BACK, back("SA", 0, 1, 0), Ok(State::SynReceived)),
            ("the ACK", OUT, out("A", 1, 1, 0), Ok(State::Established)),
        ],
    );
}

#[test]
fn either_syn_of_an_originator_that_changed_its_number_may_be_answered() {
    for answered in [0, 40_000] {
        let mut observer = Observer::default();
        follow(
            &mut observer,
            [
                ("SYN", OUT, out("S", 0, 0, 0), Ok(State::SynSent)),
                ("another", OUT, out("S", 40_000, 0, 0), Ok(State::SynSent)),
                ("to neither", BACK, back("SA", 0, 20_001, 0), MISMATCH),
                ("the answer", BACK, back("SA", 0, answered + 1, 0), Ok(State::SynReceived)),
                ("the ACK", OUT, out("A", answered + 1, 1, 0), Ok(State::Established)),
                ("data", OUT, out("PA", answered + 1, 1, 500), Ok(State::Established)),
                ("data of the other", OUT, out("PA", 40_001 - answered, 1, 500), MISMATCH),
            ],
        );
    }
}

#[test]
fn a_syn_may_bring_data_that_the_answer_takes_or_leaves() {
    for taken in [0, 100] {
        let mut observer = Observer::default();
        follow(
            &mut observer,
            [
                ("SYN with data", OUT, out("S", 0, 0, 100), Ok(State::SynSent)),
                ("an answer to more", BACK, back("SA", 0, 102, 0), MISMATCH),
                ("the answer", BACK, back("SA", 0, 1 + taken, 0), Ok(State::SynReceived)),
                ("the data, again", OUT, out("PA", 1, 1, 100), Ok(State::Established)),
                ("and more", OUT, out("PA", 101, 1, 100), Ok(State::Established)),
            ],
        );
    }
}

#[test]
fn both_ends_may_begin_at_once() {
    let mut observer = Observer::default();
    follow(
        &mut observer,
        [
            ("SYN", OUT, out("S", 0, 0, 0), Ok(State::SynSent)),
            ("SYN of the other end", BACK, back("S", 0, 0, 0), Ok(State::SynReceived)),
            ("its answer", OUT, out("SA", 0, 1, 0), Ok(State::SynReceived)),
            ("the other answer", BACK, back("SA", 0, 1, 0), Ok(State::SynReceived)),
            ("data", OUT, out("PA", 1, 1, 5), Ok(State::Established)),
        ],
    );
}

#[test]
fn a_challenge_to_the_first_syn_is_answered_and_the_syn_repeated() {
    follow(
        &mut Observer::default(),
        [
            ("SYN", OUT, out("S", 0, 0, 0), Ok(State::SynSent)),
            ("a challenge", BACK, back("A", 5_000, 300_000, 0), Ok(State::SynSent)),
            ("a RST with another number", OUT, out("R", 299_999, 0, 0), MISMATCH),
            ("the RST it asks for", OUT, out("R", 300_000, 0, 0), Ok(State::SynSent)),
            ("the SYN again", OUT, out("S", 0, 0, 0), Ok(State::SynSent)),
            ("its answer", BACK, back("SA", 0, 1, 0), Ok(State::SynReceived)),
            ("the ACK", OUT, out("A", 1, 1, 0), Ok(State::Established)),
        ],
    );
}

#[test]
fn in_the_handshake_an_end_may_give_up() {
    let syn = ("SYN", OUT, out("S", 0, 0, 0), Ok(State::SynSent));
    let answer = ("its answer", BACK, back("SA", 0, 1, 0), Ok(State::SynReceived));
    for rest in [
        vec![("a closed port", BACK, back("RA", 0, 1, 0), Ok(State::Closed))],
        vec![("the client itself", OUT, out("R", 1, 0, 0), Ok(State::Closed))],
        vec![answer, ("the client, then", OUT, out("R", 1, 0, 0), Ok(State::Closed))],
        vec![answer, ("the server, then", BACK, back("RA", 1, 1, 0), Ok(State::Closed))],
        vec![
            answer,
            (
                "the server, which forgot",
                BACK,
                segment("RA", 0, C.wrapping_add(1), 0, 0),
                Ok(State::Closed),
            ),
        ],
        vec![answer, ("a guess", OUT, out("R", 3, 0, 0), MISMATCH)],
    ] {
        follow(&mut Observer::default(), std::iter::once(syn).chain(rest));
    }
}

#[test]
fn the_server_may_speak_before_the_last_ack_comes_by() {
    follow(
        &mut Observer::default(),
        [
            ("SYN", OUT, out("S", 0, 0, 0), Ok(State::SynSent)),
            ("its answer", BACK, back("SA", 0, 1, 0), Ok(State::SynReceived)),
            ("a banner", BACK, back("PA", 1, 1, 100), Ok(State::SynReceived)),
            ("beyond the window", BACK, back("PA", 101, 1, 901), MISMATCH),
            ("a guess at the last ACK", OUT, out("A", 1, 0, 0), MISMATCH),
            ("and at one ahead", OUT, out("A", 1, 102, 0), MISMATCH),
            ("its ACK", OUT, out("A", 1, 101, 0), Ok(State::Established)),
        ],
    );
}
