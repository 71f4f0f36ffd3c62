//! Reading captures: pcap and pcapng files, one packet after the other.
//!
//! A file is read as a stream, one record at a time, so that memory is bounded by the largest record
//! allowed and not by the file. The framing is done here, with every length checked before anything
//! is read or kept; what is inside a record is decoded by the pcap-parser crate.
//!
//! Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng (IETF).

mod error;
mod input;
mod link_type;
mod pcap;
mod pcapng;

use std::{fs::File, io::BufReader, io::Read, path::Path};

pub use error::CaptureError;
use input::Input;
pub use link_type::LinkType;
use pcap::PcapFormat;
use pcapng::PcapngFormat;

/// Most bytes that one packet can have in a capture: what tcpdump and Wireshark record at most.
pub const PACKET_BYTES_MAX: u32 = 256 << 10;

/// One packet of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its number in the file, from 1, as other tools count.
    pub number: u64,
    /// When it was captured, in nanoseconds since the epoch (1970-01-01 UTC). A pcapng simple packet
    /// has no time; it takes that of the packet before it, or 0.
    pub timestamp_ns: u64,
    /// Its length on the wire, in bytes; more than `data` has if the capture kept only a part.
    pub original_len: u32,
    /// The bytes that were captured, from the link-layer header on; [`PACKET_BYTES_MAX`] at most.
    pub data: Vec<u8>,
    /// What `data` begins with; always [`LinkType::ETHERNET`], others are refused.
    pub link_type: LinkType,
}

/// A capture that is being read. It iterates over the packets; after an error it ends.
#[derive(Debug)]
pub struct Capture<R> {
    input: Input<R>,
    format: Format,
    packets_read: u64,
    is_finished: bool,
}

#[derive(Debug)]
enum Format {
    Pcap(PcapFormat),
    Pcapng(PcapngFormat),
}

impl Capture<BufReader<File>> {
    /// Opens the capture at `path`.
    ///
    /// # Errors
    /// If the file cannot be opened, and as [`Capture::new`].
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let file = File::open(path)
            .map_err(|error| CaptureError::Open { path: path.to_owned(), error })?;
        Self::new(BufReader::new(file))
    }
}

impl<R: Read> Capture<R> {
    /// Reads the header of a capture. `reader` should be buffered: it is read in small pieces.
    ///
    /// # Errors
    /// If this is no capture, or one of a kind that is not supported.
    pub fn new(reader: R) -> Result<Self, CaptureError> {
        let mut input = Input::new(reader);
        let magic = input.magic()?;
        let format = match magic {
            pcapng::MAGIC => Format::Pcapng(PcapngFormat::new(&mut input)?),
            _ if pcap::is_magic(magic) => Format::Pcap(PcapFormat::new(magic, &mut input)?),
            _ => return Err(CaptureError::not_a_capture(magic)),
        };
        Ok(Self { input, format, packets_read: 0, is_finished: false })
    }

    fn read_packet(&mut self) -> Result<Option<Packet>, CaptureError> {
        let number = self.packets_read + 1;
        self.input.begin_record(self.packets_read);
        let packet = match &mut self.format {
            Format::Pcap(format) => format.packet(number, &mut self.input)?,
            Format::Pcapng(format) => format.packet(number, &mut self.input)?,
        };
        self.packets_read += u64::from(packet.is_some());
        Ok(packet)
    }
}

impl<R: Read> Iterator for Capture<R> {
    type Item = Result<Packet, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_finished {
            return None;
        }
        let packet = self.read_packet().transpose();
        self.is_finished = !matches!(packet, Some(Ok(_)));
        packet
    }
}

/// Refuses a packet of which more was captured than is allowed, or than there was.
fn check_lengths(
    number: u64,
    offset: u64,
    captured_len: u32,
    original_len: u32,
) -> Result<(), CaptureError> {
    if captured_len > PACKET_BYTES_MAX {
        Err(CaptureError::PacketTooLong { packet: number, offset, captured_len })
    } else if captured_len > original_len {
        Err(CaptureError::CapturedMoreThanSent {
            packet: number,
            offset,
            captured_len,
            original_len,
        })
    } else {
        Ok(())
    }
}

/// Refuses a packet that is no Ethernet frame.
fn check_link_type(number: u64, link_type: LinkType) -> Result<(), CaptureError> {
    match link_type {
        LinkType::ETHERNET => Ok(()),
        _ => Err(CaptureError::LinkType { packet: number, link_type }),
    }
}

#[cfg(test)]
mod tests;
