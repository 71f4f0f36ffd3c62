//! The compiled policy: what user space writes into the kernel's tables and how a new flow is judged.
//!
//! A new flow is described by three small facts, each found in one lookup: the set of networks its
//! source lies in, the set its destination lies in, and the protocol that its transport and
//! destination port belong to. The rules are then walked in order; the first that matches wins.

use bytemuck::{Pod, Zeroable};

/// Most networks a policy can name: they are the bits of a [`NetworkSet`], but for the last one.
pub const NETWORKS_MAX: usize = 63;
/// Most rules a policy can have; bounds the kernel's walk over them.
pub const RULES_MAX: usize = 256;
/// Most protocols a policy can name. Protocol 0 is "none of them", so 255 are left.
pub const PROTOCOLS_MAX: usize = 256;
/// Most prefixes of each address family that a policy can list.
pub const PREFIXES_MAX: usize = 16_384;

/// A set of networks, bit n standing for network n of the policy, and [`ASYMMETRIC`].
pub type NetworkSet = u64;

/// The bit of a [`NetworkSet`] for prefixes that the policy declares asymmetric: of their connections only
/// one direction may come by here.
pub const ASYMMETRIC: NetworkSet = 1 << NETWORKS_MAX;

/// A [`NetworkSet`] as it lies in the tries, lower half first: behind a key of four bytes a `u64` would not
/// be aligned.
pub type NetworkWords = [u32; 2];

/// The set in the form that the tries hold.
#[inline(always)]
pub const fn to_words(networks: NetworkSet) -> NetworkWords {
    [networks as u32, (networks >> 32) as u32]
}

/// The set out of a trie.
#[inline(always)]
pub const fn from_words(words: NetworkWords) -> NetworkSet {
    words[0] as NetworkSet | (words[1] as NetworkSet) << 32
}

/// What a rule, or the default, does with a new flow.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Refuse, in silence towards the sender.
    Deny = 0,
    /// Let the flow begin.
    Allow = 1,
    /// Refuse and tell the sender.
    Reject = 2,
}

impl Action {
    /// The action that `raw` stands for; anything unknown denies.
    #[inline(always)]
    pub const fn from_raw(raw: u32) -> Self {
        match raw {
            1 => Self::Allow,
            2 => Self::Reject,
            _ => Self::Deny,
        }
    }
}

/// One compiled rule. An empty set (0) of networks or protocols stands for "any".
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Rule {
    /// Networks of which the source must lie in at least one.
    pub from: NetworkSet,
    /// Networks of which the destination must lie in at least one.
    pub to: NetworkSet,
    /// Protocols as a bit set: bit `n % 64` of word `n / 64`.
    pub protocols: [u64; PROTOCOLS_MAX / 64],
    /// An [`Action`].
    pub action: u32,
    /// Most flows without an answer at a time that the rule lets in; 0: no limit.
    pub half_open_max: u32,
    /// Most new flows a second that the rule lets in, with bursts of a second's worth; 0: no limit.
    pub new_per_second: u32,
    /// Must be 0.
    pub reserved: u32,
}

/// What the walk over the rules needs to know about a new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Networks that hold the source address.
    pub from: NetworkSet,
    /// Networks that hold the destination address.
    pub to: NetworkSet,
    /// Protocol by transport and destination port; 0 if the policy names none.
    pub protocol: u8,
}

impl Rule {
    /// Whether this rule speaks about `flow`.
    #[inline(always)]
    pub fn matches(&self, flow: &Candidate) -> bool {
        let [p0, p1, p2, p3] = self.protocols;
        let word = match flow.protocol >> 6 {
            0 => p0,
            1 => p1,
            2 => p2,
            _ => p3,
        };
        (self.from == 0 || self.from & flow.from != 0)
            && (self.to == 0 || self.to & flow.to != 0)
            && (p0 | p1 | p2 | p3 == 0 || word >> (flow.protocol & 63) & 1 == 1)
    }
}

/// The head of a compiled policy.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct PolicyHead {
    /// How many of the [`RULES_MAX`] rules are in use.
    pub rule_count: u32,
    /// The [`Action`] for a flow that no rule speaks about.
    pub default_action: u32,
    /// Until when a TCP segment that belongs to no flow may begin one, nanoseconds of the monotonic clock; 0:
    /// never. Not the policy's own but a running gateway's: `--adopt`.
    pub adopt_until: u64,
    /// Until when a connection that stands may say what its windows do not allow, and is learnt about anew; 0:
    /// never. While the flow tables change their size, each program sees a part of the packets.
    pub relaxed_until: u64,
    /// Most flows without an answer of one source address at a time; 0: no limit.
    pub source_half_open_max: u32,
    /// Most new flows a second of one source address, with bursts of a second's worth; 0: no limit.
    pub source_new_per_second: u32,
    /// TCP flows a second that begin without an answer, in all, beyond which a SYN attack is on; 0: none ever
    /// is.
    pub syn_attack_per_second: u32,
    /// A [`SynAuthentication`].
    pub syn_authentication: u8,
    /// A [`NewFlow`].
    pub new_flow: u8,
    /// 1: a prefix is [`ASYMMETRIC`].
    pub has_asymmetric: u8,
    /// What may take the shortcut past the kernel's stack: bit set of [`crate::shortcut::FOR_UDP`] and
    /// [`crate::shortcut::FOR_TCP`].
    pub shortcut: u8,
}

