//! The same stream gives the same reports, however it is cut, repeated and reordered; and no stream at all does
//! harm.

use proptest::prelude::*;

use super::grammar::{clean, killed, odd};
use crate::filter::drive::{Drive, Passage};
use crate::filter::parser::Parser as _;
use crate::filter::rtsp::Parser;
use crate::filter::tests::talk::{FIRST, Talk, client, server};
use crate::flow::Direction;
use crate::policy::{Mode, Profile};

fn streams() -> Vec<Vec<u8>> {
    let odd = odd().into_iter().map(|(stream, _)| stream.to_vec());
    let killed = killed().into_iter().map(|(stream, _)| stream.to_vec());
    clean().into_iter().map(|(_, stream)| stream).chain(odd).chain(killed).collect()
}

/// Whether the standard profile holds back what lies behind any gap in it: it does not in bodies and media.
fn is_all_heads(stream: &[u8]) -> bool {
    stream.len() < 1000
        && !stream.windows(7).any(|word| word == b"-Length")
        && !stream.contains(&b'$')
}

#[test]
fn no_way_of_delivery_makes_a_difference() {
    for stream in streams().into_iter().filter(|stream| stream.len() < 1000) {
        for profile in Profile::ALL {
            if profile == Profile::Strict || is_all_heads(&stream) {
                Talk::new([client(&stream)]).in_profile(profile).every_way::<Parser>();
                Talk::new([server(&stream)]).in_profile(profile).every_way::<Parser>();
            }
        }
    }
}

#[test]
fn a_cut_at_any_byte_makes_no_difference() {
    for stream in streams().into_iter().filter(|stream| stream.len() < 1000) {
        let talk = Talk::new([client(&stream)]);
        let expected = talk.whole::<Parser>();
        for at in 1..stream.len() {
            let cut = |len| vec![(0, at), (at, len)];
            assert_eq!(talk.deliver::<Parser>(cut), expected, "{at}");
            let swapped = |len| vec![(at, len), (0, at)];
            assert_eq!(talk.deliver::<Parser>(swapped), expected, "{at}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_in_any_order_are_read_without_panic(
        segments in prop::collection::vec((any::<bool>(), 0usize..200, likely_bytes()), 0..40),
        joining: bool,
        enforce: bool,
    ) {
        let mode = if enforce { Mode::Enforce } else { Mode::Monitor };
        for profile in Profile::ALL {
            let mut drive = match joining {
                true => Drive::<Parser>::joining(mode, profile),
                false => Drive::new(mode, profile, FIRST),
            };
            for (reply, at, bytes) in &segments {
                let (direction, first) = match reply {
                    true => (Direction::Reply, FIRST[1]),
                    false => (Direction::Original, FIRST[0]),
                };
                let seq = first.wrapping_add(*at as u32);
                let passage = drive.segment(direction, seq, bytes, |_, _| {});
                prop_assert!(passage == Passage::Passed || enforce);
            }
        }
    }

    #[test]
    fn any_conversation_is_the_same_in_every_way(
        turns in prop::collection::vec((any::<bool>(), likely_bytes()), 1..4),
        cuts in prop::collection::vec(1..30_usize, 1..12),
    ) {
        let turns = turns.into_iter().map(|(reply, bytes)| match reply {
            true => server(bytes),
            false => client(bytes),
        });
        let talk = Talk::new(turns);
        let expected = talk.whole::<Parser>();
        let cut = |len: usize| {
            let mut at = 0;
            let mut list = Vec::new();
            for cut in cuts.iter().cycle() {
                if at == len {
                    break;
                }
                let end = len.min(at + cut);
                list.push((at, end));
                at = end;
            }
            list
        };
        prop_assert_eq!(talk.deliver::<Parser>(cut), expected);
    }

    #[test]
    fn the_offset_counts_every_byte(stream in likely_bytes()) {
        let mut drive = Drive::<Parser>::new(Mode::Monitor, Profile::Standard, FIRST);
        let mut offsets = Vec::new();
        for (at, byte) in stream.iter().enumerate() {
            let seq = FIRST[0].wrapping_add(at as u32);
            drive.segment(Direction::Original, seq, &[*byte], |parser, outcome| {
                if let Some(code) = outcome.found().first() {
                    offsets.push(parser.finding_offset(code));
                }
            });
            prop_assert_eq!(drive.parser(Direction::Original).offset(), at as u64 + 1);
        }
        prop_assert!(offsets.iter().all(|offset| *offset < stream.len() as u64));
    }
}

/// Bytes that reach deep into the grammar more often than random ones.
fn likely_bytes() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: [&[u8]; 31] = [
        b"\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b" ",
        b"\t",
        b":",
        b"$",
        b"\0\0\x05",
        b"SETUP ",
        b"X ",
        b"rtsp://u:p@h/ ",
        b"* ",
        b"RTSP/1.0",
        b"HTTP/1.1",
        b"RTSP/1.0 200 OK\r\n",
        b"OPTIONS * RTSP/1.0\r\n",
        b"CSeq: 1\r\n",
        b"Content-Length: 3\r\n",
        b"Accept: ",
        b"application/x-rtsp-tunnelled",
        b"Authorization: x\r\n",
        b"TEARDOWN ",
        b"POST ",
        b"Transport: RTP/AVP;",
        b"client_port=4588-4589;",
        b"server_port=6256",
        b"dest_addr=\"[::1]:5000\"/",
        b"destination=9.9.9.9,",
        b"Session: 1;timeout=5\r\n",
        b"T1BUSU9OUyAqIFJUU1AvMS4w",
    ];
    let piece = prop_oneof![
        9 => prop::sample::select(WORDS.as_slice()).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}
