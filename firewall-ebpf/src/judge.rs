//! What the policy says about a new flow.

use firewall_common::{
    classifier::{self, ASYMMETRIC, Dimension, Head, Judgement, Line, Lines, Terms, UNNAMED},
    flow::Flow,
    layout::Port,
    policy::{Action, InForce},
};

use crate::{
    maps::{IMAGES, INTERFACES, Image, POLICY},
    shadow,
    work::Work,
};

/// The policy that a packet is judged by, from its first question to its last.
#[derive(Clone, Copy)]
pub struct Policy {
    image: &'static Image,
    slot: u32,
}

impl Policy {
    /// The policy of the packet on the desk. `None`: there is none.
    #[inline(always)]
    pub fn of(work: &Work) -> Option<Self> {
        let slot = work.slot;
        IMAGES.get(slot).map(|image| Self { image, slot })
    }
}

impl Lines for Policy {
    #[inline(always)]
    fn line(&self, index: u32) -> Option<&Line> {
        self.image.get(index).map(bytemuck::cast_ref)
    }

    #[inline(always)]
    fn first_common(&self, a: u32, b: u32, c: u32, d: u32) -> Option<u32> {
        let bit = first_common(self.slot, a, b, c, d);
        (bit != NO_LINES).then_some(bit)
    }
}

/// Notes which policy the packet on the desk is judged by. The number is read here only: what is in force may
/// change at any time. Nearly every packet needs none and is not asked to.
#[inline(always)]
pub fn note_policy(work: &mut Work) {
    work.slot = POLICY.get(0).map_or(0, |in_force| in_force.slot);
}

/// Judges the first packet of a flow: the one on the desk, or what it quotes, which came in by the interface with this
/// index; 0: by none. The desk then has rule and protocol.
#[inline(always)]
pub fn new_flow(work: &mut Work, quoted: bool, came_in_by: u32) -> Action {
    let quoted = u32::from(quoted);
    work.came_in_by = came_in_by;
    let mut action = asked(work, quoted);
    if let Some(InForce { shadow, .. }) = POLICY.get(0)
        && *shadow != 0
    {
        shadow::turn_to(work, *shadow, action);
        let other = asked(work, quoted);
        // Read back: the verifier then takes it for the same as where nothing is compared.
        action = shadow::turn_back(work, quoted, other);
    }
    Action::from_raw(action)
}

/// Asks the policy in the packet's slot.
#[inline(always)]
fn asked(work: &mut Work, quoted: u32) -> u32 {
    work.classes = [
        class(work, quoted, Dimension::Source as u32),
        class(work, quoted, Dimension::Destination as u32),
        class(work, quoted, Dimension::Service as u32),
        class(work, quoted, Dimension::Interface as u32),
    ];
    judged(work)
}

/// Lays out whether the rule on the desk asks for no events. What a pinhole let in is its rule's, too.
#[inline(always)]
pub fn note_rule_of_pinhole(work: &mut Work) {
    let policy = Policy::of(work);
    let quiet = policy
        .as_ref()
        .and_then(|policy| policy.terms(work.rule as u16))
        .is_some_and(|terms| work.rule != 0 && terms.flags & Terms::QUIET != 0);
    note_quiet(work, quiet);
}

#[inline(always)]
fn note_quiet(work: &mut Work, quiet: bool) {
    work.flow_flags &= !Flow::QUIET;
    if quiet {
        work.flow_flags |= Flow::QUIET;
    }
}

/// What [`asked`] calls once the classes lie on the desk, as a function that the verifier knows by its signature
/// alone.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judged(work: *mut Work) -> u32 {
    let Some(work) = Work::passed(work) else {
        return Action::Deny as u32;
    };
    let Some(policy) = Policy::of(work) else {
        return Action::Deny as u32;
    };
    match classifier::judge_classes(&policy, &work.classes) {
        Some(Judgement { action, rule, protocol, quiet }) => {
            work.rule = u32::from(rule);
            work.protocol = protocol;
            note_quiet(work, quiet);
            action as u32
        }
        None => Action::Deny as u32,
    }
}

/// [`classifier::class`] as a function of its own; 0: there is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn class(work: *mut Work, quoted: u32, dimension: u32) -> u32 {
    let Some(work) = Work::passed(work) else {
        return 0;
    };
    let Some(policy) = Policy::of(work) else {
        return 0;
    };
    let packet = if quoted == 0 { &work.packet } else { &work.quoted };
    let dimension = match dimension {
        0 => Dimension::Source,
        1 => Dimension::Destination,
        2 => Dimension::Service,
        _ => return interface_class(work, policy),
    };
    classifier::class(&policy, packet, dimension).unwrap_or(0)
}

/// The class of the interface that the first packet came in by.
#[inline(always)]
fn interface_class(work: &Work, policy: Policy) -> u32 {
    if policy.head().is_none_or(|head| head.interfaces == 0) {
        return 0;
    }
    let number = match work.came_in_by {
        0 => 0,
        // SAFETY: the number is read at once. Nobody may pass for this machine itself, whatever number is there.
        index => match unsafe { INTERFACES.get(index) } {
            Some(Port { number: number @ 1..UNNAMED, .. }) => *number,
            _ => UNNAMED,
        },
    };
    classifier::interface_class(&policy, number).unwrap_or(0)
}

/// [`Lines::first_common`] of the policy in a slot, as a function of its own; [`NO_LINES`]: `None`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn first_common(slot: u32, a: u32, b: u32, c: u32, d: u32) -> u32 {
    let Some(image) = IMAGES.get(slot) else {
        return NO_LINES;
    };
    let line = |index| image.get(index).map(bytemuck::cast_ref);
    match (line(a), line(b), line(c), line(d)) {
        (Some(a), Some(b), Some(c), Some(d)) => classifier::first_common(a, b, c, d),
        _ => NO_LINES,
    }
}

/// Not the number of a bit, nor of none.
const NO_LINES: u32 = u32::MAX;

/// Whether one of the packet's ends lies in a prefix that the policy declares asymmetric.
#[inline(always)]
pub fn is_asymmetric(work: &mut Work, head: &Head) -> bool {
    let mut is = |dimension: Dimension| class(work, 0, dimension as u32) & ASYMMETRIC != 0;
    head.has_asymmetric != 0 && (is(Dimension::Source) || is(Dimension::Destination))
}

/// Whether the packet's source lies in such a prefix.
#[inline(always)]
pub fn is_asymmetric_source(work: &mut Work, head: &Head) -> bool {
    head.has_asymmetric != 0 && class(work, 0, Dimension::Source as u32) & ASYMMETRIC != 0
}
