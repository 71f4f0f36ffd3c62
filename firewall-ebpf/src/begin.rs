//! How a flow begins: the first packet of one, or one that belongs to none.

use firewall_common::{
    classifier::{Head, Lines as _},
    essential::Need,
    flow::{self, Direction, Flow, Half, Segment, State},
    layout::{Counter, Hook},
    policy::{Action, NewFlow},
    reason::Reason,
    wire::{self, ip_protocol, tcp_flags},
    words::clear,
};

use crate::{
    challenge, essential, filter,
    judge::{self, Policy},
    limits,
    maps::POLICY,
    pinholes, report, spoofing, tables, tally,
    work::{Decision, Work},
};

/// [`of_new_flow`] as a function that the verifier knows by its signature alone.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn new_flow(work: *mut Work) -> u32 {
    match Work::passed(work) {
        Some(work) => of_new_flow(work) as u32,
        None => Decision::Drop as u32,
    }
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
    let unread = work.packet.brings_payload();
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
