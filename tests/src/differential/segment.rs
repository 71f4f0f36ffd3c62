//! A conversation as an observer between its ends sees it: segments in order, with time and direction.

use std::{fmt, net::SocketAddr};

use firewall_common::wire::tcp_flags::{ACK, FIN, RST, SYN};

use crate::{packet::Packet, replaying::Family};

/// Letters of [`Packet::flags`] in the order of the bits.
const FLAG_LETTERS: [char; 8] = ['F', 'S', 'R', 'P', 'A', 'U', 'E', 'W'];
/// Where the flow label lies in an untagged frame: the low 20 bits of the first word of IPv6.
const FLOW_LABEL: std::ops::Range<usize> = 16..18;
const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where the client is.
    Left = 0,
    /// Where the camera is.
    Right = 1,
}

impl Side {
    /// The other end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// A TCP segment on its way.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Who sends it.
    pub from: Side,
    /// When the observer sees it: nanoseconds since the conversation began.
    pub at: u64,
    /// The sequence number.
    pub seq: u32,
    /// The acknowledgement number.
    pub ack: u32,
    /// The flags, as bits.
    pub flags: u8,
    /// The window, as it stands in the header.
    pub window: u16,
    /// The options, of a length divisible by 4.
    pub options: Vec<u8>,
    /// How many bytes of payload it carries.
    pub payload: u16,
    /// The first sequence numbers of its sender and of its receiver, to show the others relative to.
    pub bases: (u32, u32),
    /// What it is, and what was done to it.
    pub note: String,
}

impl Segment {
    /// Whether all `flags` are set.
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// The sequence number behind its last byte; SYN and FIN count as one each.
    pub fn end(&self) -> u32 {
        let control = u32::from(self.has(SYN)) + u32::from(self.has(FIN));
        self.seq.wrapping_add(u32::from(self.payload) + control)
    }

    /// The flags that decide, as one would say them: `SYN`, `SYN-ACK`, `ACK`, …
    pub fn kind(&self) -> String {
        let names = [(SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (ACK, "ACK")];
        let set: Vec<_> =
            names.into_iter().filter(|(flag, _)| self.has(*flag)).map(|(_, name)| name).collect();
        if set.is_empty() { "no flags".to_owned() } else { set.join("-") }
    }

    fn letters(&self) -> String {
        (0..8).filter(|bit| self.has(1 << bit)).map(|bit| FLAG_LETTERS[bit]).collect()
    }
}

/// Sequence numbers are shown relative to the first of their sender.
impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let relative = |number: u32, base: u32| number.wrapping_sub(base).cast_signed();
        let arrow = match self.from {
            Side::Left => "-->",
            Side::Right => "<--",
        };
        write!(
            f,
            "{:>9.3} ms {arrow} {:<4} seq {}:{} ({})",
            self.at as f64 / NANOSECONDS_PER_MILLISECOND as f64,
            self.letters(),
            relative(self.seq, self.bases.0),
            relative(self.end(), self.bases.0),
            self.payload,
        )?;
        // Without the flag the field means nothing, but a tracker might look at it.
        if self.has(ACK) || self.ack != 0 {
            write!(f, " ack {}", relative(self.ack, self.bases.1))?;
        }
        write!(f, " win {}", self.window)?;
        if !self.options.is_empty() {
            let hex: String = self.options.iter().map(|byte| format!("{byte:02x}")).collect();
            write!(f, " options {hex}")?;
        }
        write!(f, "; {}", self.note)
    }
}

/// Segments between two ends.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// What it was made from.
    pub seed: u64,
    /// IPv4 or IPv6.
    pub family: Family,
    /// In the order in which the observer sees them.
    pub segments: Vec<Segment>,
}

impl Conversation {
    /// The segment `index` as a frame; `ports` are those of the left and the right end. Checksums are
    /// right. The frame can be told from the others of its conversation: `index` stands in its identification,
    /// in IPv6 in its flow label.
    ///
    /// # Panics
    ///
    /// When there are more than 65,535 segments.
    pub fn frame(&self, index: usize, ports: (u16, u16)) -> Vec<u8> {
        let number = u16::try_from(index).expect("conversations are short").to_be_bytes();
        let segment = &self.segments[index];
        let ends: (SocketAddr, SocketAddr) =
            (self.family.client_at(ports.0), self.family.camera_at(ports.1));
        let (from, to) = match segment.from {
            Side::Left => ends,
            Side::Right => (ends.1, ends.0),
        };
        let content = |at: u16| (segment.seq.wrapping_add(at.into()) % 251) as u8;
        let mut frame = Packet::tcp(from, to)
            .flags(&segment.letters())
            .seq(segment.seq)
            .ack(segment.ack)
            .window(segment.window)
            .tcp_options(&segment.options)
            .payload((0..segment.payload).map(content).collect::<Vec<_>>())
            .identification(u16::from_be_bytes(number).into())
            .build();
        if self.family == Family::V6 {
            // No checksum covers it.
            frame[FLOW_LABEL].copy_from_slice(&number);
        }
        frame
    }
}

/// The number that [`Conversation::frame`] gave a TCP segment; nothing for anything else.
pub(super) fn number_of(frame: &[u8]) -> Option<usize> {
    const IPV4: [u8; 2] = [0x08, 0x00];
    const IPV6: [u8; 2] = [0x86, 0xdd];
    const PROTOCOL_TCP: u8 = 6;
    let at = match frame.get(12..14)?.try_into().ok()? {
        IPV4 if *frame.get(23)? == PROTOCOL_TCP => 18..20,
        IPV6 if *frame.get(20)? == PROTOCOL_TCP => FLOW_LABEL,
        _ => return None,
    };
    let number: [u8; 2] = frame.get(at)?.try_into().ok()?;
    Some(u16::from_be_bytes(number).into())
}

#[cfg(test)]
mod tests {
    use super::{super::converse, *};
    use crate::replaying::FAMILIES;

    #[test]
    fn no_frame_is_longer_than_ethernet_takes() {
        const LONGEST: usize = 14 + 1_500;
        for seed in 0..3_000 {
            let conversation = converse(seed, Family::V6);
            for index in 0..conversation.segments.len() {
                let frame = conversation.frame(index, (40_000, 80));
                assert!(frame.len() <= LONGEST, "seed {seed}: {}", conversation.segments[index]);
            }
        }
    }

    #[test]
    fn a_frame_carries_its_number() {
        for family in FAMILIES {
            let conversation = converse(7, family);
            for index in 0..conversation.segments.len() {
                let frame = conversation.frame(index, (40_000, 80));
                assert_eq!(number_of(&frame), Some(index), "{family:?}");
            }
        }
        assert_eq!(number_of(&Family::V4.udp(1, 2).build()), None);
        assert_eq!(number_of(&[]), None);
    }
}
