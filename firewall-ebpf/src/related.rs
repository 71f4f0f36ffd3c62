//! ICMP errors: they pass if the packet that they quote is of a known flow.

use firewall_common::{
    flow::{Half, after, before},
    reason::Reason,
    wire::{Packet, ip_protocol},
    words::same,
};

use crate::{
    maps::TIMEOUTS,
    tables,
    work::{Decision, Work},
};

/// How much further back than a window the packet may lie that an error speaks of: errors take their time.
const LATE: u32 = 65_536;

/// Whether the packet is an ICMP error (RFC 792, RFC 4443 §2.1). Without them path MTU discovery fails.
#[inline(always)]
pub fn is_error(packet: &Packet) -> bool {
    match packet.protocol {
        ip_protocol::ICMP => matches!(packet.icmp_type, 3 | 11 | 12),
        ip_protocol::ICMPV6 => matches!(packet.icmp_type, 1..=4),
        _ => false,
    }
}

/// Decides about an ICMP error, which quotes the packet that lies beside it on the desk.
#[inline(always)]
pub fn error(work: &mut Work) -> Decision {
    work.forget_flow();
    // An error goes to the sender of what it quotes, and to nobody else: otherwise a known flow would be a key to
    // any host.
    if !work.quotes || !same(&work.packet.destination, &work.quoted.source) {
        return work.refuse(Reason::IcmpUnrelated);
    }
    tables::note_quoted_key(work);
    let found = tables::find(work);
    let (Some(flow), Some(timeouts)) = (found, TIMEOUTS.get(0)) else {
        return work.refuse(Reason::IcmpUnrelated);
    };
    if flow.expired(work.now, timeouts) {
        return work.refuse(Reason::IcmpUnrelated);
    }
    work.note_flow(flow);
    let direction = work.direction;
    work.direction = direction.reversed();
    if work.quoted.protocol == ip_protocol::TCP {
        // RFC 5927 §4.1: who does not see the connection cannot guess what is on its way.
        let (sender, receiver) = flow.sides(direction);
        let known = sender.flags & Half::SPOKE != 0 && receiver.flags & Half::ACKED != 0;
        let oldest = receiver.acked.wrapping_sub(receiver.window()).wrapping_sub(LATE);
        let sent = work.quoted.seq;
        if known && (after(sent, sender.end) || before(sent, oldest)) {
            return work.refuse(Reason::IcmpUnrelated);
        }
    }
    Decision::Pass
}
