//! Which flow a packet belongs to, and what it does to it.
//!
//! Nothing here looks at the packet's bytes: all facts lie on the [`Work`] desk. The verifier therefore
//! walks this part once for each program, however many ways led through the parser.

use firewall_common::{
    clear::clear,
    event::EventKind,
    flow::{self, Direction, Flow, FragmentKey, Half, State, Step},
    layout::Counter,
    policy::Action,
    reason::Reason,
    wire::{Fragment, Packet, ip_protocol, tcp_flags},
};

use crate::{
    filter, judge,
    maps::FRAGMENTS,
    report,
    tables::{self, FlowRef},
    work::{Decision, Work},
};

/// How long later fragments may follow the first: the kernel's own reassembly time (`ipfrag_time`).
const FRAGMENT_TIMEOUT_NS: u64 = 30_000_000_000;

/// Decides about the IP packet on the desk.
#[inline(never)]
pub fn decide(work: &mut Work) -> Decision {
    if is_link_signalling(&work.packet) {
        return Decision::Pass;
    }
    if work.packet.is_to_itself() {
        return work.refuse(Reason::LandAttack);
    }
    if work.packet.fragment == Fragment::Later {
        return later_fragment(work);
    }
    if is_icmp_error(&work.packet) {
        return Decision::Pass;
    }
    tables::note_key(work);
    match tables::find(work) {
        Some(flow) if !flow.expired(work.now) => known_flow(work, flow),
        Some(flow) => {
            forget(work, flow);
            new_flow(work)
        }
        None => new_flow(work),
    }
}

/// A packet of a flow in the table.
#[inline(always)]
fn known_flow(work: &mut Work, flow: FlowRef) -> Decision {
    let state = flow.state();
    work.direction = flow.direction(work.source_is_second);
    work.note_flow(flow);
    let step = match work.packet.protocol {
        ip_protocol::TCP => flow::advance(state, work.direction, work.packet.flags),
        _ if work.direction == Direction::Reply => Step::To(State::Assured),
        _ => Step::To(state),
    };
    let next = match step {
        Step::To(next) => next,
        Step::Reopen => {
            forget(work, flow);
            return new_flow(work);
        }
        Step::Refuse(reason) => {
            // After a kill, drops point back to it, and the sender learns of it by a RST.
            work.caused_by = flow.killed_by;
            let refused = work.refuse(reason);
            let is_reset = work.packet.flags & tcp_flags::RST != 0;
            return if state == State::Killed && !is_reset { Decision::Answer } else { refused };
        }
    };

    flow.last_seen = work.now;
    note_packet(flow, work.direction, &work.packet);
    if state.is_half_open() {
        note_handshake(flow, work.direction, &work.packet);
    }
    if next != state {
        flow.state = next as u8;
        work.state = next;
        if state.is_half_open() && next.is_completed() && !tables::promote(work, flow) {
            flow.state = state as u8;
            work.state = state;
            return work.refuse(Reason::OutOfResources);
        }
        note_change(work, next);
    }
    if brings_payload(&work.packet) && !is_discarded(state, &work.packet) {
        if filter::wants(work) {
            // The filter refuses fragments where it enforces; where it only watches they pass.
            if !filter::enforces(work) {
                remember_first_fragment(work);
            }
            return Decision::Read;
        }
        flow.half(work.direction).flags |= Half::UNREAD;
    }
    remember_first_fragment(work);
    Decision::Pass
}

/// The first packet of a flow, or one that belongs to none.
#[inline(always)]
fn new_flow(work: &mut Work) -> Decision {
    work.forget_flow();
    let is_tcp = work.packet.protocol == ip_protocol::TCP;
    if is_tcp && let Err(reason) = flow::opens(work.packet.flags) {
        return work.refuse(reason);
    }
    let Some(judgement) = judge::new_flow(&work.packet) else {
        return work.refuse(Reason::NoPolicy);
    };
    work.rule = judgement.rule;
    work.protocol = judgement.protocol;
    match judgement.action {
        Action::Allow => {}
        Action::Reject if is_tcp => {
            work.refuse(Reason::PolicyRulesDenied);
            return Decision::Answer;
        }
        Action::Deny | Action::Reject => return work.refuse(Reason::PolicyRulesDenied),
    }
    let unread = brings_payload(&work.packet);
    if unread && filter::wants(work) && filter::enforces(work) {
        // Data in a SYN (RFC 7413) would reach the server unread. A client repeats the SYN without it.
        return work.refuse(Reason::FilterSegmentHeld);
    }

    work.flow_id = report::next_flow_number();
    work.state = if is_tcp { State::SynSent } else { State::Unreplied };
    clear(&mut work.flow);
    work.flow.last_seen = work.now;
    work.flow.created = work.now;
    work.flow.id = work.flow_id;
    work.flow.state = work.state as u8;
    work.flow.originator_is_second = u8::from(work.source_is_second);
    work.flow.protocol = judgement.protocol;
    work.flow.ip_protocol = work.packet.protocol;
    work.flow.interface = work.interface;
    work.flow.rule = judgement.rule;
    if unread {
        work.flow.half(Direction::Original).flags = Half::UNREAD;
    }
    note_packet(&mut work.flow, Direction::Original, &work.packet);
    if is_tcp {
        let half = work.flow.half(Direction::Original);
        half.first_seq = work.packet.seq.wrapping_add(1);
        half.flags |= Half::SEQ_KNOWN;
    }
    if !tables::insert_half_open(work) {
        return work.refuse(Reason::OutOfResources);
    }
    report::count(Counter::FlowsOpened, 1);
    remember_first_fragment(work);
    Decision::Pass
}

