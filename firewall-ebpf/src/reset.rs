//! Writing a RST into the frame that is at hand.

use firewall_common::{
    reset::{self, TCP_CHECKSUM_OFFSET, Toward},
    wire::Packet,
};

use crate::{frame::Frame, work::Work};

/// Offsets in the IP headers (RFC 791 §3.1, RFC 8200 §3).
const IPV4_TOTAL_LEN: u32 = 2;
const IPV4_CHECKSUM: u32 = 10;
const IPV4_SOURCE: u32 = 12;
const IPV6_PAYLOAD_LEN: u32 = 4;
const IPV6_SOURCE: u32 = 8;

/// Turns the packet into a RST and sends it on to its receiver or back to its sender. Returns the
/// program's return value: where the frame cannot be changed, it is dropped.
#[inline(always)]
pub fn into_reset<F: Frame>(frame: &F, work: &Work, toward: Toward) -> i32 {
    if rewrite(frame, work, toward).is_none() {
        return F::DROP;
    }
    match toward {
        Toward::Receiver => F::PASS,
        Toward::Sender => frame.send_back(work.hook),
    }
}

#[inline(always)]
fn rewrite<F: Frame>(frame: &F, work: &Work, toward: Toward) -> Option<()> {
    let packet = &work.packet;
    let ip = u32::from(packet.ip_offset);
    let tcp = u32::from(packet.transport_offset);

    let mut field = [0; 2];
    load(frame, tcp + TCP_CHECKSUM_OFFSET as u32, &mut field)?;
    let keeps_partial = toward == Toward::Receiver || F::SENT_BACK_KEEPS_PARTIAL_CHECKSUM;
    let partial = keeps_partial && reset::is_partial(packet, u16::from_be_bytes(field));
    let reset = reset::reset(packet, toward, partial);

    if packet.version == 4 {
        let mut checksum = [0; 2];
        load(frame, ip + IPV4_CHECKSUM, &mut checksum)?;
        let checksum = reset::ipv4_checksum(u16::from_be_bytes(checksum), packet, &reset);
        store(frame, ip + IPV4_TOTAL_LEN, reset.ip_len_field.to_be_bytes())?;
        store(frame, ip + IPV4_CHECKSUM, checksum.to_be_bytes())?;
    } else {
        store(frame, ip + IPV6_PAYLOAD_LEN, reset.ip_len_field.to_be_bytes())?;
    }
    store(frame, tcp, reset.tcp)?;
    if toward == Toward::Sender {
        turn_around(frame, packet, ip)?;
    }
    frame.truncate(reset.frame_len).then_some(())
}

/// Lets source and destination change places, in the Ethernet and in the IP header.
#[inline(always)]
fn turn_around<F: Frame>(frame: &F, packet: &Packet, ip: u32) -> Option<()> {
    let mut destination = [0; 6];
    let mut source = [0; 6];
    load(frame, 0, &mut destination)?;
    load(frame, 6, &mut source)?;
    store(frame, 0, source)?;
    store(frame, 6, destination)?;
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
