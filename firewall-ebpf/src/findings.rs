//! What a filter objects to: told of, and what kills acted on.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_loop;
use firewall_common::{filter::finding::Findings, flow::State, policy::Profile, reason::Reason};

use crate::{
    atomic,
    filter::{self, enforces},
    frame::Frame,
    read::{Filter, GO_ON, STOP, count},
    report, tables,
    work::Work,
};

/// No finding kills.
pub const NO_KILL: u32 = u32::MAX;
/// One byte gives rise to fewer findings than this.
const FINDINGS_PER_BYTE: u32 = 8;

/// Reports what is only to be noted. Returns the code of the finding that kills, or [`NO_KILL`].
#[inline(always)]
pub fn report<F: Frame, P: Filter>(
    frame: &F,
    work: &mut Work,
    parser: &P,
    findings: Findings,
) -> u32 {
    let killing = if !enforces(work) {
        Findings::EMPTY
    } else if work.binding.profile == Profile::Strict as u8 {
        const { P::FILTER.killing(Profile::Strict) }
    } else {
        const { P::FILTER.killing(Profile::Standard) }
    };
    work.noted = findings.without(killing);
    let mut noting = Noting { frame, work, parser };
    let context = (&raw mut noting).cast();
    // SAFETY: the callback has the signature that the helper wants and gets the context it expects.
    unsafe { bpf_loop(FINDINGS_PER_BYTE, note_first::<F, P> as *mut c_void, context, 0) };
    (findings & killing).first().map_or(NO_KILL, u32::from)
}

/// What the loop over a byte's findings works with.
struct Noting<'a, F, P> {
    frame: &'a F,
    work: &'a mut Work,
    parser: &'a P,
}

/// One round: reports the first finding that is left.
extern "C" fn note_first<F: Frame, P: Filter>(_round: u64, context: *mut c_void) -> u64 {
    // SAFETY: `report` passes its own noting.
    let Noting { frame, work, parser } = unsafe { &mut *context.cast::<Noting<'_, F, P>>() };
    let Some(code) = work.noted.first() else {
        return STOP;
    };
    work.noted = work.noted.without(Findings::of(code));
    count(work.protocol, |counters| counters.findings += 1);
    let reason =
        if code == P::FOREIGN_ADDRESS { Reason::AddressNotAllowed } else { Reason::IpsDetected };
    if let Some(suppressed) = report::admit_finding(work, P::FILTER as u8, code, reason) {
        quote(work, *parser, code);
        frame.finding(work, suppressed);
    }
    GO_ON
}

/// Ends the flow: leaves the tombstone and reports the kill that later drops will point to.
#[inline(always)]
pub fn kill<F: Frame, P: Filter>(frame: &F, work: &mut Work, parser: &P, code: u16) {
    work.state = State::Killed;
    count(work.protocol, |counters| counters.findings += 1);
    quote(work, parser, code);
    let flow = tables::find_again(work);
    match &flow {
        Some(flow) => work.record.sum_up(flow),
        None => work.record.started = 0,
    }
    let number = report::killed(frame, work);
    count(work.protocol, |counters| counters.kills += 1);
    if let Some(flow) = flow {
        atomic::entomb(flow, number, work.now);
    }
    filter::forget(work.flow_id, work.now, number);
}

/// Lays out what was found, where, and what stood there.
#[inline(always)]
fn quote<P: Filter>(work: &mut Work, parser: &P, code: u16) {
    let record = &mut work.record;
    record.filter = P::FILTER as u8;
    record.finding = code;
    record.offset = parser.finding_offset(code);
    parser.excerpt(code).copy_to(record);
}
