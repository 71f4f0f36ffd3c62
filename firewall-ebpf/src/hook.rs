//! From a hook to a verdict: the whole way of a packet, in order.

use aya_ebpf::{
    bindings::{__sk_buff, xdp_md},
    programs::{TcContext, XdpContext},
};
use aya_log_ebpf::debug;
use firewall_common::{
    layout::{Hook, Verdict},
    reason::Reason,
    wire::{self, Parsed},
};

use crate::{
    clock, crossing, essential, filter,
    frame::{Frame, SkbFrame, TcFrame, XdpFrame},
    link::Link,
    maps::INTERFACES,
    prohibited, related, report, reset, spoofing, tally, track,
    work::{Decision, Work},
};

/// Judges one packet. Returns the program's return value.
#[inline(always)]
pub fn packet<F: Frame>(frame: &F, hook: Hook) -> i32 {
    let Some(work) = Work::desk() else {
        return F::DROP;
    };
    work.begin(hook, clock::interface(frame.interface()), clock::now());
    let parsed = parse(frame, work);
    report::frame_seen(work);
    let mut decision = match parsed {
        Parsed::Ip => Decision::from_raw(track::decide(work)),
        Parsed::Arp => Decision::from_raw(essential::arp(work)),
        Parsed::NotIp => {
            work.forget_flow();
            Decision::Pass
        }
        Parsed::Refused(reason) => {
            work.forget_flow();
            work.refuse(reason)
        }
    };
    log_decision(frame, work, decision);
    if work.told.is_nothing() {
        match decision {
            Decision::Pass => return pass::<F>(work),
            Decision::Forward => return frame.forward(work),
            _ => {}
        }
    }
    if matches!(hook, Hook::Ingress) && decision == Decision::Verify {
        decision = spoofing::verify(frame, work);
    }
    if work.told.change != 0 {
        report::flow_changed(frame, work);
    }
    if work.told.crosses != 0 && matches!(hook, Hook::Ingress) {
        crossing::enters(frame, work);
    }
    work.note_decision(decision);
    match work.decision() {
        Decision::Pass if work.told.reason != Reason::None as u8 => {
            report::passed_against_rules(frame, work);
            pass::<F>(work)
        }
        Decision::Pass | Decision::Forward => pass::<F>(work),
        Decision::Read => filter::hand_over(frame, work),
        _ => {
            report::refused(frame, work);
            answer(frame, work)
        }
    }
}

/// The sender of a refused packet gets the answer that was decided on, if any.
#[inline(always)]
fn answer<F: Frame>(frame: &F, work: &mut Work) -> i32 {
    match work.decision() {
        Decision::Answer => {
            report::replayed(work, Verdict::Reset);
            reset::send(frame, work, reset::Into::ResetToSender)
        }
        Decision::Challenge => {
            report::replayed(work, Verdict::Drop);
            reset::send(frame, work, reset::Into::Challenge)
        }
        Decision::Prohibit => prohibited::answer(frame, work),
        _ => {
            report::replayed(work, Verdict::Drop);
            F::DROP
        }
    }
}

/// Says each decision to a developer who asked for it (`fwx run --log-kernel`). Otherwise the level, a
/// constant once the program is loaded, makes this a dead branch, which the verifier removes.
#[inline(always)]
fn log_decision<F: Frame>(frame: &F, work: &Work, decision: Decision) {
    debug!(
        frame,
        "hook {} version {} protocol {} ports {}->{} flags {}: flow {} state {} decision {} reason {}",
        work.hook as u32,
        work.packet.version,
        work.packet.protocol,
        work.packet.source_port,
        work.packet.destination_port,
        work.packet.flags,
        work.flow_id,
        work.state as u8,
        decision as u32,
        work.told.reason
    );
}

/// A packet on its way out.
#[inline(always)]
pub fn leaves<L: Link>(frame: &SkbFrame<L>) -> i32 {
    if was_judged_on_ingress(frame) {
        return forwarded(frame);
    }
    packet(frame, Hook::Egress)
}

