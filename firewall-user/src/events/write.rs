//! The packets behind events as a capture, each with a comment that says what became of it: pcapng
//! (draft-ietf-opsawg-pcapng), which Wireshark and tshark read.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use anyhow::Result;
use pcap_file::{
    DataLink, Endianness, PcapError,
    pcapng::{
        PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
            section_header::{SectionHeaderBlock, SectionHeaderOption},
        },
    },
};

use super::words::{bounded, finding, rule};
use crate::event::{Captured, Event, Link, epoch_ns};

/// Most bytes of a comment; the format takes 65,535.
const COMMENT_MAX: usize = 4_096;
/// Most bytes of an interface's name. Those of the kernel have 15.
const NAME_MAX: usize = 64;
/// if_tsresol: times are in units of 10 to the power of minus this, in seconds. What pcap-file writes.
const NANOSECONDS: u8 = 9;

/// Opens a file for packets, in place of what is in it. A new one is its owner's alone to read: they may hold passwords.
pub fn create_capture(path: &Path) -> io::Result<File> {
    const MODE: u32 = 0o600;
    OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(path)
}

/// A capture that packets are written to.
pub struct PacketFile<W: Write> {
    writer: PcapNgWriter<Counted<W>>,
    /// Those that are described in it, in this order.
    interfaces: Vec<(Option<String>, Link)>,
    packets: u64,
}

impl<W: Write> PacketFile<W> {
    /// Begins a capture.
    pub fn new(to: W) -> Result<Self, io::Error> {
        let software = concat!("fwx ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            // Wireshark takes no other from a pipe.
            endianness: Endianness::native(),
            options: vec![SectionHeaderOption::UserApplication(software.into())],
            ..SectionHeaderBlock::default()
        };
        let to = Counted { to, bytes: 0 };
        let writer = PcapNgWriter::with_section_header(to, section).map_err(io_error)?;
        Ok(Self { writer, interfaces: Vec::new(), packets: 0 })
    }

    /// Adds the packet behind `event`. `false`: it has none.
    pub fn add(&mut self, event: &Event) -> Result<bool, io::Error> {
        let Some(packet) = &event.packet else { return Ok(false) };
        let interface_id = self.interface(event.interface.as_deref(), packet.link)?;
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: timestamp(event),
            original_len: original_len(packet),
            data: packet.bytes.as_slice().into(),
            options: vec![EnhancedPacketOption::Comment(comment(event).into())],
        };
        self.writer.write_pcapng_block(block).map_err(io_error)?;
        self.packets += 1;
        Ok(true)
    }

    /// Writes what is still on its way.
    pub fn flush(&mut self) -> Result<(), io::Error> {
        self.writer.get_mut().flush()
    }

    /// Packets in it.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// How long it is, in bytes.
    pub fn bytes(&self) -> u64 {
        self.writer.get_ref().bytes
    }

    /// The number of an interface, which is described in the capture from here on. A capture has one type of link for
    /// each.
    fn interface(&mut self, name: Option<&str>, link: Link) -> Result<u32, io::Error> {
        let is = |known: &(Option<String>, Link)| known.0.as_deref() == name && known.1 == link;
        if let Some(index) = self.interfaces.iter().position(is) {
            return Ok(index as u32);
        }
        let link_type = match link {
            Link::Ethernet => DataLink::ETHERNET,
            Link::Ip => DataLink::RAW,
        };
        let mut block = InterfaceDescriptionBlock::new(link_type, 0);
        let name_option =
            name.map(|name| InterfaceDescriptionOption::IfName(bounded(name, NAME_MAX).into()));
        block.options.extend(name_option);
        block.options.push(InterfaceDescriptionOption::IfTsResol(NANOSECONDS));
        self.writer.write_pcapng_block(block).map_err(io_error)?;
        self.interfaces.push((name.map(str::to_owned), link));
        Ok(self.interfaces.len() as u32 - 1)
    }
}

/// When it was caught. The format knows no time before 1970 and none that 64 bits do not hold; such is 1970.
fn timestamp(event: &Event) -> Duration {
    let nanoseconds = epoch_ns(&event.timestamp).and_then(|time| u64::try_from(time).ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// Its length on the wire. No capture holds more of a packet than there was.
fn original_len(packet: &Captured) -> u32 {
    packet.length.max(u32::try_from(packet.bytes.len()).unwrap_or(u32::MAX))
}

/// What became of the packet and why, one line.
fn comment(event: &Event) -> String {
    let because = event.caused_by.map(|cause| format!("because of kill {cause}"));
    let direction = event.direction.as_ref().map_or_else(String::new, |it| format!(" {it}"));
    let parts = [
        event.code.clone().zip(event.reason.clone()).map(|(code, name)| format!("{code} {name}")),
        Some(match event.event_id {
            // Nobody was told of it.
            0 => event.event.clone(),
            number => format!("{} {number}", event.event),
        }),
        because,
        event.flow_id.map(|flow| format!("flow {flow}{direction}")),
        event.protocol.as_ref().map(|protocol| format!("protocol {protocol}")),
        rule(event),
        finding(event),
        event.message.clone(),
    ];
    bounded(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "), COMMENT_MAX)
}

/// Blocks are made here: only writing them can fail.
fn io_error(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

/// Counts what is written.
#[derive(Debug)]
struct Counted<W> {
    to: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.to.write(buffer)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
