//! Conversations, segment by segment: what each shows and what becomes of it.

use super::{
    BACK, C, Case, MISMATCH, NOT_SYN, OUT, Observer, S, back, established, flags, follow, out,
};
use crate::{
    flow::{Fault, Half, Segment, State, Step, expected, judge, opens},
    reason::Reason,
    wire::NO_WINDOW_SCALE,
};

#[test]
fn of_all_flags_only_syns_begin_a_flow() {
    let open: Vec<u8> = (0..=255).filter(|flags| opens(*flags) == Ok(())).collect();
    let syns = ["S", "SP", "SU", "SPU"].map(flags);
    let ecn = [0, flags("E"), flags("W"), flags("EW")];
    let mut expected: Vec<u8> = syns.iter().flat_map(|syn| ecn.map(|bits| syn | bits)).collect();
    expected.sort_unstable();
    assert_eq!(open, expected);

    let impossible = (0..=255).filter(|flags| opens(*flags) == Err(Reason::IpHalfScan)).count();
    // Of five bits that matter nine combinations are sent by stacks; each of the other three doubles them.
    assert_eq!(impossible, (32 - 9) * 8);
}

#[test]
fn an_impossible_combination_is_one_in_every_state() {
    for raw in 1..=State::Midstream as u8 {
        let state = State::from_raw(raw);
        if matches!(state, State::Unreplied | State::Assured) {
            continue;
        }
        for bits in 0..=255_u8 {
            let mut observer = established();
            observer.flow.state = raw;
            let segment = Segment { flags: bits, ..out("A", 1, 1, 0) };
            for direction in [OUT, BACK] {
                let step = judge(&observer.flow, direction, &segment);
                let refused = step == Step::Refuse(Reason::IpHalfScan, Fault::None);
                let impossible = opens(bits) == Err(Reason::IpHalfScan);
                assert_eq!(refused, impossible, "{state:?} {bits:#04x} {direction:?}");
            }
        }
    }
}

#[test]
fn data_is_taken_up_to_the_edge_and_not_beyond() {
    for (shows, segment, expected) in [
        ("up to the edge", out("PA", 1, 1, 1_000), Ok(State::Established)),
        ("one byte more", out("PA", 1, 1, 1_001), MISMATCH),
        ("a byte at the edge", out("PA", 1_001, 1, 1), MISMATCH),
        ("a FIN at the edge", out("FA", 1_001, 1, 0), Ok(State::FinWait)),
        ("a FIN behind it", out("FA", 1_002, 1, 0), MISMATCH),
        ("nothing, at the edge", out("A", 1_001, 1, 0), Ok(State::Established)),
        ("nothing, behind it", out("A", 1_002, 1, 0), MISMATCH),
        ("a keep-alive", out("A", 0, 1, 0), Ok(State::Established)),
        ("a keep-alive with a byte", out("A", 0, 1, 1), Ok(State::Established)),
        ("a window ago", out("A", 1u32.wrapping_sub(1_000), 1, 0), Ok(State::Established)),
        ("more than a window ago", out("A", 0u32.wrapping_sub(1_000), 1, 0), MISMATCH),
        ("the other half of the circle", out("A", 1 << 31, 1, 0), MISMATCH),
        ("an ACK of what was not sent", out("A", 1, 2, 0), MISMATCH),
        ("an old ACK", out("A", 1, 1u32.wrapping_sub(66_000), 0), Ok(State::Established)),
        ("one too old", out("A", 1, 0u32.wrapping_sub(66_000), 0), MISMATCH),
    ] {
        follow(&mut established(), [(shows, OUT, segment, expected)]);
    }
}