/// What becomes of a TCP segment that belongs to no flow and is not a SYN.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NewFlow {
    /// It is dropped.
    #[default]
    Enforce = 0,
    /// It is reported and begins a flow.
    Monitor = 1,
}

impl NewFlow {
    /// What `raw` stands for; anything unknown enforces.
    #[inline(always)]
    pub const fn from_raw(raw: u8) -> Self {
        if raw == 1 { Self::Monitor } else { Self::Enforce }
    }

    /// The name in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Monitor => "monitor",
        }
    }
}

/// When the sender of a SYN has to show that its address is its own before anything is remembered of it.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SynAuthentication {
    /// Never.
    #[default]
    Off = 0,
    /// While a SYN attack is on.
    Auto = 1,
    /// Always.
    On = 2,
}

impl SynAuthentication {
    /// What `raw` stands for; anything unknown is off.
    #[inline(always)]
    pub const fn from_raw(raw: u8) -> Self {
        match raw {
            1 => Self::Auto,
            2 => Self::On,
            _ => Self::Off,
        }
    }

    /// The name in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::On => "on",
        }
    }
}

/// How strictly a filter's findings are acted on.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The filter does not run.
    #[default]
    Off = 0,
    /// Findings are reported; nothing is killed or held back.
    Monitor = 1,
    /// Findings that the profile forbids kill the connection.
    Enforce = 2,
}

impl Mode {
    /// Every mode, in the order of strictness.
    pub const ALL: [Self; 3] = [Self::Off, Self::Monitor, Self::Enforce];

    /// The mode that `raw` stands for; anything unknown is [`Mode::Off`].
    #[inline(always)]
    pub const fn from_raw(raw: u8) -> Self {
        match raw {
            1 => Self::Monitor,
            2 => Self::Enforce,
            _ => Self::Off,
        }
    }

    /// The name in policies and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Monitor => "monitor",
            Self::Enforce => "enforce",
        }
    }
}

/// How much departure from the grammar a filter lives with.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// What the RFC allows and what real devices send lives.
    #[default]
    Standard = 0,
    /// Any departure from the grammar kills.
    Strict = 1,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 2] = [Self::Standard, Self::Strict];

    /// The profile that `raw` stands for; anything unknown is [`Profile::Standard`].
    #[inline(always)]
    pub const fn from_raw(raw: u8) -> Self {
        match raw {
            1 => Self::Strict,
            _ => Self::Standard,
        }
    }

    /// The name in policies and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Strict => "strict",
        }
    }
}

/// Which filter runs on a protocol, and how. Eight bytes, so that one aligned store changes it.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Binding {
    /// Number of the filter in the program array; 0: no filter is bound.
    pub filter: u8,
    /// A [`Mode`].
    pub mode: u8,
    /// A [`Profile`].
    pub profile: u8,
    /// Must be 0.
    pub reserved: u8,
    /// Rises with each change, so that a watcher sees one that was taken back.
    pub generation: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule_for_protocol(protocol: usize) -> Rule {
        let mut rule = Rule { action: Action::Allow as u32, ..Rule::default() };
        rule.protocols[protocol / 64] = 1 << (protocol % 64);
        rule
    }

    #[test]
    fn an_empty_rule_matches_every_flow() {
        assert!(Rule::default().matches(&Candidate { from: 0, to: 0, protocol: 0 }));
    }

    #[test]
    fn a_protocol_matches_itself_only() {
        for protocol in [1, 63, 64, 127, 128, 200, 255] {
            let rule = rule_for_protocol(protocol);
            for other in 0..=255u8 {
                let flow = Candidate { from: 0, to: 0, protocol: other };
                assert_eq!(
                    rule.matches(&flow),
                    usize::from(other) == protocol,
                    "{protocol} {other}"
                );
            }
        }
    }

    #[test]
    fn networks_need_one_in_common_on_each_side() {
        let rule = Rule { from: 0b0110, to: 0b1000, ..Rule::default() };
        assert!(rule.matches(&Candidate { from: 0b0010, to: 0b1001, protocol: 9 }));
        assert!(!rule.matches(&Candidate { from: 0b0001, to: 0b1001, protocol: 9 }));
        assert!(!rule.matches(&Candidate { from: 0b0100, to: 0b0111, protocol: 9 }));
    }
}
