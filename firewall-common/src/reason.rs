//! Why a packet was dropped, a connection ended, or a filter spoke up.
//!
//! Names and numbers are those of the Microsoft firewall log (ISA Server and TMG, published header
//! `wspfwerr.h`), so that people who know that log recognise ours. What that list lacks has a number in
//! our own range, `0xc0f0_0001` and up. Both are append-only: a number once given keeps its meaning.

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = ($code:literal, $name:literal),)+) => {
        /// A result code. The discriminant is the reason's index in the kernel's counters.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[$doc])* $variant,)+
        }

        impl Reason {
            /// Every reason, in the order of its index.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The number in the log.
            pub const fn code(self) -> u32 {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The name in the log.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

reasons! {
    /// No reason: the packet passed.
    None = (0, "FWX_S_OK"),
    /// Closed by FIN from both sides.
    GracefulShutdown = (0x8007_4e20, "FWX_E_GRACEFUL_SHUTDOWN"),
    /// Closed by a valid RST.
    AbortiveShutdown = (0x8007_4e21, "FWX_E_ABORTIVE_SHUTDOWN"),
    /// Killed by an application filter or an administrator.
    ConnectionKilled = (0x8007_4e24, "FWX_E_CONNECTION_KILLED"),
    /// Denied by a rule or by default.
    PolicyRulesDenied = (0xc004_000d, "FWX_E_POLICY_RULES_DENIED"),
    /// Fragment without its first fragment, or a first fragment too short for the transport header.
    FragmentDropped = (0xc004_0013, "FWX_E_FRAGMENT_PACKET_DROPPED"),
    /// TCP segment of no known connection, and not a SYN.
    TcpNotSyn = (0xc004_0017, "FWX_E_TCP_NOT_SYN_PACKET_DROPPED"),
    /// Length fields contradict each other or the frame.
    BadLength = (0xc004_0018, "FWX_E_BAD_LENGTH_PACKET_DROPPED"),
    /// Impossible combination of TCP flags.
    IpHalfScan = (0xc004_001b, "FWX_E_IP_HALF_SCAN_PACKET_DROPPED"),
    /// Source address equals destination address.
    LandAttack = (0xc004_001c, "FWX_E_LAND_ATTACK_DROPPED"),
    /// Source routing, in IPv4 options or an IPv6 routing header.
    IpOptions = (0xc004_001f, "FWX_E_IPOPTIONS_DROPPED"),
    /// A table is full.
    OutOfResources = (0xc004_0024, "FWX_E_OUT_OF_RESOURCES"),
    /// Source or destination port 0.
    PortZero = (0xc004_0029, "FWX_E_PORT_ZERO_PACKET_DROPPED"),
    /// Segment that the connection's state does not allow.
    SeqAckMismatch = (0xc004_0034, "FWX_E_SEQ_ACK_MISMATCH"),
    /// Half-open flow expired without a SYN/ACK.
    TcpNoServerReply = (0xc004_0038, "FWX_E_TCP_NO_SERVER_REPLY"),
    /// A filter's finding that is acted on.
    IpsBlocked = (0xc004_003b, "FWX_E_IPS_BLOCKED"),
    /// A filter's finding that is only reported.
    IpsDetected = (0xc004_003c, "FWX_E_IPS_DETECTED"),
    /// A segment beyond a gap, held back so that the sender repeats it in order for the filter.
    FilterSegmentHeld = (0xc0f0_0001, "FWX_E_FILTER_SEGMENT_HELD_BACK"),
    /// The filter that is bound to the protocol is not loaded.
    FilterUnavailable = (0xc0f0_0002, "FWX_E_FILTER_UNAVAILABLE"),
    /// The IP header's version is not what the Ethernet type says, or something stands in front of a header that ought to
    /// come first.
    IpVersion = (0xc0f0_0003, "FWX_E_IP_VERSION_PACKET_DROPPED"),
    /// More IPv6 extension headers than are looked at.
    ExtensionHeaders = (0xc0f0_0004, "FWX_E_IP6_EXTENSION_HEADERS_DROPPED"),
    /// More than two VLAN tags.
    VlanDepth = (0xc0f0_0005, "FWX_E_VLAN_DEPTH_DROPPED"),
    /// The kernel program met a state that it is written never to meet.
    Internal = (0xc0f0_0006, "FWX_E_INTERNAL_DROPPED"),
    /// The policy's own head is missing: the programs run, but no policy was ever loaded.
    NoPolicy = (0xc0f0_0007, "FWX_E_NO_POLICY_DROPPED"),
    /// Too many flows without an answer, of a source or by a rule.
    NoBacklog = (0xc004_0016, "FWX_E_NO_BACKLOG_PACKET_DROPPED"),
    /// A SYN attack begins: more flows begin without an answer than the policy takes for normal.
    SynAttackStart = (0xc004_002a, "FWX_E_SYN_ATTACK_START"),
    /// A SYN attack is over.
    SynAttackEnd = (0xc004_002b, "FWX_E_SYN_ATTACK_END"),
    /// More new flows a second than a rule lets in.
    RuleQuotaExceeded = (0xc004_0033, "FWX_E_RULE_QUOTA_EXCEEDED_DROPPED"),
    /// More new flows a second than are let in of one source.
    RateQuotaExceeded = (0xc004_0037, "FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED"),
    /// An ICMP error about no known flow, or an echo reply without its request.
    IcmpUnrelated = (0xc0f0_0008, "FWX_E_ICMP_UNRELATED_DROPPED"),
    /// A SYN of a source that has yet to show that its address is its own; it was answered by a challenge, and
    /// the sender will repeat it.
    SynChallenged = (0xc0f0_0009, "FWX_E_SYN_CHALLENGED"),
    /// The RST by which a source answered the challenge: it was for fwx alone.
    SynAuthenticated = (0xc0f0_000a, "FWX_E_SYN_AUTHENTICATED"),
    /// A flow that was silent for longer than its state allows.
    IdleTimeout = (0xc0f0_000b, "FWX_E_IDLE_TIMEOUT"),
    /// A packet of a flow that was killed and is not TCP.
    KilledFlow = (0xc0f0_000c, "FWX_E_KILLED_FLOW_PACKET_DROPPED"),
    /// A pinhole asked for on behalf of another host: nothing is opened.
    AddressNotAllowed = (0xc004_002e, "FWX_E_ADDRESS_NOT_ALLOWED"),
    /// A source address that cannot come in by this interface.
    Spoofing = (0xc004_0014, "FWX_E_FWE_SPOOFING_PACKET_DROPPED"),
    /// A live flow that a change of the policy ended.
    PolicyConnectionClosed = (0xc004_0039, "FWX_E_POLICY_CONNECTION_CLOSED"),
    /// An ARP frame where the policy leaves ARP out of what is essential.
    ArpDenied = (0xc0f0_000d, "FWX_E_ARP_DENIED"),
}

impl Reason {
    /// How many reasons there are: the length of the kernel's counter array.
    pub const COUNT: usize = Self::ALL.len();

    /// Whether it is the reason of a packet that was dropped, and not of a flow's end or of a finding.
    pub const fn is_drop(self) -> bool {
        !matches!(
            self,
            Self::None
                | Self::GracefulShutdown
                | Self::AbortiveShutdown
                | Self::ConnectionKilled
                | Self::IpsBlocked
                | Self::IpsDetected
                | Self::AddressNotAllowed
                | Self::SynAttackStart
                | Self::SynAttackEnd
                | Self::TcpNoServerReply
                | Self::IdleTimeout
                | Self::PolicyConnectionClosed
        )
    }

    /// The reason with this index; [`Reason::Internal`] for an index that is none. Without a table, for the
    /// kernel programs.
    #[inline(always)]
    pub const fn from_raw(index: u8) -> Self {
        if (index as usize) < Self::COUNT {
            // SAFETY: the discriminants are 0 to COUNT - 1, without a gap.
            unsafe { core::mem::transmute::<u8, Self>(index) }
        } else {
            Self::Internal
        }
    }

    /// The reason with this index; `None` for an index that is none.
    pub fn from_index(index: u8) -> Option<Self> {
        Self::ALL.get(usize::from(index)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn indices_are_positions() {
        for (position, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, position);
            assert_eq!(Reason::from_index(position as u8), Some(*reason));
        }
        assert_eq!(Reason::from_index(Reason::COUNT as u8), None);
    }

    #[test]
    fn codes_and_names_are_unique() {
        let codes: HashSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        let names: HashSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(codes.len(), Reason::COUNT);
        assert_eq!(names.len(), Reason::COUNT);
    }

    #[test]
    fn the_two_codes_of_the_story_keep_their_numbers() {
        assert_eq!(Reason::ConnectionKilled.code(), 0x8007_4e24);
        assert_eq!(Reason::TcpNotSyn.code(), 0xc004_0017);
    }
}