#[test]
fn windows_are_scaled_when_both_offer_it_and_by_14_at_most() {
    for (client, server, room) in [
        (NO_WINDOW_SCALE, NO_WINDOW_SCALE, 1_000),
        (3, NO_WINDOW_SCALE, 1_000),
        (NO_WINDOW_SCALE, 3, 1_000),
        (0, 0, 1_000),
        (7, 0, 1_000),
        (0, 7, 1_000 << 7),
        (0, 14, 1_000 << 14),
        (0, 15, 1_000 << 14),
        (0, 254, 1_000 << 14),
    ] {
        let syn = Segment { scale: client, ..out("S", 0, 0, 0) };
        let answer = Segment { scale: server, ..back("SA", 0, 1, 0) };
        let mut observer = Observer::default();
        follow(
            &mut observer,
            [
                ("SYN", OUT, syn, Ok(State::SynSent)),
                ("its answer", BACK, answer, Ok(State::SynReceived)),
                ("the ACK", OUT, out("A", 1, 1, 0), Ok(State::Established)),
                ("beyond a SYN's own window", OUT, out("PA", 1, 1, 1_001), MISMATCH),
                ("a window", BACK, back("A", 1, 1, 0), Ok(State::Established)),
                ("beyond it", OUT, out("PA", room, 1, 2), MISMATCH),
                ("up to it", OUT, out("PA", room, 1, 1), Ok(State::Established)),
            ],
        );
    }
}

#[test]
fn a_closed_window_takes_the_byte_of_a_probe() {
    let closed = Segment { window: 0, ..back("A", 1, 1_001, 0) };
    let open = back("A", 1, 1_002, 0);
    follow(
        &mut established(),
        [
            ("all that fits", OUT, out("PA", 1, 1, 1_000), Ok(State::Established)),
            ("the window closes", BACK, closed, Ok(State::Established)),
            ("a probe of one byte", OUT, out("A", 1_001, 1, 1), Ok(State::Established)),
            ("the probe again", OUT, out("A", 1_001, 1, 1), Ok(State::Established)),
            ("two bytes", OUT, out("A", 1_001, 1, 2), MISMATCH),
            ("a probe of an old byte", OUT, out("A", 1_000, 1, 0), Ok(State::Established)),
            ("the window opens", BACK, open, Ok(State::Established)),
            ("data", OUT, out("PA", 1_002, 1, 1_000), Ok(State::Established)),
        ],
    );
}

#[test]
fn a_window_that_shrinks_takes_nothing_back() {
    follow(
        &mut established(),
        [
            (
                "a small one",
                BACK,
                Segment { window: 10, ..back("A", 1, 1, 0) },
                Ok(State::Established),
            ),
            ("what was promised", OUT, out("PA", 1, 1, 1_000), Ok(State::Established)),
        ],
    );
}

#[test]
fn each_end_closes_and_each_fin_is_acknowledged() {
    for (shows, rest) in [
        (
            "one after the other",
            vec![
                ("FIN", OUT, out("FA", 1, 1, 0), Ok(State::FinWait)),
                ("its ACK", BACK, back("A", 1, 2, 0), Ok(State::CloseWait)),
                ("data of the other end", BACK, back("PA", 1, 2, 100), Ok(State::CloseWait)),
                ("its ACK", OUT, out("A", 2, 101, 0), Ok(State::CloseWait)),
                ("the other FIN", BACK, back("FA", 101, 2, 0), Ok(State::LastAck)),
                ("the last ACK", OUT, out("A", 2, 102, 0), Ok(State::TimeWait)),
                ("that FIN again", BACK, back("FA", 101, 2, 0), Ok(State::TimeWait)),
                ("that ACK again", OUT, out("A", 2, 102, 0), Ok(State::TimeWait)),
            ],
        ),
        (
            "both at once",
            vec![
                ("FIN", OUT, out("FA", 1, 1, 0), Ok(State::FinWait)),
                ("FIN", BACK, back("FA", 1, 1, 0), Ok(State::LastAck)),
                ("ACK", OUT, out("A", 2, 2, 0), Ok(State::LastAck)),
                ("ACK", BACK, back("A", 2, 2, 0), Ok(State::TimeWait)),
            ],
        ),
        (
            "the server first",
            vec![
                ("FIN with data", BACK, back("FPA", 1, 1, 10), Ok(State::FinWait)),
                ("an ACK of the data", OUT, out("A", 1, 11, 0), Ok(State::FinWait)),
                ("FIN and ACK", OUT, out("FA", 1, 12, 0), Ok(State::LastAck)),
                ("the last ACK", BACK, back("A", 12, 2, 0), Ok(State::TimeWait)),
            ],
        ),
    ] {
        let mut observer = established();
        follow(&mut observer, rest);
        assert!(observer.flow.state() == State::TimeWait, "{shows}");
    }
}

