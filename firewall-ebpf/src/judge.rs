//! What the policy says about a new flow.

use core::ffi::c_void;

use aya_ebpf::{btf_maps::lpm_trie::Key, helpers::bpf_loop};
use firewall_common::{
    policy::{self, ASYMMETRIC, Action, Candidate, NetworkSet, PolicyHead, RULES_MAX},
    wire::{Packet, ip_protocol},
};

use crate::maps::{NETWORKS_V4, NETWORKS_V6, PROTOCOL_BY_PORT, RULES};

/// What was decided, and by what.
pub struct Judgement {
    pub action: Action,
    /// Rule, counted from 1; 0: the default.
    pub rule: u32,
    /// Protocol by the policy; 0: none.
    pub protocol: u8,
}

/// Judges the first packet of a flow.
#[inline(always)]
pub fn new_flow(packet: &Packet, head: &PolicyHead) -> Judgement {
    let protocol = protocol(packet);
    let candidate = Candidate {
        from: networks(packet.version, &packet.source),
        to: networks(packet.version, &packet.destination),
        protocol,
    };
    let rule = first_match(candidate, head.rule_count);
    let raw_action = match rule.checked_sub(1).and_then(|index| RULES.get(index)) {
        Some(rule) => rule.action,
        None => head.default_action,
    };
    Judgement { action: Action::from_raw(raw_action), rule, protocol }
}

/// Whether one of the packet's ends lies in a prefix that the policy declares asymmetric.
#[inline(always)]
pub fn is_asymmetric(packet: &Packet, head: &PolicyHead) -> bool {
    head.has_asymmetric != 0
        && (networks(packet.version, &packet.source)
            | networks(packet.version, &packet.destination))
            & ASYMMETRIC
            != 0
}

/// Number of the first rule that speaks about the flow, counted from 1; 0: none does.
#[inline(always)]
fn first_match(flow: Candidate, rule_count: u32) -> u32 {
    let mut walk = Walk { flow, matched: 0 };
    let rounds = if rule_count < RULES_MAX as u32 { rule_count } else { RULES_MAX as u32 };
    // SAFETY: the callback has the signature that the helper wants and gets the context that it expects.
    unsafe { bpf_loop(rounds, try_rule as *mut c_void, (&raw mut walk).cast(), 0) };
    walk.matched
}

/// The walk over the rules.
struct Walk {
    flow: Candidate,
    matched: u32,
}

/// One round of the walk. The verifier looks at it once, however many rules there are.
extern "C" fn try_rule(index: u64, walk: *mut c_void) -> u64 {
    const GO_ON: u64 = 0;
    const STOP: u64 = 1;
    // SAFETY: `first_match` passes its own walk.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    match RULES.get(index as u32) {
        Some(rule) if rule.matches(&walk.flow) => {
            walk.matched = index as u32 + 1;
            STOP
        }
        _ => GO_ON,
    }
}

#[inline(always)]
fn protocol(packet: &Packet) -> u8 {
    let transport = match packet.protocol {
        ip_protocol::TCP => 0,
        ip_protocol::UDP => 1 << 16,
        _ => return 0,
    };
    PROTOCOL_BY_PORT.get(transport | u32::from(packet.destination_port)).copied().unwrap_or(0)
}

#[inline(always)]
fn networks(version: u8, address: &[u32; 4]) -> NetworkSet {
    let networks = if version == 4 {
        let [word, ..] = *address;
        NETWORKS_V4.get(&Key::new(32, word.to_ne_bytes())).copied()
    } else {
        // SAFETY: four words are sixteen bytes, and bytes have no alignment.
        let bytes = unsafe { *core::ptr::from_ref(address).cast::<[u8; 16]>() };
        NETWORKS_V6.get(&Key::new(128, bytes)).copied()
    };
    networks.map_or(0, policy::from_words)
}
