//! Captures as tests write them: classic pcap with nanosecond timestamps, Ethernet.
//! Source: draft-ietf-opsawg-pcap.

/// The magic number of a capture with nanoseconds.
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const VERSION: (u16, u16) = (2, 4);
/// Longer than any frame that a test builds.
const SNAPLEN: u32 = 256 * 1024;
const LINKTYPE_ETHERNET: u32 = 1;
const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// A capture file of `frames`, each with the time it was seen at, in nanoseconds since 1970.
///
/// # Panics
///
/// When a frame is longer than 4 GiB, or its time is after the year 2106.
pub fn pcap_bytes<F: AsRef<[u8]>>(frames: &[(u64, F)]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(MAGIC_NANOSECONDS.to_le_bytes());
    file.extend(VERSION.0.to_le_bytes());
    file.extend(VERSION.1.to_le_bytes());
    file.extend([0; 8]); // time zone and accuracy, both always zero
    file.extend(SNAPLEN.to_le_bytes());
    file.extend(LINKTYPE_ETHERNET.to_le_bytes());
    for (time_ns, frame) in frames {
        let frame = frame.as_ref();
        let length = u32::try_from(frame.len()).expect("a frame is shorter than 4 GiB");
        let seconds = u32::try_from(time_ns / NANOSECONDS_PER_SECOND).expect("before 2106");
        let nanoseconds = (time_ns % NANOSECONDS_PER_SECOND) as u32;
        for number in [seconds, nanoseconds, length, length] {
            file.extend(number.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_its_time_and_both_lengths() {
        let file = pcap_bytes(&[(1_500_000_007, b"frame")]);
        assert_eq!(file.len(), 24 + 16 + 5);
        assert_eq!(file[..4], [0x4d, 0x3c, 0xb2, 0xa1]);
        assert_eq!(file[24..28], 1_u32.to_le_bytes());
        assert_eq!(file[28..32], 500_000_007_u32.to_le_bytes());
        assert_eq!(file[32..40], [5, 0, 0, 0, 5, 0, 0, 0]);
        assert_eq!(&file[40..], b"frame");
    }
}
