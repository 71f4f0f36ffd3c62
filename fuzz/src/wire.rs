//! Frames, through the parser that every packet goes through.

use bytemuck::Zeroable as _;
use firewall_common::wire::{Packet, Parsed, parse, quoted};

/// Checks that what a frame is said to hold lies within it.
///
/// # Panics
///
/// If it does not.
pub fn wire(frame: &[u8]) {
    let mut packet = Packet::zeroed();
    let parsed = parse(frame, &mut packet);
    if parsed != Parsed::Ip {
        return;
    }
    let Packet { ip_offset, transport_offset, payload_offset, .. } = packet;
    assert!(ip_offset < transport_offset && transport_offset <= payload_offset, "{packet:?}");
    let ip_end = u64::from(ip_offset) + u64::from(packet.ip_len);
    let payload_end = u64::from(payload_offset) + u64::from(packet.payload_len);
    assert!(payload_end <= ip_end && ip_end <= frame.len() as u64, "{packet:?}");
    assert!(matches!(packet.version, 4 | 6), "{packet:?}");

    // On the desk lies what the packet before has left there.
    let again = packet;
    again.turn(&mut packet);
    assert_eq!(parse(frame, &mut packet), parsed);
    assert_eq!(packet, again, "what lay there before shows");

    let mut inner = Packet::zeroed();
    if quoted(frame, &packet, &mut inner).is_some() {
        assert_eq!(inner.version, packet.version, "an error quotes its own version of IP");
    }
}
