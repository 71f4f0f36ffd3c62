//! From a hook to a verdict: the whole way of a packet, in order.

use aya_log_ebpf::debug;
use firewall_common::{
    layout::{Hook, Verdict},
    reset::Toward,
    wire::{self, Bytes as _, Parsed},
};

use crate::{
    clock, filter,
    frame::{Frame, TcFrame},
    maps::INTERFACES,
    report, reset, track,
    work::{Decision, Work},
};

/// Judges one packet. Returns the program's return value.
#[inline(always)]
pub fn packet<F: Frame>(frame: &F, hook: Hook) -> i32 {
    let Some(work) = Work::desk() else {
        return F::DROP;
    };
    work.begin(hook, clock::interface(frame.interface()), clock::now());
    report::frame_seen(hook, frame.len());

    let decision = match parse(frame, work) {
        Parsed::Ip => track::decide(work),
        Parsed::NotIp => Decision::Pass,
        Parsed::Refused(reason) => work.refuse(reason),
    };
    log_decision(frame, work, decision);
    if work.change != 0 {
        report::flow_changed(frame, work);
    }
    match decision {
        Decision::Pass => pass::<F>(work),
        Decision::Read => filter::hand_over(frame, work),
        Decision::Drop => drop(frame, work),
        Decision::Answer => {
            report::refused(frame, work);
            report::replayed(work, Verdict::Reset);
            reset::into_reset(frame, work, Toward::Sender)
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
        work.reason
    );
}

/// Whether a packet on its way out came in by an interface where it was judged already.
#[inline(always)]
pub fn was_judged_on_ingress(frame: &TcFrame) -> bool {
    let came_in_by = frame.came_in_by();
    // SAFETY: only whether there is an entry counts.
    came_in_by != 0 && unsafe { INTERFACES.get(came_in_by) }.is_some()
}

/// A packet that was judged where it came in: counted on its way out, and no more.
#[inline(always)]
pub fn forwarded(frame: &TcFrame) -> i32 {
    report::frame_seen(Hook::Egress, frame.len());
    TcFrame::PASS
}

/// The packet goes on its way.
#[inline(always)]
pub fn pass<F: Frame>(work: &Work) -> i32 {
    report::replayed(work, Verdict::Pass);
    F::PASS
}

/// The packet is dropped, for the reason on the desk.
#[inline(always)]
pub fn drop<F: Frame>(frame: &F, work: &mut Work) -> i32 {
    report::refused(frame, work);
    report::replayed(work, Verdict::Drop);
    F::DROP
}

/// Apart from its caller, so that what the verifier learns on each way through the headers ends here.
#[inline(never)]
fn parse<F: Frame>(frame: &F, work: &mut Work) -> Parsed {
    wire::parse(frame, &mut work.packet)
}
