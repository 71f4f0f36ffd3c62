//! What each reason means, what usually causes it, and what ends it.
//!
//! docs/reason-codes.md has the same for readers; a test holds the two together.

mod ends;
mod headers;
mod judged;
mod limits;

use firewall_common::reason::Reason;

/// What there is to say about a reason.
#[derive(Clone, Copy, Debug)]
pub struct Advice {
    /// Whether anything is wrong.
    pub gravity: Gravity,
    /// What it is, as the tables of docs/reason-codes.md have it.
    pub short: &'static str,
    /// What it means, in a sentence or two.
    pub means: &'static str,
    /// What usually causes it, the most frequent first.
    pub usually: &'static [&'static str],
    /// What ends it, what gives up least first.
    pub cures: &'static [Cure],
}

/// Whether anything is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// Somebody did not get what they wanted.
    Trouble,
    /// Worth knowing.
    Notice,
    /// As it should be.
    Normal,
}

/// Something that ends it.
#[derive(Clone, Copy, Debug)]
pub struct Cure {
    /// What is to be done.
    pub how: How,
    /// What that does.
    pub does: &'static str,
    /// What is lost by it.
    pub gives_up: &'static str,
}

/// What is to be done. `{source}` and `{destination}` stand for prefixes of one address each, `{interface}`,
/// `{rule}` and `{policy}` for names; where such a thing is not known, the cure is left out.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// A command of fwx's, without `fwx` itself.
    Command(&'static str),
    /// Lines of the policy.
    Policy(&'static str),
    /// A rule that lets in what was refused, made for it.
    AllowingRule,
    /// Switching the filter that acted: several cures, by what it did and how it is bound.
    Filter,
    /// Something that fwx has no part in.
    Elsewhere(&'static str),
}

/// What there is to say about `reason`.
pub const fn of(reason: Reason) -> &'static Advice {
    match reason {
        Reason::None => &ends::NONE,
        Reason::GracefulShutdown => &ends::GRACEFUL_SHUTDOWN,
        Reason::AbortiveShutdown => &ends::ABORTIVE_SHUTDOWN,
        Reason::ConnectionKilled => &ends::CONNECTION_KILLED,
        Reason::TcpNoServerReply => &ends::TCP_NO_SERVER_REPLY,
        Reason::IdleTimeout => &ends::IDLE_TIMEOUT,
        Reason::PolicyConnectionClosed => &ends::POLICY_CONNECTION_CLOSED,
        Reason::IpsBlocked => &ends::IPS_BLOCKED,
        Reason::IpsDetected => &ends::IPS_DETECTED,
        Reason::AddressNotAllowed => &ends::ADDRESS_NOT_ALLOWED,
        Reason::PolicyRulesDenied => &judged::POLICY_RULES_DENIED,
        Reason::TcpNotSyn => &judged::TCP_NOT_SYN,
        Reason::SeqAckMismatch => &judged::SEQ_ACK_MISMATCH,
        Reason::Spoofing => &judged::SPOOFING,
        Reason::IcmpUnrelated => &judged::ICMP_UNRELATED,
        Reason::KilledFlow => &judged::KILLED_FLOW,
        Reason::ArpDenied => &judged::ARP_DENIED,
        Reason::FilterSegmentHeld => &judged::FILTER_SEGMENT_HELD,
        Reason::FilterUnavailable => &judged::FILTER_UNAVAILABLE,
        Reason::NoPolicy => &judged::NO_POLICY,
        Reason::Internal => &judged::INTERNAL,
        Reason::OutOfResources => &limits::OUT_OF_RESOURCES,
        Reason::NoBacklog => &limits::NO_BACKLOG,
        Reason::RuleQuotaExceeded => &limits::RULE_QUOTA_EXCEEDED,
        Reason::RateQuotaExceeded => &limits::RATE_QUOTA_EXCEEDED,
        Reason::SynAttackStart => &limits::SYN_ATTACK_START,
        Reason::SynAttackEnd => &limits::SYN_ATTACK_END,
        Reason::SynChallenged => &limits::SYN_CHALLENGED,
        Reason::SynAuthenticated => &limits::SYN_AUTHENTICATED,
        Reason::FragmentDropped => &headers::FRAGMENT_DROPPED,
        Reason::BadLength => &headers::BAD_LENGTH,
        Reason::IpHalfScan => &headers::IP_HALF_SCAN,
        Reason::LandAttack => &headers::LAND_ATTACK,
        Reason::IpOptions => &headers::IP_OPTIONS,
        Reason::PortZero => &headers::PORT_ZERO,
        Reason::IpVersion => &headers::IP_VERSION,
        Reason::ExtensionHeaders => &headers::EXTENSION_HEADERS,
        Reason::VlanDepth => &headers::VLAN_DEPTH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTED: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reason-codes.md"));

    #[test]
    fn reasons_are_called_what_the_documentation_calls_them() {
        for reason in Reason::ALL.iter().filter(|reason| **reason != Reason::None) {
            let advice = of(*reason);
            let row = format!("| {:#010x} | {} | {}", reason.code(), reason.name(), advice.short);
            assert!(DOCUMENTED.contains(&row), "docs/reason-codes.md lacks {row:?}");
        }
    }

    #[test]
    fn no_reason_goes_without_a_word() {
        for reason in Reason::ALL {
            let advice = of(*reason);
            let name = reason.name();
            for sentence in advice.usually.iter().chain([&advice.means]) {
                assert!(sentence.ends_with('.') && sentence.contains(' '), "{name}: {sentence:?}");
            }
            for cure in advice.cures {
                assert!(cure.does.ends_with('.'), "{name}: {cure:?}");
                assert!(cure.gives_up.ends_with('.'), "{name}: {cure:?}");
            }
            let is_trouble = advice.gravity == Gravity::Trouble;
            assert!(!is_trouble || !advice.usually.is_empty(), "{name}: what causes it?");
            assert!(!is_trouble || !advice.cures.is_empty(), "{name}: what ends it?");
        }
    }

    #[test]
    fn policies_that_are_advised_are_policies() {
        for cure in Reason::ALL.iter().flat_map(|reason| of(*reason).cures) {
            let How::Policy(lines) = cure.how else { continue };
            let lines = lines
                .replace("{source}", "10.1.0.2/32")
                .replace("{destination}", "10.2.0.2/32")
                .replace("{interface}", "lan0");
            let table: toml::Table =
                lines.parse().unwrap_or_else(|error| panic!("{lines}: {error}"));
            assert!(!table.is_empty(), "{lines}");
            let mut text = lines.clone();
            // What is given is a part: a policy has interfaces, and its networks.
            let gateway = "interfaces = [\"lan0\"]\n";
            text = match text.contains("[gateway]\n") {
                true => text.replace("[gateway]\n", &format!("[gateway]\n{gateway}")),
                false => format!("[gateway]\n{gateway}{text}"),
            };
            if let Err(error) = crate::policy::Policy::parse("advice.toml", &text) {
                panic!("{text}\n{}", error.render(false));
            }
        }
    }
}
