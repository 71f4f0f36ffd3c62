//! Which flow a packet belongs to, and what it does to it.
//!
//! Nothing here looks at the packet's bytes: all facts lie on the [`Work`] desk. It, and two of the three ways from it,
//! that of a known flow and that of a new one, are functions that the verifier knows by their signature alone. It
//! walks each once in a program, however many ways led through the parser and whichever of the four tables the
//! flow was found in. The third is nearly every packet's, short, and goes without a call.

use firewall_common::{
    classifier::Lines as _,
    flow::{self, Change, Direction, Fault, Flow, Half, Segment, State, Step, sides_of},
    layout::Counter,
    policy::Action,
    reason::Reason,
    tally::Counted,
    wire::{Fragment, ip_protocol, tcp_flags},
    words::clear,
};

use crate::{
    atomic, begin, clock, filter, fragments,
    judge::{self, Policy},
    limits,
    maps::{POLICY, TIMEOUTS},
    pinholes, related, report, shortcut, spoofing, tables, tally,
    work::{Decision, Work},
};

/// Decides about the IP packet on the desk. Returns a [`Decision`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn decide(work: *mut Work) -> u32 {
    match Work::passed(work) {
        Some(work) => decision(work) as u32,
        None => Decision::Drop as u32,
    }
}

#[inline(always)]
fn decision(work: &mut Work) -> Decision {
    if work.packet.fragment == Fragment::Later {
        work.forget_flow();
        return fragments::later(work);
    }
    let decision = with_header(work);
    if work.packet.fragment == Fragment::First && decision != Decision::Verify {
        return first_fragment(work, decision);
    }
    decision
}

/// A packet that has its transport header.
#[inline(always)]
fn with_header(work: &mut Work) -> Decision {
    if related::is_error(&work.packet) {
        return related::error(work);
    }
    tables::note_key(work);
    let Some(timeouts) = TIMEOUTS.get(0) else {
        work.forget_flow();
        return work.refuse(Reason::NoPolicy);
    };
    if let Some(flow) = tables::find(work) {
        let lives = !flow.expired(work.now, timeouts);
        if lives && moves_on(work, flow) {
            return shortcut::onward(work, flow);
        }
        judge::note_policy(work);
        if lives {
            match known_flow(work, flow) {
                REOPEN => {}
                RENEW => return Decision::from_raw(renewed(work, flow)),
                decision => return Decision::from_raw(decision),
            }
        }
        forget(work, flow);
    } else {
        judge::note_policy(work);
    }
    Decision::from_raw(begin::new_flow(work))
}

/// Nearly every packet: a segment that only moves its connection on, with nothing for a filter to read. `false`: it is
/// another, and nothing was done.
#[inline(always)]
fn moves_on(work: &mut Work, flow: &mut Flow) -> bool {
    let unread = work.packet.payload_len > 0;
    if work.packet.protocol != ip_protocol::TCP || flow.flags & Flow::LOOKED_AT != 0 {
        return false;
    }
    if unread && flow.protocol != 0 {
        judge::note_policy(work);
        if filter::is_bound(work, u32::from(flow.protocol)) {
            return false;
        }
    }
    let direction = work.direction;
    if !flow::moves_on(flow, direction, &Segment::of(&work.packet)) {
        return false;
    }
    if unread {
        flow.half(direction).flags |= Half::UNREAD;
    }
    flow.last_seen = work.now;
    flow.count(direction, work.packet.ip_len);
    if clock::in_replay() {
        // What its flow says about it nobody else will ask.
        work.note_flow(flow);
    }
    true
}

/// What [`known_flow`] returns for a packet that begins a new flow in place of the one it was found in.
const REOPEN: u32 = u32::MAX;
/// What it returns for one by which the flow begins anew. It is not done there: the policy may have to be asked, and
/// all functions that call each other share one small stack.
const RENEW: u32 = u32::MAX - 1;

/// [`of_known_flow`] as a function of its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn known_flow(work: *mut Work, flow: *mut Flow) -> u32 {
    // SAFETY: the callers pass a reference, or so the verifier will not believe: hence the check.
    match (Work::passed(work), unsafe { flow.as_mut() }) {
        (Some(work), Some(flow)) => match of_known_flow(work, flow) {
            Known::Decided(decision) => decision as u32,
            Known::Reopen => REOPEN,
            Known::Renew => RENEW,
        },
        _ => Decision::Drop as u32,
    }
}

/// [`renew`] as a function of its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn renewed(work: *mut Work, flow: *mut Flow) -> u32 {
    // SAFETY: as above.
    match (Work::passed(work), unsafe { flow.as_mut() }) {
        (Some(work), Some(flow)) => renew(work, flow) as u32,
        _ => Decision::Drop as u32,
    }
}

/// The fragments behind the first follow what is decided about it.
#[inline(always)]
fn first_fragment(work: &mut Work, decision: Decision) -> Decision {
    // An enforcing filter refuses fragments: the rest of the segment would pass unread in the later ones.
    let passes = match decision {
        Decision::Pass => true,
        Decision::Read => !filter::enforces(work),
        _ => false,
    };
    if !fragments::note_first(work, passes) && passes {
        if !related::is_error(&work.packet) {
            tally::passed_not(work);
        }
        return work.refuse(Reason::FragmentDropped);
    }
    decision
}

