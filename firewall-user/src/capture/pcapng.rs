//! The pcapng format (draft-ietf-opsawg-pcapng): blocks in sections, each section with its own byte
//! order and its own interfaces.

use std::io::Read;

use pcap_parser::{
    Block, EnhancedPacketBlock, InterfaceDescriptionBlock, OptionCode, SimplePacketBlock,
    parse_block_be, parse_block_le, traits::PcapNGPacketBlock,
};

use super::{
    CaptureError, LinkType, PACKET_BYTES_MAX, Packet, check_lengths, check_link_type, input::Input,
};

/// What a pcapng file begins with: the type of a section header, the same in both byte orders.
pub(super) const MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

const SECTION_HEADER: u32 = u32::from_le_bytes(MAGIC);
const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// A section header's third field, by which its byte order is known.
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// Type and length, and the length again at the end.
const BLOCK_LEN_MIN: u32 = 12;
/// Most bytes that a block can have that is kept in memory: a packet, and options around it.
/// Blocks of other types are skipped, however long.
const KEPT_BLOCK_LEN_MAX: u32 = PACKET_BYTES_MAX + (256 << 10);
/// Most interfaces that a section can describe.
const INTERFACES_MAX: usize = 4096;
const NS_PER_SECOND: u32 = 1_000_000_000;

/// What is known of the section that is being read.
#[derive(Debug, Default)]
pub(super) struct PcapngFormat {
    is_big_endian: bool,
    interfaces: Vec<Interface>,
    /// Time of the last packet, for those that have none.
    last_timestamp_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link_type: LinkType,
    /// Most bytes captured of a packet; 0: no limit.
    snap_len: u32,
    /// The option if_tsresol: the unit of times is 10 or, with the highest bit set, 2 to the power of
    /// minus the rest, in seconds.
    resolution: u8,
    /// The option if_tsoffset: seconds to add to each time.
    offset_s: i64,
}

impl PcapngFormat {
    /// Reads the section header that the file begins with.
    pub(super) fn new<R: Read>(input: &mut Input<R>) -> Result<Self, CaptureError> {
        let mut format = Self::default();
        format.block(1, input)?;
        Ok(format)
    }

    /// The next packet, or `None` at the end of the file.
    pub(super) fn packet<R: Read>(
        &mut self,
        number: u64,
        input: &mut Input<R>,
    ) -> Result<Option<Packet>, CaptureError> {
        while input.extend_or_end(4)? {
            let packet = self.block(number, input)?;
            if packet.is_some() {
                return Ok(packet);
            }
            input.begin_record(number - 1);
        }
        Ok(None)
    }

    /// Reads one block; a packet if it holds one.
    fn block<R: Read>(
        &mut self,
        number: u64,
        input: &mut Input<R>,
    ) -> Result<Option<Packet>, CaptureError> {
        let block_type = self.u32(input.bytes_at(0));
        input.extend_to(12)?;
        if block_type == SECTION_HEADER {
            self.begin_section(input)?;
        }
        let length = self.u32(input.bytes_at(4));
        let offset = input.record_offset();
        if length < BLOCK_LEN_MIN || !length.is_multiple_of(4) {
            return Err(CaptureError::BlockLength { offset, length });
        }
        match block_type {
            OBSOLETE_PACKET => {
                return Err(CaptureError::ObsoletePacketBlock { packet: number, offset });
            }
            SECTION_HEADER | INTERFACE_DESCRIPTION | SIMPLE_PACKET | ENHANCED_PACKET => {}
            _ => {
                input.skip(u64::from(length - BLOCK_LEN_MIN))?;
                return Ok(None);
            }
        }
        if length > KEPT_BLOCK_LEN_MAX {
            return Err(CaptureError::BlockLength { offset, length });
        }
        input.extend_to(length as usize)?;
        if self.u32(input.bytes_at(length as usize - 4)) != length {
            let reason = "the length at its end is not the one at its start";
            return Err(CaptureError::MalformedBlock { offset, reason });
        }

        let parse = if self.is_big_endian { parse_block_be } else { parse_block_le };
        match parse(input.record()) {
            Ok((_, Block::SectionHeader(header))) if header.major_version != 1 => {
                let (major, minor) = (header.major_version, header.minor_version);
                Err(CaptureError::Version { format: "pcapng", major, minor })
            }
            Ok((_, Block::InterfaceDescription(block))) => {
                self.add_interface(&block, offset)?;
                Ok(None)
            }
            Ok((_, Block::EnhancedPacket(block))) => {
                self.enhanced_packet(number, &block, offset).map(Some)
            }
            Ok((_, Block::SimplePacket(block))) => {
                self.simple_packet(number, &block, offset).map(Some)
            }
            Ok(_) => Ok(None),
            Err(_) => {
                let reason = "what it holds is longer than it is";
                Err(CaptureError::MalformedBlock { offset, reason })
            }
        }
    }

    fn begin_section<R: Read>(&mut self, input: &Input<R>) -> Result<(), CaptureError> {
        let magic = input.bytes_at(8);
        self.is_big_endian = u32::from_be_bytes(magic) == BYTE_ORDER_MAGIC;
        if !self.is_big_endian && u32::from_le_bytes(magic) != BYTE_ORDER_MAGIC {
            let reason = "it begins a section and tells no byte order";
            return Err(CaptureError::MalformedBlock { offset: input.record_offset(), reason });
        }
        self.interfaces.clear();
        Ok(())
    }