/// Whether there is something in the packet for a filter to read, or in the fragments that follow it.
#[inline(always)]
fn brings_payload(packet: &Packet) -> bool {
    packet.protocol == ip_protocol::TCP
        && (packet.payload_len > 0 || packet.fragment == Fragment::First)
}

/// Counts a packet that passes; for TCP learns how far the other direction was received.
#[inline(always)]
fn note_packet(flow: &mut Flow, direction: Direction, packet: &Packet) {
    let half = flow.half(direction);
    half.packets += 1;
    half.bytes += u64::from(packet.ip_len);
    if packet.protocol == ip_protocol::TCP && packet.flags & tcp_flags::ACK != 0 {
        flow.half(direction.reversed()).acked = packet.ack;
    }
}

/// Learns where both streams begin. The responder's SYN says it of its own, and by what it acknowledges of the
/// originator's: which of several SYNs it took, only it knows. Nothing that the originator sends later, and
/// nothing after the handshake, can move a filter to another place in the stream.
#[inline(always)]
fn note_handshake(flow: &mut Flow, direction: Direction, packet: &Packet) {
    let is_answer = packet.protocol == ip_protocol::TCP
        && direction == Direction::Reply
        && packet.flags & tcp_flags::SYN != 0;
    if !is_answer {
        return;
    }
    let [original, reply] = &mut flow.halves;
    reply.first_seq = packet.seq.wrapping_add(1);
    reply.flags |= Half::SEQ_KNOWN;
    if packet.flags & tcp_flags::ACK != 0 {
        original.first_seq = packet.ack;
        original.flags |= Half::SEQ_KNOWN;
    }
}

/// Whether the receiver discards the segment's payload: that of a RST, and that of a SYN once the connection
/// stands (RFC 9293 §3.10.7.4). A filter that read it would take what really comes for a repetition.
#[inline(always)]
fn is_discarded(state: State, packet: &Packet) -> bool {
    packet.flags & tcp_flags::RST != 0
        || packet.flags & tcp_flags::SYN != 0 && !state.is_half_open()
}

/// Forgets a flow that is over or was silent for too long, with what a filter knew of it.
#[inline(always)]
fn forget(work: &Work, flow: &Flow) {
    filter::forget(flow.id);
    tables::remove(work);
}

/// Lays out what there is to say about a flow that began or ended.
#[inline(always)]
fn note_change(work: &mut Work, next: State) {
    (work.change, work.reason) = match next {
        State::Established | State::Assured => {
            (EventKind::ConnectionOpened as u8, Reason::None as u8)
        }
        State::TimeWait => (EventKind::ConnectionClosed as u8, Reason::GracefulShutdown as u8),
        State::Closed => (EventKind::ConnectionClosed as u8, Reason::AbortiveShutdown as u8),
        _ => return,
    };
}

/// A fragment without a transport header goes the way its datagram's first fragment went.
#[inline(always)]
fn later_fragment(work: &mut Work) -> Decision {
    // SAFETY: the time is read at once.
    let first_seen = unsafe { FRAGMENTS.get(FragmentKey::of(&work.packet)) }.copied();
    match first_seen {
        Some(at) if work.now.saturating_sub(at) < FRAGMENT_TIMEOUT_NS => Decision::Pass,
        _ => work.refuse(Reason::FragmentDropped),
    }
}

#[inline(always)]
fn remember_first_fragment(work: &Work) {
    const BPF_ANY: u64 = 0;
    if work.packet.fragment == Fragment::First {
        // A table that is full makes room by itself; should that fail, the later fragments are refused
        // with a reason.
        let _ = FRAGMENTS.insert(FragmentKey::of(&work.packet), work.now, BPF_ANY);
    }
}

/// ICMPv6 that a link needs to work at all: neighbour discovery (RFC 4861) and multicast listener
/// discovery (RFC 2710, RFC 3810). It never leaves its link, which its hop limit proves.
#[inline(always)]
fn is_link_signalling(packet: &Packet) -> bool {
    packet.protocol == ip_protocol::ICMPV6
        && packet.fragment == Fragment::Whole
        && match packet.flags {
            130..=132 | 143 => packet.hop_limit == 1,
            133..=137 => packet.hop_limit == 255,
            _ => false,
        }
}

/// ICMP errors (RFC 792, RFC 4443 §2.1): without them path MTU discovery fails.
#[inline(always)]
fn is_icmp_error(packet: &Packet) -> bool {
    match packet.protocol {
        ip_protocol::ICMP => matches!(packet.flags, 3 | 11 | 12),
        ip_protocol::ICMPV6 => matches!(packet.flags, 1..=4),
        _ => false,
    }
}
