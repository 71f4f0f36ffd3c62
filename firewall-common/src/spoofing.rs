//! Whether a packet's source is what it says, as far as the routing table tells (RFC 3704 §2).

use crate::policy::AntiSpoofing;

/// What is known of a packet's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It may come in by its interface.
    Credible,
    /// It may not.
    Spoofed,
    /// Nobody can tell.
    Unknown,
}

/// Answers of the routing table (`BPF_FIB_LKUP_RET_…` in include/uapi/linux/bpf.h).
const SUCCESS: i64 = 0;
const BLACKHOLE: i64 = 1;
const UNREACHABLE: i64 = 2;
const PROHIBITED: i64 = 3;
/// No route, or one to this machine itself or to a group.
const NOT_FORWARDED: i64 = 4;
const TUNNEL: i64 = 6;
const NO_NEIGHBOUR: i64 = 7;
const TOO_LONG: i64 = 8;

/// What `answer`, the routing table's to the question by which way the source is reached, says of a packet that came
/// in by interface `came_in_by`; the way leaves by `leaves_by`.
///
/// A way through a tunnel without a device of its own (`lwtunnel`) is one, but the kernel does not tell where it
/// leaves. An interface that does not forward has no ways: then, and whenever the kernel refuses the question, nobody
/// can tell.
#[inline(always)]
pub const fn by_route(mode: AntiSpoofing, answer: i64, leaves_by: u32, came_in_by: u32) -> Source {
    match answer {
        SUCCESS | NO_NEIGHBOUR | TOO_LONG => match mode {
            AntiSpoofing::Strict if leaves_by != came_in_by => Source::Spoofed,
            _ => Source::Credible,
        },
        TUNNEL if matches!(mode, AntiSpoofing::Loose) => Source::Credible,
        BLACKHOLE | UNREACHABLE | PROHIBITED | NOT_FORWARDED => Source::Spoofed,
        _ => Source::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AntiSpoofing::{Loose, Strict};
    use Source::{Credible, Spoofed, Unknown};

    #[test]
    fn a_way_back_makes_a_source_credible_and_strictly_only_the_way_it_came() {
        for (answer, other_way, this_way) in [
            (SUCCESS, [Credible, Spoofed], [Credible, Credible]),
            (NO_NEIGHBOUR, [Credible, Spoofed], [Credible, Credible]),
            (TOO_LONG, [Credible, Spoofed], [Credible, Credible]),
            (BLACKHOLE, [Spoofed; 2], [Spoofed; 2]),
            (UNREACHABLE, [Spoofed; 2], [Spoofed; 2]),
            (PROHIBITED, [Spoofed; 2], [Spoofed; 2]),
            (NOT_FORWARDED, [Spoofed; 2], [Spoofed; 2]),
            (TUNNEL, [Credible, Unknown], [Credible, Unknown]),
            // Forwarding is off; EINVAL.
            (5, [Unknown; 2], [Unknown; 2]),
            (-22, [Unknown; 2], [Unknown; 2]),
        ] {
            assert_eq!(
                [Loose, Strict].map(|mode| by_route(mode, answer, 2, 3)),
                other_way,
                "{answer}"
            );
            assert_eq!(
                [Loose, Strict].map(|mode| by_route(mode, answer, 3, 3)),
                this_way,
                "{answer}"
            );
        }
    }
}
