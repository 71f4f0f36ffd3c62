//! Which flow a packet belongs to, and what it does to it.
//!
//! Nothing here looks at the packet's bytes: all facts lie on the [`Work`] desk. It, and two of the three ways from it,
//! that of a known flow and that of a new one, are functions that the verifier knows by their signature alone. It
//! walks each once in a program, however many ways led through the parser and whichever of the four tables the
//! flow was found in. The third is nearly every packet's, short, and goes without a call.

use firewall_common::{
    classifier::{Head, Lines as _},
    essential::Need,
    flow::{self, Change, Direction, Fault, Flow, Half, Segment, State, Step},
    layout::{Counter, Hook},
    policy::{Action, NewFlow},
    reason::Reason,
    tally::Counted,
    wire::{self, Fragment, Packet, ip_protocol, tcp_flags},
    words::clear,
};

use crate::{
    atomic, challenge, clock, essential, filter, fragments,
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
    Decision::from_raw(new_flow(work))
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

/// [`of_new_flow`] as a function of its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn new_flow(work: *mut Work) -> u32 {
    match Work::passed(work) {
        Some(work) => of_new_flow(work) as u32,
        None => Decision::Drop as u32,
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
    // A tombstone stays one.
    if flow.is_child() && flow.state() != State::Killed && !pinholes::goes_on(work, flow) {
        return Known::Reopen;
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
        work.caused_by = flow.killed_by();
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
    let is_read = brings_payload(&work.packet) && !is_discarded(before, &work.packet);
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
            work.caused_by = flow.killed_by();
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
    if brings_payload(&work.packet) && !filter::wants(work) {
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
        let [first, second] = work.key_v4.addresses;
        work.originator[0] = if is_second { second } else { first };
        work.originator[1] = 0;
        work.originator[2] = 0;
        work.originator[3] = 0;
    } else {
        let [first, second] = &work.key_v6.addresses;
        work.originator = if is_second { *second } else { *first };
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
    if brings_payload(&work.packet) { read_or_pass(work, flow) } else { Decision::Pass }
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
    work.caused_by = flow.killed_by();
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

/// The first packet of a flow, or one that belongs to none.
#[inline(always)]
fn of_new_flow(work: &mut Work) -> Decision {
    work.forget_flow();
    let need = essential::need(work);
    if need == Need::Passes {
        return Decision::Pass;
    }
    if work.packet.is_to_itself() {
        return work.refuse(Reason::LandAttack);
    }
    let Some(policy) = Policy::of(work) else {
        return work.refuse(Reason::NoPolicy);
    };
    let Some(head) = policy.head() else {
        return work.refuse(Reason::NoPolicy);
    };
    if spoofing::is_due(work, head) {
        return Decision::Verify;
    }
    let begins = match work.packet.protocol {
        ip_protocol::TCP => match begins(work, head) {
            Ok(begins) => begins,
            Err(reason) => return work.refuse(reason),
        },
        _ if wire::is_answer(&work.packet) => return work.refuse(Reason::IcmpUnrelated),
        _ => Begins::Datagram,
    };
    let action = if need == Need::Begins || pinholes::let_in(work) {
        Action::Allow
    } else {
        let came_in_by = if matches!(work.hook, Hook::Ingress) { work.interface } else { 0 };
        judge::new_flow(work, false, came_in_by)
    };
    if action != Action::Allow {
        tally::refused(work);
    }
    match action {
        Action::Allow => {}
        Action::Reject => {
            if matches!(work.hook, Hook::Egress) {
                let_the_answer_in(work);
            }
            work.refuse(Reason::PolicyRulesDenied);
            let is_tcp = work.packet.protocol == ip_protocol::TCP;
            return if is_tcp { Decision::Answer } else { Decision::Prohibit };
        }
        Action::Deny => return work.refuse(Reason::PolicyRulesDenied),
    }
    if begins == Begins::Syn && challenge::is_due(work, head) {
        return challenge::challenge(work, head);
    }
    let unread = brings_payload(&work.packet);
    if begins == Begins::Syn && unread && filter::wants(work) && filter::enforces(work) {
        // Data in a SYN (RFC 7413) would reach the server unread. A client repeats the SYN without it.
        return work.refuse(Reason::FilterSegmentHeld);
    }
    if let Err(reason) = limits::admit(work, &policy, head) {
        return work.refuse(reason);
    }
    if begins == Begins::Syn {
        limits::note_unanswered(work.now, head, 1);
    }
    create(work, begins, unread)
}

/// How a flow begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// Not TCP.
    Datagram,
    /// By its SYN.
    Syn,
    /// In its midst: the policy, or the one who switched the firewall on, lets it.
    Midstream,
    /// In its midst or by a SYN, and nothing will be held against it.
    Asymmetric,
    /// Not at all, and passes.
    Nothing,
}

/// How the TCP segment on the desk, of no known connection, begins one; or why it must not.
#[inline(never)]
fn begins(work: &mut Work, head: &Head) -> Result<Begins, Reason> {
    let opens = flow::opens(work.packet.flags);
    if opens == Err(Reason::IpHalfScan) {
        return Err(Reason::IpHalfScan);
    }
    if judge::is_asymmetric(work, head) {
        return Ok(Begins::Asymmetric);
    }
    let Err(reason) = opens else {
        return Ok(Begins::Syn);
    };
    if challenge::is_answer(work, head) {
        return Err(Reason::SynAuthenticated);
    }
    // A RST ends a connection, and there is none.
    let is_reset = work.packet.flags & tcp_flags::RST != 0;
    if !is_reset && POLICY.get(0).is_some_and(|in_force| work.now < in_force.adopt_until) {
        return Ok(Begins::Midstream);
    }
    if NewFlow::from_raw(head.new_flow) == NewFlow::Monitor {
        // It is told of, and passes.
        work.refuse(reason);
        return Ok(if is_reset { Begins::Nothing } else { Begins::Midstream });
    }
    Err(reason)
}

/// What this machine itself sent is rejected: the answer to it will come in by an ingress hook, and belongs to what
/// is entered here, a flow that ended before it began. Should there be no room, the program that sent it waits.
#[inline(never)]
fn let_the_answer_in(work: &mut Work) {
    lay_out(work, report::next_flow_number(), State::Killed);
    work.flow.flags |= Flow::REFUSED;
    let _ = tables::insert_half_open(&work.key(), &work.flow);
}

/// Lays out a flow that begins with the packet on the desk, before anything of it is counted.
#[inline(always)]
fn lay_out(work: &mut Work, id: u64, state: State) {
    clear(&mut work.flow);
    let flow = &mut work.flow;
    flow.last_seen = work.now;
    flow.created = work.now;
    flow.id = id;
    flow.state = state as u8;
    flow.originator_is_second = u8::from(work.source_is_second);
    flow.protocol = work.protocol;
    flow.ip_protocol = work.packet.protocol;
    flow.interface = work.interface;
    flow.rule = work.rule as u16;
    flow.kin = work.kin;
    // It begins without an answer.
    flow.flags = Flow::COUNTED_APART | work.flow_flags & Flow::QUIET;
    if work.kin != 0 {
        flow.flags |= Flow::CHILD;
    }
}

/// Enters the flow that the packet on the desk begins.
#[inline(always)]
fn create(work: &mut Work, begins: Begins, unread: bool) -> Decision {
    let state = match begins {
        Begins::Datagram => State::Unreplied,
        Begins::Syn => State::SynSent,
        Begins::Midstream | Begins::Asymmetric => State::Midstream,
        Begins::Nothing => {
            tally::passed(work);
            return Decision::Pass;
        }
    };
    work.flow_id = report::next_flow_number();
    work.state = state;
    lay_out(work, work.flow_id, work.state);
    let flow = &mut work.flow;
    flow.count(Direction::Original, work.packet.ip_len);
    if unread {
        flow.half(Direction::Original).flags = Half::UNREAD;
    }
    let segment = Segment::of(&work.packet);
    match begins {
        Begins::Datagram | Begins::Nothing => {}
        Begins::Syn => flow::note_first_syn(flow, &segment),
        Begins::Midstream | Begins::Asymmetric => begin_in_midstream(flow, begins, &segment),
    }
    work.flow_flags = flow.flags;
    if !tables::insert_half_open(&work.key(), &work.flow) {
        return work.refuse(Reason::OutOfResources);
    }
    if work.kin != 0 {
        pinholes::begun(work);
    }
    tally::began(work, true);
    report::count(Counter::FlowsOpened, 1);
    work.told.crosses = 1;
    Decision::Pass
}

#[inline(never)]
fn begin_in_midstream(flow: &mut Flow, begins: Begins, segment: &Segment) {
    report::count(Counter::FlowsAdopted, 1);
    flow.flags |= Flow::ADOPTED;
    let unjudged = if begins == Begins::Asymmetric { Half::UNJUDGED } else { 0 };
    let [original, reply] = &mut flow.halves;
    for half in [original, reply] {
        let unread = half.flags & Half::UNREAD;
        *half = Half::in_midstream(None);
        half.flags |= unread | unjudged;
    }
    // It is the first packet and passes: what state it makes does not matter, it has one.
    let _ = flow::note(flow, Direction::Original, segment);
}

/// Whether there is something in the packet for a filter to read, or in the fragments that follow it.
#[inline(always)]
fn brings_payload(packet: &Packet) -> bool {
    packet.protocol == ip_protocol::TCP
        && (packet.payload_len > 0 || packet.fragment == Fragment::First)
}

/// Whether the receiver discards the segment's payload: that of a RST, and that of a SYN once the connection
/// stands (RFC 9293 §3.10.7.4). A filter that read it would take what really comes for a repetition.
#[inline(always)]
fn is_discarded(state: State, packet: &Packet) -> bool {
    packet.flags & tcp_flags::RST != 0
        || packet.flags & tcp_flags::SYN != 0 && !state.is_half_open()
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
