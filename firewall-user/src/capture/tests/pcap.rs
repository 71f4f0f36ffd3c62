//! The pcap format.

use super::{writer::*, *};

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;

#[test]
fn both_byte_orders_and_both_units_are_read() {
    for order in ORDERS {
        for (magic, timestamp_ns) in
            [(MICROSECONDS, 7_000_000_123_000), (NANOSECONDS, 7_000_000_000_123)]
        {
            let mut capture = Pcap::with_header(order, magic, 1);
            capture.packet(7_000, 123, b"first frame");
            capture.packet(7_000, 123, b"");
            assert_eq!(
                packets(&capture.bytes),
                [packet(1, timestamp_ns, b"first frame"), packet(2, timestamp_ns, b"")],
                "{order:?} {magic:x}"
            );
        }
    }
}

#[test]
fn the_latest_time_fits() {
    let mut capture = Pcap::new(LITTLE);
    capture.packet(u32::MAX, u32::MAX, b"");
    assert_eq!(packets(&capture.bytes)[0].timestamp_ns, 4_294_967_295 * 1_000_001_000);
}

#[test]
fn a_packet_of_which_a_part_was_kept_tells_its_length() {
    let mut capture = Pcap::new(BIG);
    capture.record(1, 0, 4, 1500, b"part");
    assert_eq!(
        packets(&capture.bytes),
        [Packet { original_len: 1500, ..packet(1, 1_000_000_000, b"part") }]
    );
}

#[test]
fn a_header_alone_is_a_capture_of_nothing() {
    assert_eq!(packets(&Pcap::new(LITTLE).bytes), []);
}

#[test]
fn the_largest_packet_is_read_and_one_byte_more_refused() {
    let largest = vec![5; PACKET_BYTES_MAX as usize];
    let mut capture = Pcap::new(LITTLE);
    capture.packet(0, 0, &largest);
    assert_eq!(packets(&capture.bytes)[0].data, largest);

    // Where the header lies about the length the data is not even looked for.
    for captured in [PACKET_BYTES_MAX + 1, u32::MAX] {
        let mut capture = Pcap::new(LITTLE);
        capture.packet(0, 0, b"good");
        capture.record(0, 0, captured, captured, b"");
        let error = error(&capture.bytes);
        let CaptureError::PacketTooLong { packet: 2, offset: 44, captured_len } = error else {
            panic!("{error:?}");
        };
        assert_eq!(captured_len, captured);
    }
}

#[test]
fn more_captured_than_sent_is_refused() {
    let mut capture = Pcap::new(LITTLE);
    capture.record(0, 0, 4, 3, b"four");
    let error = error(&capture.bytes);
    assert!(
        matches!(error, CaptureError::CapturedMoreThanSent { packet: 1, offset: 24, .. }),
        "{error:?}"
    );
}

#[test]
fn other_link_types_are_named() {
    for (link_type, name) in [(101, "RAW (101)"), (113, "LINUX_SLL (113)"), (9999, "9999")] {
        let told = error(&Pcap::with_header(LITTLE, MICROSECONDS, link_type).bytes).to_string();
        assert!(told.contains(name) && told.contains("ETHERNET (1)"), "{told}");
    }
}

#[test]
fn the_length_of_check_sequences_is_no_part_of_the_link_type() {
    let mut capture = Pcap::with_header(LITTLE, MICROSECONDS, 0x2400_0001 | 0x4000_0000);
    capture.packet(0, 0, b"frame");
    assert_eq!(packets(&capture.bytes).len(), 1);
}

#[test]
fn other_versions_are_refused() {
    let mut bytes = Pcap::new(LITTLE).bytes;
    bytes[6] = 2;
    assert!(matches!(error(&bytes), CaptureError::Version { format: "pcap", major: 2, minor: 2 }));
}
