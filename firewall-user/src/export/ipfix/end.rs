//! Why a flow ended, in the terms of IPFIX.

use firewall_common::{event::EventKind, reason::Reason};

/// Why a flow ended: flowEndReason, information element 136 (IANA, "IPFIX Information Elements").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndReason {
    /// It was silent for too long.
    IdleTimeout = 1,
    /// Its own ends ended it.
    EndOfFlow = 3,
    /// Something else did: a filter, an administrator, a new policy.
    Forced = 4,
    /// There was no room for it.
    LackOfResources = 5,
}

impl EndReason {
    /// What an end of this kind and for this reason is. `None`: a reason that this version does not know.
    pub(super) fn of(kind: EventKind, reason: Option<Reason>) -> Self {
        match reason {
            None | Some(Reason::None) if kind == EventKind::ConnectionKilled => Self::Forced,
            None => Self::EndOfFlow,
            Some(reason) => Self::by_reason(reason),
        }
    }

    /// Every reason has an answer, also those for which no flow ends today: whoever adds one finds this table.
    const fn by_reason(reason: Reason) -> Self {
        match reason {
            Reason::IdleTimeout | Reason::TcpNoServerReply => Self::IdleTimeout,
            Reason::None
            | Reason::GracefulShutdown
            | Reason::AbortiveShutdown
            | Reason::SynAuthenticated => Self::EndOfFlow,
            Reason::OutOfResources | Reason::NoBacklog => Self::LackOfResources,
            Reason::ConnectionKilled
            | Reason::PolicyConnectionClosed
            | Reason::PolicyRulesDenied
            | Reason::FragmentDropped
            | Reason::TcpNotSyn
            | Reason::BadLength
            | Reason::IpHalfScan
            | Reason::LandAttack
            | Reason::IpOptions
            | Reason::PortZero
            | Reason::SeqAckMismatch
            | Reason::IpsBlocked
            | Reason::IpsDetected
            | Reason::FilterSegmentHeld
            | Reason::FilterUnavailable
            | Reason::IpVersion
            | Reason::ExtensionHeaders
            | Reason::VlanDepth
            | Reason::Internal
            | Reason::NoPolicy
            | Reason::SynAttackStart
            | Reason::SynAttackEnd
            | Reason::RuleQuotaExceeded
            | Reason::RateQuotaExceeded
            | Reason::IcmpUnrelated
            | Reason::SynChallenged
            | Reason::KilledFlow
            | Reason::AddressNotAllowed
            | Reason::Spoofing
            | Reason::ArpDenied => Self::Forced,
        }
    }
}
