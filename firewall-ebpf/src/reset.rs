//! Writing a RST, or the challenge to a SYN, into the frame that is at hand.

use firewall_common::{
    reset::{self, HOP_LIMIT, Rewritten, TCP_CHECKSUM_OFFSET, Toward},
    wire::{Packet, checksum::updated},
};

use crate::{frame::Frame, work::Work};

/// Offsets in the IP headers (RFC 791 §3.1, RFC 8200 §3).
const IPV4_TOTAL_LEN: u32 = 2;
const IPV4_FRAGMENT: u32 = 6;
const IPV4_HOPS: u32 = 8;
const IPV4_CHECKSUM: u32 = 10;
const IPV4_SOURCE: u32 = 12;
const IPV6_PAYLOAD_LEN: u32 = 4;
const IPV6_HOP_LIMIT: u32 = 7;
const IPV6_SOURCE: u32 = 8;

/// What a TCP segment becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Into {
    /// A RST to its receiver.
    ResetToReceiver,
    /// A RST to its sender.
    ResetToSender,
    /// The answer to a SYN that challenges its sender.
    Challenge,
}

/// Turns the packet into what it is to become and sends it where that goes. Returns the program's return
/// value: where the frame cannot be changed, it is dropped.
#[inline(never)]
pub fn send<F: Frame>(frame: &F, work: &Work, into: Into) -> i32 {
    let toward = if into == Into::ResetToReceiver { Toward::Receiver } else { Toward::Sender };
    let Some(partial) = keeps_partial_checksum(frame, work, toward) else {
        return F::DROP;
    };
    let rewritten = if into == Into::Challenge {
        reset::challenge(&work.packet, work.cookie, partial)
    } else {
        reset::reset(&work.packet, toward, partial)
    };
    if write(frame, work, toward, &rewritten).is_none() {
        return F::DROP;
    }
    match toward {
        Toward::Receiver => F::PASS,
        Toward::Sender => frame.send_back(work.hook),
    }
}

#[inline(always)]
fn keeps_partial_checksum<F: Frame>(frame: &F, work: &Work, toward: Toward) -> Option<bool> {
    let tcp = u32::from(work.packet.transport_offset);
    let mut field = [0; 2];
    load(frame, tcp + TCP_CHECKSUM_OFFSET as u32, &mut field)?;
    let keeps = toward == Toward::Receiver || F::SENT_BACK_KEEPS_PARTIAL_CHECKSUM;
    Some(keeps && reset::is_partial(&work.packet, u16::from_be_bytes(field)))
}

#[inline(always)]
fn write<F: Frame>(frame: &F, work: &Work, toward: Toward, new: &Rewritten) -> Option<()> {
    let packet = &work.packet;
    let ip = u32::from(packet.ip_offset);
    if packet.version == 4 {
        let mut checksum = [0; 2];
        load(frame, ip + IPV4_CHECKSUM, &mut checksum)?;
        let mut checksum = reset::ipv4_checksum(u16::from_be_bytes(checksum), packet, new);
        if toward == Toward::Sender {
            checksum = begin_anew(frame, ip, checksum)?;
        }
        store(frame, ip + IPV4_TOTAL_LEN, new.ip_len_field.to_be_bytes())?;
        store(frame, ip + IPV4_CHECKSUM, checksum.to_be_bytes())?;
    } else {
        store(frame, ip + IPV6_PAYLOAD_LEN, new.ip_len_field.to_be_bytes())?;
        if toward == Toward::Sender {
            store(frame, ip + IPV6_HOP_LIMIT, [HOP_LIMIT])?;
        }
    }
    store(frame, u32::from(packet.transport_offset), new.tcp)?;
    if toward == Toward::Sender {
        turn_around(frame, packet, ip)?;
    }
    frame.truncate(new.frame_len).then_some(())
}

/// What goes back is a packet of this machine's own: it has a whole way before it, and is no fragment. Returns
/// the header's new checksum.
#[inline(always)]
fn begin_anew<F: Frame>(frame: &F, ip: u32, checksum: u16) -> Option<u16> {
    let mut fragment = [0; 2];
    let mut hops = [0; 2];
    load(frame, ip + IPV4_FRAGMENT, &mut fragment)?;
    load(frame, ip + IPV4_HOPS, &mut hops)?;
    let [_, protocol] = hops;
    let new = [HOP_LIMIT, protocol];
    store(frame, ip + IPV4_FRAGMENT, [0; 2])?;
    store(frame, ip + IPV4_HOPS, new)?;
    let checksum = updated(checksum, u16::from_be_bytes(fragment), 0);
    Some(updated(checksum, u16::from_be_bytes(hops), u16::from_be_bytes(new)))
}

/// Lets source and destination change places, in the Ethernet header, if there is one, and in the IP header.
#[inline(always)]
fn turn_around<F: Frame>(frame: &F, packet: &Packet, ip: u32) -> Option<()> {
    if ip > 0 {
        let mut destination = [0; 6];
        let mut source = [0; 6];
        load(frame, 0, &mut destination)?;
        load(frame, 6, &mut source)?;
        store(frame, 0, source)?;
        store(frame, 6, destination)?;
    }
    if packet.version == 4 {
        let [source, ..] = packet.source;
        let [destination, ..] = packet.destination;
        store(frame, ip + IPV4_SOURCE, destination.to_ne_bytes())?;
        store(frame, ip + IPV4_SOURCE + 4, source.to_ne_bytes())
    } else {
        store(frame, ip + IPV6_SOURCE, bytes(packet.destination))?;
        store(frame, ip + IPV6_SOURCE + 16, bytes(packet.source))
    }
}

#[inline(always)]
fn load<F: Frame, const N: usize>(frame: &F, offset: u32, to: &mut [u8; N]) -> Option<()> {
    // SAFETY: `to` has N bytes.
    unsafe { frame.load(offset, to.as_mut_ptr(), N as u32) }.then_some(())
}

#[inline(always)]
fn store<F: Frame, const N: usize>(frame: &F, offset: u32, bytes: [u8; N]) -> Option<()> {
    frame.store(offset, &bytes).then_some(())
}

#[inline(always)]
fn bytes(address: [u32; 4]) -> [u8; 16] {
    // SAFETY: four words are sixteen bytes.
    unsafe { core::mem::transmute(address) }
}
