//! What holds whatever is said.

use proptest::prelude::*;

use super::*;
use crate::{
    filter::{drive::Drive, parser::Parser as _},
    flow::Direction,
};

/// Bytes, of which many are what the grammar looks for.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"USER a\r\n".to_vec()),
        Just(b"PASS ".to_vec()),
        Just(b"PASV\r\n".to_vec()),
        Just(b"EPSV\r\n".to_vec()),
        Just(b"AUTH TLS\r\n".to_vec()),
        Just(b"PORT 10,1,0,2,".to_vec()),
        Just(b"EPRT |1|10.1.0.2|".to_vec()),
        Just(b"50000|\r\n".to_vec()),
        Just(b"220 \r\n".to_vec()),
        Just(b"220-".to_vec()),
        Just(b"227 (10,2,0,2,99,".to_vec()),
        Just(b"229 (|||5000|)\r\n".to_vec()),
        Just(b"234 \r\n".to_vec()),
        Just(b"\xff\xf4\xff\xf2".to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
        "[ -~]{0,8}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let direction = prop_oneof![Just(Direction::Original), Just(Direction::Reply)];
    prop::collection::vec((direction, bytes()), 0..12)
}

proptest! {
    #[test]
    fn any_bytes_are_counted_and_do_no_harm(turns in turns(), joining in any::<bool>()) {
        let mut drive = Drive::<Parser>::new(Mode::Monitor, Profile::Strict, [0, 0]);
        if joining {
            drive = Drive::joining(Mode::Monitor, Profile::Strict);
        }
        drive.scenes = scenes();
        let mut said = [0_u32; 2];
        for (direction, bytes) in turns {
            let seq = &mut said[direction as usize];
            drive.segment(direction, *seq, &bytes, |parser, _| {
                assert!(parser.finding_offset(0) <= parser.offset());
            });
            *seq += bytes.len() as u32;
            prop_assert_eq!(drive.parser(direction).offset(), u64::from(*seq));
        }
    }

    #[test]
    fn the_cut_makes_no_difference(turns in turns(), cut in 1..9_usize) {
        let talk = Talk::new(turns);
        let cuts = |len: usize| (0..len).step_by(cut).map(|at| (at, len.min(at + cut))).collect();
        prop_assert_eq!(talk.deliver::<Parser>(cuts), talk.whole::<Parser>());
    }

    #[test]
    fn what_is_opened_is_asked_for_and_no_port_of_the_system(turns in turns()) {
        let heard = Talk::new(turns.clone()).in_mode(Mode::Monitor).whole::<Parser>();
        for wish in heard.opened() {
            let port = wish.original_port.max(wish.reply_port);
            prop_assert!(port >= 1024 && wish.original_port.min(wish.reply_port) == 0);
            prop_assert_eq!((wish.transport, wish.ports, wish.once), (6, 1, 1));
        }
        let asked = turns.iter().any(|(direction, _)| *direction == Direction::Original);
        prop_assert!(asked || heard.opened().is_empty());
    }

    #[test]
    fn no_password_is_shown(secret in "[s]{3,80}", before in "[ -~]{0,5}", after in bytes()) {
        prop_assume!(!before.contains('s'));
        let said = [format!("NOOP\r\nPASS {before}{secret}").into_bytes(), after].concat();
        let heard = Talk::new([greeting(), client(said)]).in_mode(Mode::Monitor).whole::<Parser>();
        for report in heard.reports {
            prop_assert!(!report.excerpt.contains("sss"), "{}", report.excerpt);
        }
    }
}

#[test]
fn a_parser_is_small() {
    assert!(size_of::<Parser>() <= 320, "{}", size_of::<Parser>());
}
