//! The pcapng format.

use super::{writer::*, *};

#[test]
fn blocks_of_all_kinds_are_read_in_both_byte_orders() {
    for order in ORDERS {
        assert_eq!(
            packets(&pcapng_of_all_kinds(order)),
            [
                packet(1, 1_000_000_000, b"first"),
                packet(2, 2_000_000_000, b"second"),
                packet(3, 2_000_000_000, b"third"),
                packet(4, 100_000_005_000, b"fourth"),
            ],
            "{order:?}"
        );
    }
}

#[test]
fn times_follow_their_interface() {
    let mut capture = Pcapng::new(BIG);
    capture.interface(1, 0, &[(IF_TSRESOL, &[3])]);
    capture.interface(1, 0, &[(IF_TSRESOL, &[0x80 | 10]), (IF_TSOFFSET, &BIG.i64(-1))]);
    capture.enhanced(0, 1_500, b"");
    capture.enhanced(1, 2_048 + 512, b"");
    let times: Vec<u64> =
        packets(&capture.bytes).iter().map(|packet| packet.timestamp_ns).collect();
    assert_eq!(times, [1_500_000_000, 1_500_000_000]);
}

#[test]
fn options_after_the_end_of_options_count_for_nothing() {
    let mut capture = Pcapng::new(LITTLE);
    capture.interface(1, 0, &[(0, b""), (IF_TSRESOL, &[0])]);
    capture.enhanced(0, 1, b"");
    assert_eq!(packets(&capture.bytes)[0].timestamp_ns, 1_000);
}

#[test]
fn a_simple_packet_ends_where_the_snapshot_length_says() {
    let mut capture = Pcapng::new(LITTLE);
    capture.interface(1, 5, &[]);
    capture.simple(1500, b"01234");
    assert_eq!(packets(&capture.bytes), [Packet { original_len: 1500, ..packet(1, 0, b"01234") }]);
}

#[test]
fn a_simple_packet_shorter_than_it_says_is_refused() {
    let mut capture = Pcapng::new(LITTLE);
    capture.interface(1, 0, &[]);
    capture.simple(1500, b"0123");
    assert!(matches!(error(&capture.bytes), CaptureError::MalformedBlock { .. }));
}

#[test]
fn an_interface_of_another_link_type_matters_only_if_it_has_packets() {
    let mut capture = Pcapng::new(LITTLE);
    capture.interface(1, 0, &[]);
    capture.interface(220, 0, &[]);
    capture.enhanced(0, 1, b"frame");
    assert_eq!(packets(&capture.bytes).len(), 1);
    capture.enhanced(1, 1, b"urb");
    let (packets, error) = read_all(&capture.bytes);
    assert_eq!(packets.len(), 1);
    let told = error.expect("the second is no Ethernet frame").to_string();
    assert!(told.starts_with("packet 2 has link type USB_LINUX_MMAPPED (220)"), "{told}");
}

#[test]
fn a_packet_needs_its_interface() {
    for interface in [1, u32::MAX] {
        let mut capture = Pcapng::new(LITTLE);
        capture.interface(1, 0, &[]);
        capture.enhanced(interface, 1, b"frame");
        let error = error(&capture.bytes);
        assert!(
            matches!(error, CaptureError::UnknownInterface { packet: 1, known: 1, .. }),
            "{error:?}"
        );
    }
    let mut capture = Pcapng::new(LITTLE);
    capture.interface(1, 0, &[]);
    capture.section(LITTLE);
    capture.simple(0, b"");
    assert!(matches!(error(&capture.bytes), CaptureError::UnknownInterface { known: 0, .. }));
}

#[test]
fn interfaces_are_not_collected_without_end() {
    let mut capture = Pcapng::new(LITTLE);
    for _ in 0..5_000 {
        capture.interface(1, 0, &[]);
    }
    assert!(matches!(error(&capture.bytes), CaptureError::TooManyInterfaces { max: 4096, .. }));
}

#[test]
fn lengths_that_lie_are_refused() {
    let with_lengths = |captured, original, data: &[u8]| {
        let mut capture = Pcapng::new(LITTLE);
        capture.interface(1, 0, &[]);
        capture.enhanced_with_lengths(0, 0, captured, original, data);
        error(&capture.bytes)
    };
    let too_long = vec![0; PACKET_BYTES_MAX as usize + 4];
    let error_of = with_lengths(PACKET_BYTES_MAX + 1, u32::MAX, &too_long);
    assert!(matches!(error_of, CaptureError::PacketTooLong { packet: 1, .. }), "{error_of:?}");
    for captured in [5, 100, u32::MAX - 4, u32::MAX] {
        let error = with_lengths(captured, u32::MAX, b"four");
        assert!(matches!(error, CaptureError::MalformedBlock { offset: 48, .. }), "{error:?}");
    }
    let error = with_lengths(4, 3, b"four");
    assert!(matches!(error, CaptureError::CapturedMoreThanSent { .. }), "{error:?}");
}

#[test]
fn block_lengths_that_lie_are_refused() {
    let with_length = |first: u32, last: u32| {
        let mut capture = Pcapng::new(LITTLE);
        capture.interface(1, 0, &[]);
        capture.enhanced(0, 0, b"four");
        let (start, end) = (capture.block_ends[1], capture.block_ends[2]);
        capture.bytes[start + 4..start + 8].copy_from_slice(&first.to_le_bytes());
        capture.bytes[end - 4..].copy_from_slice(&last.to_le_bytes());
        error(&capture.bytes)
    };
    for length in [0, 8, 37, 0x7fff_fffc, u32::MAX] {
        let error = with_length(length, 36);
        assert!(
            matches!(error, CaptureError::BlockLength { offset: 48, .. }),
            "{length} {error:?}"
        );
    }
    assert!(matches!(with_length(36, 40), CaptureError::MalformedBlock { offset: 48, .. }));
    assert!(matches!(with_length(40, 36), CaptureError::Truncated { offset: 48, .. }));
    assert!(matches!(with_length(12, 36), CaptureError::MalformedBlock { offset: 48, .. }));
}

#[test]
fn what_cannot_be_read_says_so() {
    let mut capture = Pcapng::new(LITTLE);
    capture.block(2, &[0; 20]);
    assert!(matches!(error(&capture.bytes), CaptureError::ObsoletePacketBlock { packet: 1, .. }));

    let mut bytes = Pcapng::new(LITTLE).bytes;
    bytes[12] = 2;
    assert!(matches!(error(&bytes), CaptureError::Version { format: "pcapng", major: 2, .. }));

    let mut bytes = Pcapng::new(LITTLE).bytes;
    bytes[8] = 0;
    assert!(matches!(error(&bytes), CaptureError::MalformedBlock { offset: 0, .. }));

    let mut capture = Pcapng::new(LITTLE);
    capture.interface(1, 0, &[(IF_TSRESOL, &[6, 6])]);
    assert!(matches!(error(&capture.bytes), CaptureError::MalformedBlock { offset: 28, .. }));

    let mut capture = Pcapng::new(LITTLE);
    capture.interface(1, 0, &[(IF_TSRESOL, &[0])]);
    capture.enhanced(0, u64::MAX, b"");
    assert!(matches!(error(&capture.bytes), CaptureError::Timestamp { packet: 1, .. }));
}
