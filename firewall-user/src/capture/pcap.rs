//! The pcap format (draft-ietf-opsawg-pcap): a header, then records of 16 bytes and a packet.

use std::io::Read;

use pcap_parser::{PcapHeader, parse_pcap_frame, parse_pcap_frame_be, parse_pcap_header};

use super::{CaptureError, LinkType, Packet, check_lengths, check_link_type, input::Input};

const HEADER_LEN: usize = 24;
const RECORD_HEADER_LEN: usize = 16;
/// Offset of the captured length in a record's header.
const CAPTURED_LEN_AT: usize = 8;
/// The bits of the header's last field that hold the link type. Those above tell whether frames end
/// with a check sequence; trailing bytes do no harm, since IP knows its own length.
const LINK_TYPE_MASK: u32 = 0x03ff_ffff;

/// Whether a file that begins with `magic` is a pcap file: in either byte order, with times in
/// microseconds or nanoseconds.
pub(super) fn is_magic(magic: [u8; 4]) -> bool {
    let is_known = |magic| matches!(magic, 0xa1b2_c3d4 | 0xa1b2_3c4d);
    is_known(u32::from_le_bytes(magic)) || is_known(u32::from_be_bytes(magic))
}

/// How the records of one file are to be read.
#[derive(Debug)]
pub(super) struct PcapFormat {
    is_big_endian: bool,
    ns_per_fraction: u64,
    link_type: LinkType,
}

impl PcapFormat {
    /// Reads the header, whose first bytes were `magic`.
    pub(super) fn new<R: Read>(magic: [u8; 4], input: &mut Input<R>) -> Result<Self, CaptureError> {
        input.extend_to(HEADER_LEN)?;
        let header: PcapHeader = match parse_pcap_header(input.record()) {
            Ok((_, header)) => header,
            Err(_) => return Err(CaptureError::not_a_capture(magic)),
        };
        // In versions before 2.4 the two lengths of a record may be swapped.
        if (header.version_major, header.version_minor) != (2, 4) {
            let (major, minor) = (header.version_major, header.version_minor);
            return Err(CaptureError::Version { format: "pcap", major, minor });
        }
        let link_type = LinkType(header.network.0 as u32 & LINK_TYPE_MASK);
        check_link_type(1, link_type)?;
        Ok(Self {
            is_big_endian: header.is_bigendian(),
            ns_per_fraction: if header.is_nanosecond_precision() { 1 } else { 1_000 },
            link_type,
        })
    }

    /// The next packet, or `None` at the end of the file.
    pub(super) fn packet<R: Read>(
        &mut self,
        number: u64,
        input: &mut Input<R>,
    ) -> Result<Option<Packet>, CaptureError> {
        if !input.extend_or_end(RECORD_HEADER_LEN)? {
            return Ok(None);
        }
        let [captured_len, original_len] =
            [CAPTURED_LEN_AT, CAPTURED_LEN_AT + 4].map(|at| self.u32(input.bytes_at(at)));
        check_lengths(number, input.record_offset(), captured_len, original_len)?;
        input.extend_to(RECORD_HEADER_LEN + captured_len as usize)?;

        let parse = if self.is_big_endian { parse_pcap_frame_be } else { parse_pcap_frame };
        let Ok((_, frame)) = parse(input.record()) else {
            let reason = "it is shorter than it says";
            let offset = input.record_offset();
            return Err(CaptureError::MalformedBlock { offset, reason });
        };
        // No overflow: both factors are of 32 bits, and 2^32 seconds are less than half of 2^64 ns.
        let timestamp_ns = u64::from(frame.ts_sec) * 1_000_000_000
            + u64::from(frame.ts_usec) * self.ns_per_fraction;
        Ok(Some(Packet {
            number,
            timestamp_ns,
            original_len: frame.origlen,
            data: frame.data.to_vec(),
            link_type: self.link_type,
        }))
    }

    fn u32(&self, bytes: [u8; 4]) -> u32 {
        if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}