/// What a packet of a flow in the table comes to.
enum Known {
    /// This.
    Decided(Decision),
    /// The flow is over, and the packet begins another.
    Reopen,
    /// The flow begins anew.
    Renew,
}

/// A packet of a flow in the table.
#[inline(always)]
fn of_known_flow(work: &mut Work, flow: &mut Flow) -> Known {
    if flow.is_child() {
        if flow.state() == State::Killed {
            // A tombstone stays one, and names its kill, not its parent.
            clear(&mut work.parent);
        } else if !pinholes::goes_on(work, flow) {
            return Known::Reopen;
        }
    }
    let direction = work.direction;
    let before = flow.state();
    let next = if work.packet.protocol == ip_protocol::TCP {
        // Who spoofs both ends begins a connection anew in their name, or ends it.
        if spoofing::is_due_of_segment(work) {
            work.note_flow(flow);
            return Known::Decided(Decision::Verify);
        }
        let segment = Segment::of(&work.packet);
        match flow::judge(flow, direction, &segment) {
            Step::Pass => {}
            Step::Reopen => return Known::Reopen,
            Step::Renew => return Known::Renew,
            Step::Refuse(reason, fault) => {
                work.note_flow(flow);
                return Known::Decided(refuse(work, flow, &segment, reason, fault));
            }
        }
        flow::note(flow, direction, &segment)
    } else if before == State::Killed {
        if flow.flags & Flow::REFUSED != 0 {
            // Who sends again is judged again.
            return Known::Reopen;
        }
        work.note_flow(flow);
        work.caused_by = atomic::killed_by(flow);
        return Known::Decided(work.refuse(Reason::KilledFlow));
    } else if direction == Direction::Reply {
        State::Assured
    } else {
        before
    };
    // What comes after the end does not keep a flow.
    if !matches!(before, State::Closed | State::Killed) {
        flow.last_seen = work.now;
    }
    flow.count(direction, work.packet.ip_len);
    let is_read = work.packet.brings_payload() && !before.discards_payload(&work.packet);
    work.note_flow(flow);
    if flow.is_counted_apart() {
        tally::passed(work);
    }
    if next == before && !is_read && !before.is_half_open() {
        return Known::Decided(shortcut::onward(work, flow));
    }
    work.told.crosses = u8::from(before.is_half_open());
    if next != before && !change(work, flow, before, next) {
        tally::passed_not(work);
        return Known::Decided(Decision::Drop);
    }
    if is_read {
        return Known::Decided(read_or_pass(work, flow));
    }
    Known::Decided(Decision::Pass)
}

/// The flow moves from one state to the next. `false`: it cannot, and why lies on the desk.
#[inline(always)]
fn change(work: &mut Work, flow: &mut Flow, before: State, next: State) -> bool {
    if !atomic::change_state(flow, before, next) {
        // Another CPU was faster. A flow that it ended stays so; otherwise the next packet catches up.
        let now = flow.state();
        work.state = now;
        if now == State::Killed {
            work.caused_by = atomic::killed_by(flow);
            work.refuse(Reason::TcpNotSyn);
        }
        return now != State::Killed;
    }
    work.state = next;
    if before.is_half_open() && next.is_completed() && !complete(work, flow) {
        // Back to where it was, so that its next packet can try again.
        atomic::change_state(flow, next, before);
        work.state = before;
        work.refuse(Reason::OutOfResources);
        return false;
    }
    note_change(work, flow, before, next);
    true
}

/// The flow got its answer: it moves to the table that never evicts. `false`: that is full.
#[inline(always)]
fn complete(work: &mut Work, flow: &mut Flow) -> bool {
    // What this packet leaves unread is noted before the flow is copied.
    if work.packet.brings_payload() && !filter::wants(work) {
        flow.half(work.direction).flags |= Half::UNREAD;
    }
    // By way of the desk: see `Work::passed`.
    work.flow = *flow;
    work.flow.flags &= !Flow::COUNTED_APART;
    if !tables::promote(&work.key(), &work.flow, Some(Counted::by(&work.flow))) {
        return false;
    }
    if let Some(policy) = Policy::of(work)
        && let Some(head) = policy.head()
    {
        note_originator(work, flow.originator_is_second != 0);
        limits::answered(work, &policy, head);
    }
    true
}

/// Lays the address of the flow's originator on the desk, by the flow's own key: a packet behind NAT has another.
#[inline(always)]
fn note_originator(work: &mut Work, is_second: bool) {
    if work.packet.version == 4 {
        let (originator, _) = sides_of(&work.key_v4.addresses, is_second);
        work.originator[0] = *originator;
        work.originator[1] = 0;
        work.originator[2] = 0;
        work.originator[3] = 0;
    } else {
        let (originator, _) = sides_of(&work.key_v6.addresses, is_second);
        work.originator = *originator;
    }
}

