//! What a policy says besides its rules, which are [`classifier`](crate::classifier)'s, and which of two is in
//! force.

use bytemuck::{Pod, Zeroable};

use crate::classifier::{BLOCK_RULES, BLOCKS_MAX};

/// Most networks that a policy can name.
pub const NETWORKS_MAX: usize = 4096;
/// Most rules that a policy can have.
pub const RULES_MAX: usize = BLOCKS_MAX * BLOCK_RULES;
/// Numbers for rules; 0 is "none of them". Those of rules that are gone stay theirs, see [`RULES_MAX`].
pub const RULE_NUMBERS: usize = 65_536;
/// Numbers for protocols, 0 ("none of them") included: a policy can name one less.
pub const PROTOCOLS_MAX: usize = 4096;
/// Most prefixes of each address family that a policy can list.
pub const PREFIXES_MAX: usize = 16_384;

/// Slots for a policy: that of the one in force, and that in which the next is laid out.
pub const SLOTS: usize = 2;

/// What is in force.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct InForce {
    /// The slot of the policy, below [`SLOTS`]. A packet reads it once.
    pub slot: u32,
    /// The slot of the policy on trial, see [`shadow`](crate::shadow); 0: there is none.
    pub shadow: u32,
    /// Until when a TCP segment that belongs to no flow may begin one, nanoseconds of the monotonic clock; 0:
    /// never. Not the policy's but a running gateway's: `--adopt`.
    pub adopt_until: u64,
    /// Until when a connection that stands may say what its windows do not allow, and is learnt about anew; 0:
    /// never. While the flow tables change their size, each program sees a part of the packets.
    pub relaxed_until: u64,
    /// Since when the policy on trial is compared with the one in force, nanoseconds since 1970.
    pub shadow_since: u64,
}

/// What a rule, or the default, does with a new flow.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// What becomes of a TCP segment that belongs to no flow and is not a SYN.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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

/// How the source of what comes in is held against the routing table (RFC 3704).
#[repr(u32)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AntiSpoofing {
    /// Not at all.
    #[default]
    Off = 0,
    /// There has to be a way back to it.
    Loose = 1,
    /// The way back has to be the interface that the packet came in by.
    Strict = 2,
}

impl AntiSpoofing {
    /// Every one, in the order of strictness.
    pub const ALL: [Self; 3] = [Self::Off, Self::Loose, Self::Strict];

    /// What `raw` stands for; anything unknown is strict.
    #[inline(always)]
    pub const fn from_raw(raw: u32) -> Self {
        match raw {
            0 => Self::Off,
            1 => Self::Loose,
            _ => Self::Strict,
        }
    }

    /// The name in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Loose => "loose",
            Self::Strict => "strict",
        }
    }
}

/// How strictly a filter's findings are acted on.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