#[test]
fn nothing_follows_a_fin() {
    follow(
        &mut established(),
        [
            ("FIN", OUT, out("FPA", 1, 1, 10), Ok(State::FinWait)),
            ("data behind it", OUT, out("PA", 11, 1, 5), MISMATCH),
            ("one byte in its place", OUT, out("PA", 11, 1, 1), Ok(State::FinWait)),
            ("another FIN behind it", OUT, out("FA", 12, 1, 0), MISMATCH),
            ("its data again", OUT, out("PA", 1, 1, 10), Ok(State::FinWait)),
            ("the FIN again", OUT, out("FA", 11, 1, 0), Ok(State::FinWait)),
            ("the other end still talks", BACK, back("PA", 1, 12, 900), Ok(State::CloseWait)),
        ],
    );
}

#[test]
fn a_reset_has_to_be_exact_while_the_connection_lives() {
    for (shows, letters, seq, expected) in [
        ("exact", "R", 1, Ok(State::Closed)),
        ("exact, with ACK", "RA", 1, Ok(State::Closed)),
        ("inside the window", "R", 2, MISMATCH),
        ("at its edge", "R", 1_001, MISMATCH),
        ("before it", "R", 0, MISMATCH),
        ("behind it", "R", 1_002, MISMATCH),
        ("far away", "R", 1 << 30, MISMATCH),
    ] {
        follow(&mut established(), [(shows, OUT, out(letters, seq, 1, 0), expected)]);
    }
    let data = ("data", OUT, out("PA", 1, 1, 100), Ok(State::Established));
    for (shows, seq, expected) in [
        ("what the receiver has", 1, Ok(State::Closed)),
        ("what the sender sent", 101, Ok(State::Closed)),
        ("between them", 50, MISMATCH),
    ] {
        follow(&mut established(), [data, (shows, OUT, out("R", seq, 1, 0), expected)]);
    }
}

#[test]
fn a_reset_of_a_connection_that_closes_may_be_anywhere_inside() {
    for (shows, seq, expected) in [
        ("exact", 2, Ok(State::Closed)),
        ("inside", 700, Ok(State::Closed)),
        ("at the edge", 1_001, Ok(State::Closed)),
        ("behind it", 1_002, MISMATCH),
        ("before it", 0, MISMATCH),
    ] {
        follow(
            &mut established(),
            [
                ("FIN", BACK, back("FA", 1, 1, 0), Ok(State::FinWait)),
                (shows, OUT, out("R", seq, 2, 0), expected),
            ],
        );
    }
}

#[test]
fn after_a_reset_only_what_crossed_it_passes() {
    follow(
        &mut established(),
        [
            ("RST", BACK, back("RA", 1, 1, 0), Ok(State::Closed)),
            ("what crossed it", OUT, out("PA", 1, 1, 100), Ok(State::Closed)),
            ("another RST", OUT, out("R", 9, 0, 0), Ok(State::Closed)),
            ("a guess", OUT, out("A", 1 << 20, 1, 0), MISMATCH),
            ("a SYN/ACK", BACK, back("SA", 0, 1, 0), NOT_SYN),
            ("a SYN", OUT, out("S", 9_000, 0, 0), Ok(State::SynSent)),
        ],
    );
}

