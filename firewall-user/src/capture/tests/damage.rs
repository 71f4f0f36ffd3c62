//! Captures that are cut off, or that hold anything at all.

use proptest::prelude::*;

use super::{writer::*, *};

/// Cuts `whole` at every byte. `ends` are the offsets between records, at which a cut is no error.
fn assert_cut_anywhere(whole: &[u8], ends: &[usize]) {
    let all = packets(whole);
    for len in 0..whole.len() {
        let (packets, error) = read_all(&whole[..len]);
        assert_eq!(packets, all[..packets.len()], "cut at {len}");
        match error {
            None => assert!(ends.contains(&len), "cut at {len}"),
            Some(CaptureError::Empty) => assert_eq!(len, 0),
            Some(CaptureError::Truncated { after_packet, offset, file_len }) => {
                assert!(!ends.contains(&len), "cut at {len}");
                let begun = ends.iter().copied().filter(|end| *end < len).max().unwrap_or(0);
                assert_eq!((offset, file_len), (begun as u64, len as u64), "cut at {len}");
                assert_eq!(after_packet, packets.len() as u64, "cut at {len}");
            }
            Some(error) => panic!("cut at {len}: {error}"),
        }
    }
}

#[test]
fn a_pcap_file_cut_at_any_byte_gives_its_whole_packets() {
    for order in ORDERS {
        let mut capture = Pcap::new(order);
        let mut ends = vec![capture.bytes.len()];
        for data in [&b"first"[..], b"", b"the third packet"] {
            capture.packet(1, 2, data);
            ends.push(capture.bytes.len());
        }
        assert_cut_anywhere(&capture.bytes, &ends);
    }
}

#[test]
fn a_pcapng_file_cut_at_any_byte_gives_its_whole_packets() {
    for order in ORDERS {
        let capture = all_kinds(order);
        assert_cut_anywhere(&capture.bytes, &capture.block_ends);
    }
}

/// Reads whatever comes. What is given must be within bounds.
fn assert_bounded(bytes: &[u8]) {
    let (packets, error) = read_all(bytes);
    for (index, packet) in packets.iter().enumerate() {
        assert_eq!(packet.number, index as u64 + 1);
        assert!(packet.data.len() as u32 <= packet.original_len.min(PACKET_BYTES_MAX));
    }
    if let Some(error) = error {
        assert!(!error.to_string().is_empty());
    }
}

fn good_capture() -> impl Strategy<Value = Vec<u8>> {
    let mut pcap = Pcap::new(LITTLE);
    pcap.packet(1, 2, b"first");
    pcap.packet(1, 2, &[0; 100]);
    let mut other = Pcap::with_header(BIG, 0xa1b2_3c4d, 1);
    other.packet(3, 4, b"a packet");
    prop::sample::select(vec![
        pcap.bytes,
        other.bytes,
        pcapng_of_all_kinds(LITTLE),
        pcapng_of_all_kinds(BIG),
    ])
}

/// Bytes that make a length or a count very small, very large or negative.
fn edge_value() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![0, 1, 0x7f, 0x80, 0xff])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        assert_bounded(&bytes);
    }

    #[test]
    fn no_damage_causes_a_panic(
        mut bytes in good_capture(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        // Small offsets hold the headers, where damage does most.
        early in prop::collection::vec((0..200usize, edge_value()), 0..4),
        len in any::<prop::sample::Index>(),
    ) {
        for (index, value) in damage {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        for (at, value) in early {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        assert_bounded(&bytes);
        assert_bounded(&bytes[..len.index(bytes.len())]);
    }
}
