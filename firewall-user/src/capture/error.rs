//! What can be wrong with a capture. Offsets are in bytes from the start of the file.

use std::{io, path::PathBuf};

use thiserror::Error;

use super::{LinkType, PACKET_BYTES_MAX};

/// Why a capture cannot be read, or not further.
#[derive(Debug, Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the message of each variant says what it is and what its fields hold"
)]
pub enum CaptureError {
    #[error("cannot open {}: {error}", path.display())]
    Open { path: PathBuf, error: io::Error },
    #[error("cannot read the capture at byte {offset}: {error}")]
    Read { offset: u64, error: io::Error },
    #[error("the capture is empty: it has not even a header")]
    Empty,
    #[error(
        "this is no capture: it begins with the bytes {magic}, \
         and a pcap or pcapng file does not{hint}"
    )]
    NotACapture { magic: String, hint: &'static str },
    #[error("version {major}.{minor} of the {format} format is not supported")]
    Version { format: &'static str, major: u16, minor: u16 },
    /// The file ends inside a record. The packets before it are whole.
    #[error(
        "the capture is cut off: the record at byte {offset}, after packet {after_packet}, \
         ends beyond the end of the file at byte {file_len}"
    )]
    Truncated {
        /// Number of the last whole packet; 0 if there is none.
        after_packet: u64,
        /// Where the record begins of which a part is missing.
        offset: u64,
        /// Where the file ends.
        file_len: u64,
    },
    #[error(
        "packet {packet} has link type {link_type}, and only {} is supported: \
         capture on one Ethernet interface, not on `any`",
        LinkType::ETHERNET
    )]
    LinkType { packet: u64, link_type: LinkType },
    #[error(
        "packet {packet}, at byte {offset}, claims {captured_len} captured bytes, and {} is the most",
        PACKET_BYTES_MAX
    )]
    PacketTooLong { packet: u64, offset: u64, captured_len: u32 },
    #[error(
        "packet {packet}, at byte {offset}, claims {captured_len} captured bytes \
         of the {original_len} that it had"
    )]
    CapturedMoreThanSent { packet: u64, offset: u64, captured_len: u32, original_len: u32 },
    #[error(
        "the block at byte {offset} claims a length of {length} bytes, which its type cannot have"
    )]
    BlockLength { offset: u64, length: u32 },
    #[error("the block at byte {offset} is malformed: {reason}")]
    MalformedBlock { offset: u64, reason: &'static str },
    #[error(
        "packet {packet}, at byte {offset}, is of interface {interface}, \
         and the section has described {known} so far"
    )]
    UnknownInterface { packet: u64, offset: u64, interface: u32, known: usize },
    #[error(
        "the block at byte {offset} describes an interface, and {max} is the most for a section"
    )]
    TooManyInterfaces { offset: u64, max: usize },
    #[error(
        "the time of packet {packet}, at byte {offset}, is not between the years 1970 and 2554"
    )]
    Timestamp { packet: u64, offset: u64 },
    #[error(
        "packet {packet}, at byte {offset}, is in an obsolete Packet Block: \
         convert the file with `editcap`"
    )]
    ObsoletePacketBlock { packet: u64, offset: u64 },
}

impl CaptureError {
    /// A file that begins with `magic`, and what it may be instead of a capture.
    pub(super) fn not_a_capture(magic: [u8; 4]) -> Self {
        let hint = match magic {
            [0x1f, 0x8b, ..] => "; it is compressed with gzip: decompress it first",
            [0x28, 0xb5, 0x2f, 0xfd] => "; it is compressed with zstd: decompress it first",
            [0xfd, b'7', b'z', b'X'] => "; it is compressed with xz: decompress it first",
            [0x34, 0xcd, 0xb2, 0xa1] | [0xa1, 0xb2, 0xcd, 0x34] => {
                "; it is a pcap file of the modified kind: convert it with `editcap`"
            }
            [b's', b'n', b'o', b'o'] => "; it is a snoop file: convert it with `editcap`",
            _ => "",
        };
        let magic = magic.map(|byte| format!("{byte:02x}")).join(" ");
        Self::NotACapture { magic, hint }
    }
}