#[test]
fn a_syn_on_a_live_connection_changes_nothing_by_itself() {
    let mut observer = established();
    let before_it = observer.flow;
    follow(
        &mut observer,
        [
            ("the client begins anew", OUT, out("S", 70_000, 0, 0), Ok(State::Established)),
            ("a challenge", BACK, back("A", 1, 1, 0), Ok(State::Established)),
            ("the old connection lives", BACK, back("PA", 1, 1, 10), Ok(State::Established)),
        ],
    );
    assert_eq!(observer.flow.halves[0], before_it.halves[0]);
    follow(
        &mut observer,
        [
            ("the answer to the challenge", OUT, out("R", 1, 0, 0), Ok(State::Closed)),
            ("the SYN again", OUT, out("S", 70_000, 0, 0), Ok(State::SynSent)),
            ("its answer", BACK, back("SA", 90_000, 70_001, 0), Ok(State::SynReceived)),
        ],
    );
}

#[test]
fn an_answer_to_a_syn_on_a_live_connection_renews_or_ends_it() {
    let syn = ("the client begins anew", OUT, out("S", 70_000, 0, 0), Ok(State::Established));
    let mut observer = established();
    follow(
        &mut observer,
        [
            syn,
            ("an answer to another", BACK, back("SA", 90_000, 70_002, 0), MISMATCH),
            ("the answer", BACK, back("SA", 90_000, 70_001, 0), Ok(State::SynReceived)),
            ("the old one is no more", OUT, out("PA", 1, 1, 5), MISMATCH),
            ("the ACK", OUT, out("A", 70_001, 90_001, 0), Ok(State::Established)),
        ],
    );
    follow(
        &mut established(),
        [
            syn,
            ("a RST to another", BACK, back("RA", 0, 70_002, 0), MISMATCH),
            ("a RST to the SYN", BACK, back("RA", 0, 70_001, 0), Ok(State::Closed)),
        ],
    );
}

#[test]
fn what_a_refused_segment_should_have_had() {
    let observer = established();
    let [first, last] = [C.wrapping_add(1), C.wrapping_add(1_001)];
    for (segment, fault, numbers) in [
        (out("PA", 5_000, 1, 1), Fault::Sequence, [first.wrapping_sub(1_000), last]),
        (out("A", 1, 9, 0), Fault::Acknowledgment, [(S + 1) - 66_000, S + 1]),
        (out("R", 9, 0, 0), Fault::Sequence, [first, first]),
    ] {
        let step = judge(&observer.flow, OUT, &segment);
        assert_eq!(step, Step::Refuse(Reason::SeqAckMismatch, fault), "{segment:?}");
        assert_eq!(expected(&observer.flow, OUT, &segment, fault), numbers, "{segment:?}");
    }
}

#[test]
fn a_connection_in_its_midst_is_learnt_and_then_judged() {
    let mut observer = Observer::default();
    observer.flow.state = State::Midstream as u8;
    observer.flow.halves = [Half::in_midstream(Some(0)), Half::in_midstream(Some(0))];
    let mut cases: Vec<Case> = vec![
        ("one direction", OUT, out("PA", 1, 1, 10), Ok(State::Midstream)),
        ("again", OUT, out("PA", 11, 1, 10), Ok(State::Midstream)),
        ("the other", BACK, back("A", 1, 21, 0), Ok(State::Established)),
        ("anything, while it is learnt", OUT, out("PA", 90_000, 1, 10), Ok(State::Established)),
    ];
    for n in 0..20 {
        cases.push(("data", OUT, out("PA", 90_010 + n * 10, 1, 10), Ok(State::Established)));
        cases.push(("ACK", BACK, back("A", 1, 90_020 + n * 10, 0), Ok(State::Established)));
        cases.push(("ACK", OUT, out("A", 90_020 + n * 10, 1, 0), Ok(State::Established)));
    }
    cases.push(("now a guess is one", OUT, out("PA", 200_000, 1, 10), MISMATCH));
    cases.push(("both ways", BACK, back("PA", 200_000, 90_210, 10), MISMATCH));
    follow(&mut observer, cases);
}
