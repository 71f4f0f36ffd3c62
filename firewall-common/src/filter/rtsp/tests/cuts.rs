//! The same stream gives the same reports, however it is cut, repeated and reordered.

use proptest::prelude::*;

use super::conversations::{clean, killed, odd};
use super::driver::{Driver, Report, whole};
use crate::filter::parser::Parser as _;
use crate::policy::{Mode, Profile};

fn streams() -> Vec<Vec<u8>> {
    let odd = odd().into_iter().map(|(stream, _)| stream.to_vec());
    let killed = killed().into_iter().map(|(stream, _)| stream.to_vec());
    clean().into_iter().map(|(_, stream)| stream).chain(odd).chain(killed).collect()
}

/// Cuts `stream` at `cuts`, each taken modulo its length, into segments with their places.
fn cut<'a>(stream: &'a [u8], cuts: &[usize]) -> Vec<(usize, &'a [u8])> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % stream.len()).collect();
    ends.push(stream.len());
    ends.sort_unstable();
    ends.dedup();
    let mut at = 0;
    let mut segments = Vec::new();
    for end in ends.into_iter().filter(|&end| end > 0) {
        segments.push((at, &stream[at..end]));
        at = end;
    }
    segments
}

/// Sends `segments` in the given order, and those that are held again and again, as a sender would.
fn send(driver: &mut Driver, mut segments: Vec<(usize, &[u8])>) {
    while !segments.is_empty() {
        let before = segments.len();
        segments.retain(|(at, bytes)| !driver.segment(*at, bytes));
        assert!(segments.len() < before, "the segment that continues the stream passes");
    }
}

fn reports(profile: Profile, segments: Vec<(usize, &[u8])>) -> Vec<Report> {
    let mut driver = Driver::new(Mode::Enforce, profile);
    send(&mut driver, segments);
    driver.reports
}

#[test]
fn one_byte_a_segment_makes_no_difference() {
    for stream in streams() {
        let mut driver = Driver::new(Mode::Enforce, Profile::Standard);
        driver.segments(stream.chunks(1));
        assert_eq!(driver.reports, whole(&stream).reports, "{}", stream.escape_ascii());
        assert_eq!(driver.parser.offset(), stream.len() as u64);
    }
}

#[test]
fn a_cut_at_any_byte_makes_no_difference() {
    for stream in streams().into_iter().filter(|stream| stream.len() < 1000) {
        let expected = whole(&stream).reports;
        for at in 1..stream.len() {
            let segments = cut(&stream, &[at]);
            assert_eq!(reports(Profile::Standard, segments.clone()), expected);
            let swapped = segments.into_iter().rev().collect();
            assert_eq!(reports(Profile::Strict, swapped), expected);
        }
    }
}

#[test]
fn a_frame_over_forty_segments_is_one_frame() {
    let mut stream = b"SETUP * RTSP/1.0\r\nCSeq: 1\r\n\r\n$\x00\xff\xff".to_vec();
    stream.extend([b'R'; 0xffff]);
    stream.extend(b"TEARDOWN * RTSP/1.0\r\n\r\n");
    let mut driver = Driver::new(Mode::Enforce, Profile::Standard);
    driver.segments(stream.chunks(1448));
    assert_eq!(driver.names(), ["missing-cseq"]);
    assert_eq!(driver.reports, whole(&stream).reports);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn random_cuts_make_no_difference(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let stream = which.get(&streams()).clone();
        let expected = whole(&stream).reports;
        prop_assert_eq!(reports(Profile::Standard, cut(&stream, &cuts)), expected);
    }

    #[test]
    fn repeated_and_overlapping_segments_make_no_difference(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<usize>(), 1..12),
        other_cuts in prop::collection::vec(any::<usize>(), 1..12),
    ) {
        let stream = which.get(&streams()).clone();
        let expected = whole(&stream).reports;
        let mut segments = cut(&stream, &cuts);
        segments.extend(cut(&stream, &other_cuts));
        segments.sort_by_key(|(at, _)| *at);
        prop_assert_eq!(reports(Profile::Strict, segments), expected);
    }

    #[test]
    fn out_of_order_segments_that_are_held_make_no_difference(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<usize>(), 1..12),
        order in any::<prop::sample::Selector>(),
    ) {
        let stream = which.get(&streams()).clone();
        let expected = whole(&stream).reports;
        let mut segments = cut(&stream, &cuts);
        let mut shuffled = Vec::new();
        while !segments.is_empty() {
            let next = order.select(0..segments.len());
            shuffled.push(segments.remove(next));
        }
        prop_assert_eq!(reports(Profile::Strict, shuffled), expected);
    }

    #[test]
    fn any_bytes_in_any_order_are_read_without_panic(
        segments in prop::collection::vec((0usize..200, likely_bytes()), 0..40),
        joining: bool,
        enforce: bool,
    ) {
        let mode = if enforce { Mode::Enforce } else { Mode::Monitor };
        for profile in Profile::ALL {
            let new = if joining { Driver::joining } else { Driver::new };
            let mut driver = new(mode, profile);
            for (at, bytes) in &segments {
                let passed = driver.segment(*at, bytes);
                prop_assert!(passed || enforce);
            }
        }
    }

    #[test]
    fn the_offset_counts_every_byte(stream in likely_bytes(), cuts in prop::collection::vec(any::<usize>(), 0..6)) {
        prop_assume!(!stream.is_empty());
        let mut driver = Driver::new(Mode::Enforce, Profile::Standard);
        for (at, bytes) in cut(&stream, &cuts) {
            prop_assert!(driver.segment(at, bytes));
            prop_assert_eq!(driver.parser.offset(), (at + bytes.len()) as u64);
        }
        prop_assert_eq!(&driver.reports, &whole(&stream).reports);
        for report in &driver.reports {
            prop_assert!(report.offset < stream.len() as u64);
        }
    }
}

/// Bytes that reach deep into the grammar more often than random ones.
fn likely_bytes() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: [&[u8]; 22] = [
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
    ];
    let piece = prop_oneof![
        9 => prop::sample::select(WORDS.as_slice()).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}
