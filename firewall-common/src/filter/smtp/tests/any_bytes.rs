//! Any bytes are read without panic, and every one of them is counted.

use proptest::prelude::*;

use super::*;
use crate::filter::drive::Drive;
use crate::filter::parser::Parser as _;
use crate::flow::Direction;
use crate::policy::Mode;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn the_offset_counts_every_byte(
        turns in prop::collection::vec((any::<bool>(), likely_bytes()), 0..20),
        joining: bool,
    ) {
        let mut drive = if joining {
            Drive::<Parser>::joining(Mode::Monitor, Profile::Strict)
        } else {
            Drive::<Parser>::new(Mode::Monitor, Profile::Strict, [0, 0])
        };
        let mut said = [0_u64; 2];
        for (is_client, bytes) in turns {
            let direction = if is_client { Direction::Original } else { Direction::Reply };
            let said = &mut said[direction as usize];
            let (seq, end) = (*said as u32, *said + bytes.len() as u64);
            drive.segment(direction, seq, &bytes, |parser, outcome| {
                assert!(parser.finding_offset(0) < end);
                assert!(outcome.found().bits() >> 29 == 0);
            });
            *said = end;
            prop_assert_eq!(drive.parser(direction).offset(), end);
        }
    }

    #[test]
    fn gaps_do_no_harm(
        segments in prop::collection::vec((any::<bool>(), 0..300_u32, likely_bytes()), 0..30),
        enforce: bool,
    ) {
        let mode = if enforce { Mode::Enforce } else { Mode::Monitor };
        let mut drive = Drive::<Parser>::new(mode, Profile::Standard, [0, 0]);
        for (is_client, seq, bytes) in segments {
            let direction = if is_client { Direction::Original } else { Direction::Reply };
            drive.segment(direction, seq, &bytes, |_, _| {});
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn the_cut_of_segments_makes_no_difference(
        turns in prop::collection::vec((any::<bool>(), likely_bytes()), 0..12),
    ) {
        let turns = turns.into_iter().map(|(is_client, bytes)| {
            if is_client { client(bytes) } else { server(bytes) }
        });
        Talk::new(turns).every_way::<Parser>();
    }
}

/// Bytes that reach deep into the grammar more often than random ones.
fn likely_bytes() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: [&[u8]; 30] = [
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b" ",
        b"\t",
        b".",
        b"\r\n.\r\n",
        b"\0",
        b"EHLO a\r\n",
        b"LHLO a\r\n",
        b"MAIL FROM:<a@b>",
        b"RCPT TO:<\"a\\\"b\"@c> X=1\r\n",
        b"DATA\r\n",
        b"BDAT ",
        b"12 LAST\r\n",
        b"4000000000\r\n",
        b"AUTH PLAIN ",
        b"STARTTLS\r\n",
        b"XEXCH50 3 2\r\n",
        b"QUIT\r\n",
        b"250 Ok\r\n",
        b"250-CHUNKING\r\n",
        b"354 Go\r\n",
        b"334 \r\n",
        b"220 mx\r\n",
        b"500 No\r\n",
        b"421 Bye\r\n",
        b"HTTP/1.1",
    ];
    let piece = prop_oneof![
        9 => prop::sample::select(WORDS.as_slice()).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}