    fn add_interface(
        &mut self,
        block: &InterfaceDescriptionBlock<'_>,
        offset: u64,
    ) -> Result<(), CaptureError> {
        if self.interfaces.len() == INTERFACES_MAX {
            return Err(CaptureError::TooManyInterfaces { offset, max: INTERFACES_MAX });
        }
        let mut interface = Interface {
            link_type: LinkType(block.linktype.0 as u32),
            snap_len: block.snaplen,
            resolution: 6,
            offset_s: 0,
        };
        // pcap-parser decodes both options too, but takes the offset for little-endian always and
        // knows no resolution that is a power of two.
        let options = block.options.iter().take_while(|option| option.code != OptionCode::EndOfOpt);
        for option in options {
            let malformed = || CaptureError::MalformedBlock {
                offset,
                reason: "it describes an interface with a time option of the wrong length",
            };
            let value = option.as_bytes().map_err(|_| malformed())?;
            match option.code {
                OptionCode::IfTsresol => {
                    let [resolution] = value.try_into().map_err(|_| malformed())?;
                    interface.resolution = resolution;
                }
                OptionCode::IfTsoffset => {
                    let bytes = value.try_into().map_err(|_| malformed())?;
                    interface.offset_s = if self.is_big_endian {
                        i64::from_be_bytes(bytes)
                    } else {
                        i64::from_le_bytes(bytes)
                    };
                }
                _ => {}
            }
        }
        self.interfaces.push(interface);
        Ok(())
    }

    fn enhanced_packet(
        &mut self,
        number: u64,
        block: &EnhancedPacketBlock<'_>,
        offset: u64,
    ) -> Result<Packet, CaptureError> {
        let interface = self.interface(number, block.if_id, offset)?;
        check_link_type(number, interface.link_type)?;
        check_lengths(number, offset, block.caplen, block.origlen)?;
        let ticks = u64::from(block.ts_high) << 32 | u64::from(block.ts_low);
        let timestamp_ns = interface
            .timestamp_ns(ticks)
            .ok_or(CaptureError::Timestamp { packet: number, offset })?;
        self.last_timestamp_ns = timestamp_ns;
        Ok(Packet {
            number,
            timestamp_ns,
            original_len: block.origlen,
            data: block.packet_data().to_vec(),
            link_type: interface.link_type,
        })
    }

    /// A simple packet is of the first interface, has no time, and its captured length follows from
    /// the others.
    fn simple_packet(
        &mut self,
        number: u64,
        block: &SimplePacketBlock<'_>,
        offset: u64,
    ) -> Result<Packet, CaptureError> {
        let interface = self.interface(number, 0, offset)?;
        check_link_type(number, interface.link_type)?;
        let snap_len = if interface.snap_len == 0 { u32::MAX } else { interface.snap_len };
        let captured_len = block.origlen.min(snap_len);
        let Some(data) = block.data.get(..captured_len as usize) else {
            let reason = "its packet is longer than it is";
            return Err(CaptureError::MalformedBlock { offset, reason });
        };
        check_lengths(number, offset, captured_len, block.origlen)?;
        Ok(Packet {
            number,
            timestamp_ns: self.last_timestamp_ns,
            original_len: block.origlen,
            data: data.to_vec(),
            link_type: interface.link_type,
        })
    }

    fn interface(&self, number: u64, index: u32, offset: u64) -> Result<Interface, CaptureError> {
        let known = self.interfaces.len();
        let unknown =
            CaptureError::UnknownInterface { packet: number, offset, interface: index, known };
        self.interfaces.get(index as usize).copied().ok_or(unknown)
    }

    fn u32(&self, bytes: [u8; 4]) -> u32 {
        if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

impl Interface {
    /// The time that `ticks` units stand for, in nanoseconds since the epoch, rounded down; `None` if
    /// it does not fit.
    fn timestamp_ns(self, ticks: u64) -> Option<u64> {
        // 64 bits and the 30 of a nanosecond leave room in 128.
        let scaled = u128::from(ticks) * u128::from(NS_PER_SECOND);
        let exponent = u32::from(self.resolution & 0x7f);
        let nanoseconds = if self.resolution & 0x80 != 0 {
            scaled >> exponent
        } else {
            // A unit too small for the division is smaller than any time can tell.
            10u128.checked_pow(exponent).map_or(0, |units_per_second| scaled / units_per_second)
        };
        let offset_ns = i128::from(self.offset_s) * i128::from(NS_PER_SECOND);
        let nanoseconds = i128::try_from(nanoseconds).ok()?.checked_add(offset_ns)?;
        u64::try_from(nanoseconds).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(resolution: u8, offset_s: i64) -> Interface {
        Interface { link_type: LinkType::ETHERNET, snap_len: 0, resolution, offset_s }
    }

    #[test]
    fn times_in_any_unit() {
        assert_eq!(interface(6, 0).timestamp_ns(1_500_000), Some(1_500_000_000));
        assert_eq!(interface(9, 0).timestamp_ns(u64::MAX), Some(u64::MAX));
        assert_eq!(interface(0, 0).timestamp_ns(2), Some(2_000_000_000));
        assert_eq!(interface(12, 0).timestamp_ns(1_999), Some(1));
        assert_eq!(interface(127, 0).timestamp_ns(u64::MAX), Some(0));
        assert_eq!(interface(0x80 | 1, 0).timestamp_ns(3), Some(1_500_000_000));
        assert_eq!(interface(0x80 | 127, 0).timestamp_ns(u64::MAX), Some(0));
        assert_eq!(interface(6, 10).timestamp_ns(1), Some(10_000_001_000));
        assert_eq!(interface(6, -1).timestamp_ns(1_000_000), Some(0));
    }

    #[test]
    fn times_that_do_not_fit() {
        assert_eq!(interface(0, 0).timestamp_ns(u64::MAX), None);
        assert_eq!(interface(6, -1).timestamp_ns(999_999), None);
        assert_eq!(interface(6, i64::MAX).timestamp_ns(u64::MAX), None);
        assert_eq!(interface(6, i64::MIN).timestamp_ns(0), None);
    }
}