/// Whether a packet on its way out came in by an interface where it was judged already.
#[inline(always)]
fn was_judged_on_ingress<L: Link>(frame: &SkbFrame<L>) -> bool {
    let came_in_by = frame.came_in_by();
    // SAFETY: only whether there is an entry counts.
    came_in_by != 0 && unsafe { INTERFACES.get(came_in_by) }.is_some()
}

/// A packet that was judged where it came in: counted on its way out, and known again should its addresses have
/// been translated meanwhile.
#[inline(always)]
fn forwarded<L: Link>(frame: &SkbFrame<L>) -> i32 {
    if let Some(work) = Work::desk() {
        work.begin(Hook::Egress, frame.interface(), clock::now());
        let parsed = parse(frame, work);
        report::frame_seen(work);
        if parsed == Parsed::Ip {
            crossing::leaves(frame, work);
        }
    }
    SkbFrame::<L>::PASS
}

/// The packet goes on its way.
#[inline(always)]
pub fn pass<F: Frame>(work: &Work) -> i32 {
    report::replayed(work, Verdict::Pass);
    F::PASS
}

/// The packet, which its flow let pass, is dropped where a filter should read it: for the reason on the desk.
#[inline(always)]
pub fn drop<F: Frame>(frame: &F, work: &mut Work) -> i32 {
    tally::passed_not(work);
    report::refused(frame, work);
    report::replayed(work, Verdict::Drop);
    F::DROP
}

/// Parses the frame onto the desk, with what it quotes if it is an ICMP error.
#[inline(always)]
fn parse<F: Frame>(frame: &F, work: &mut Work) -> Parsed {
    match frame.parse(work) {
        IP => Parsed::Ip,
        NOT_IP => Parsed::NotIp,
        ARP => Parsed::Arp,
        reason => Parsed::Refused(Reason::from_raw(reason as u8)),
    }
}

const NOT_IP: u32 = 256;
const IP: u32 = 257;
const ARP: u32 = 258;
/// Beside another: not all headers could be read where they lie.
pub const INCOMPLETE: u32 = 512;

/// What [`parse`] calls, as a function that the verifier knows by its signature alone: what it learns on each of
/// the many ways through the headers ends here.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn parse_xdp(context: *mut xdp_md, work: *mut Work) -> u32 {
    // SAFETY: the caller passes a reference, or so the verifier will not believe: hence the check.
    match unsafe { work.as_mut() } {
        Some(work) => parsed(&XdpFrame::new(XdpContext::new(context)), work),
        None => Reason::Internal as u32,
    }
}

/// As [`parse_xdp`], and [`INCOMPLETE`] if the headers have to be brought together first.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn parse_tc(context: *mut __sk_buff, work: *mut Work) -> u32 {
    // SAFETY: as above.
    match unsafe { work.as_mut() } {
        Some(work) => {
            let frame = TcFrame::new(TcContext::new(context));
            let parsed = parsed(&frame, work);
            if lacks_headers(&frame, work, parsed) { parsed | INCOMPLETE } else { parsed }
        }
        None => Reason::Internal as u32,
    }
}

/// Whether headers lie where an [`SkbFrame`] does not read them, and something was missed for that.
#[inline(always)]
pub fn lacks_headers<L: Link>(frame: &SkbFrame<L>, work: &Work, parsed: u32) -> bool {
    frame.is_incomplete()
        && (parsed != IP
            || u32::from(work.packet.payload_offset) > frame.linear_len()
            || related::is_error(&work.packet) && !work.quotes)
}

/// Parses the frame onto the desk, in whichever of these functions.
#[inline(always)]
pub fn parsed<F: Frame>(frame: &F, work: &mut Work) -> u32 {
    work.frame_len = frame.len() as u32;
    match wire::parse(frame, &mut work.packet) {
        Parsed::Ip => {
            if related::is_error(&work.packet) {
                work.quotes = wire::quoted(frame, &work.packet, &mut work.quoted).is_some();
            }
            IP
        }
        Parsed::NotIp => NOT_IP,
        Parsed::Arp => ARP,
        Parsed::Refused(reason) => reason as u32,
    }
}