/// Whether what the windows do not allow passes for now: see
/// [`InForce::relaxed_until`](firewall_common::policy::InForce::relaxed_until).
#[inline(always)]
fn is_relaxed(work: &Work, fault: Fault) -> bool {
    let is_plain = work.packet.flags & (tcp_flags::SYN | tcp_flags::RST) == 0;
    fault != Fault::None
        && is_plain
        && work.state.is_completed()
        && POLICY.get(0).is_some_and(|in_force| work.now < in_force.relaxed_until)
}

/// A segment passes whose place is not known to be wrong. Its flow is learnt about anew, from the next one on.
#[inline(always)]
fn pass_relaxed(work: &mut Work, flow: &mut Flow) -> Decision {
    let [original, reply] = &mut flow.halves;
    original.learn_again();
    reply.learn_again();
    flow.last_seen = work.now;
    flow.count(work.direction, work.packet.ip_len);
    if flow.is_counted_apart() {
        tally::passed(work);
    }
    if work.packet.brings_payload() { read_or_pass(work, flow) } else { Decision::Pass }
}

/// Payload passes by the filter that is bound, which is told what the flow says, or is noted as unread.
#[inline(always)]
fn read_or_pass(work: &mut Work, flow: &mut Flow) -> Decision {
    if !filter::wants(work) {
        flow.half(work.direction).flags |= Half::UNREAD;
        return if work.told.is_nothing() { shortcut::onward(work, flow) } else { Decision::Pass };
    }
    let (sender, receiver) = flow.sides(work.direction);
    work.acked = receiver.acked;
    work.unread = sender.flags & Half::UNREAD != 0;
    work.originator_is_second = flow.originator_is_second != 0;
    Decision::Read
}

/// A segment that the flow's state or windows do not allow.
#[inline(never)]
fn refuse(
    work: &mut Work,
    flow: &mut Flow,
    segment: &Segment,
    reason: Reason,
    fault: Fault,
) -> Decision {
    if is_relaxed(work, fault) {
        return pass_relaxed(work, flow);
    }
    // After a kill, drops point back to it, and the sender learns of it by a RST.
    work.caused_by = atomic::killed_by(flow);
    work.told.fault = fault as u8;
    work.expected = flow::expected(flow, work.direction, segment, fault);
    flow::note_refused(flow, work.direction, segment);
    let refused = work.refuse(reason);
    let is_reset = segment.flags & tcp_flags::RST != 0;
    if work.state == State::Killed && !is_reset { Decision::Answer } else { refused }
}

/// One of the ends began the connection anew, and the other agrees: what lies in the table is the new one from
/// here on, if the packet passes.
#[inline(always)]
fn renew(work: &mut Work, flow: &mut Flow) -> Decision {
    work.note_flow(flow);
    let answer = Segment::of(&work.packet);
    if flow::renewed_by(flow) == Direction::Reply {
        // It goes the other way than the one that was let in.
        work.packet.turn(&mut work.quoted);
        if judge::new_flow(work, true, flow.beyond()) != Action::Allow {
            tally::refused(work);
            return work.refuse(Reason::PolicyRulesDenied);
        }
    }
    let apart = flow.is_counted_apart();
    if !apart {
        tally::left(Counted::by(flow));
    }
    // Still those of before if the policy was not asked.
    flow.rule = work.rule as u16;
    flow.protocol = work.protocol;
    flow.flags = flow.flags & !Flow::QUIET | work.flow_flags & Flow::QUIET;
    filter::forget(flow.id, work.now, 0);
    let next = flow::renew(flow, &answer);
    flow.id = report::next_flow_number();
    if work.by_alias
        && let Some(alias) = tables::entry(&work.alias())
    {
        // The answer came by the flow's other name, which goes on leading to it.
        alias.id = flow.id;
    }
    flow.created = work.now;
    flow.last_seen = work.now;
    flow.state = next as u8;
    work.direction = Direction::Reply;
    flow.count(Direction::Reply, work.packet.ip_len);
    work.note_flow(flow);
    tally::began(work, apart);
    work.told.crosses = 1;
    report::count(Counter::FlowsOpened, 1);
    Decision::Pass
}

/// Forgets a flow that is over or was silent for too long, with what a filter knew of it and with the name that
/// the packet came by.
#[inline(always)]
fn forget(work: &mut Work, flow: &Flow) {
    filter::forget(flow.id, work.now, 0);
    tables::remove(&work.key(), Some(Counted::by(flow)));
    if work.by_alias {
        tables::call_by_own_name(work);
        tables::remove(&work.key(), None);
    }
}

/// Lays out what there is to say about a flow that began or ended.
#[inline(always)]
fn note_change(work: &mut Work, flow: &Flow, before: State, next: State) {
    let Some(change) = Change::between(before, next) else {
        return;
    };
    if change != Change::Opened {
        work.record.sum_up(flow);
        pinholes::parent_ended(work.flow_id, work.now, 0);
    }
    work.told.change = change as u8;
}
