//! The IP protocols that a policy can name (IANA, "Assigned Internet Protocol Numbers").

use std::fmt;

use firewall_common::wire::ip_protocol;
use toml::de::DeValue;

use super::{
    document::{self, Value, help_for_name, wrong_type_with},
    error::{ProblemKind, Problems, quote},
    number::saturating,
};

/// What carries a protocol: an IP protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Transmission Control Protocol.
    Tcp,
    /// User Datagram Protocol.
    Udp,
    /// Internet Control Message Protocol.
    Icmp,
    /// The same for IPv6.
    Icmpv6,
    /// Another IP protocol, of which only the number is looked at.
    Other(u8),
}

/// Those that have names.
pub(super) const NAMES: [(&str, u8); 18] = [
    ("tcp", ip_protocol::TCP),
    ("udp", ip_protocol::UDP),
    ("icmpv6", ip_protocol::ICMPV6),
    ("icmp", ip_protocol::ICMP),
    ("igmp", 2),
    ("ipip", 4),
    ("dccp", 33),
    ("ip6ip", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("eigrp", 88),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("l2tp", 115),
    ("sctp", 132),
    ("udplite", 136),
];

impl Transport {
    /// What every filter reads: filters are parsers over the byte stream of a connection.
    pub(super) const OF_FILTERS: Self = Self::Tcp;

    /// The IP protocol with this number.
    pub const fn from_number(number: u8) -> Self {
        match number {
            ip_protocol::TCP => Self::Tcp,
            ip_protocol::UDP => Self::Udp,
            ip_protocol::ICMP => Self::Icmp,
            ip_protocol::ICMPV6 => Self::Icmpv6,
            number => Self::Other(number),
        }
    }

    /// The number in the IP header.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => ip_protocol::TCP,
            Self::Udp => ip_protocol::UDP,
            Self::Icmp => ip_protocol::ICMP,
            Self::Icmpv6 => ip_protocol::ICMPV6,
            Self::Other(number) => number,
        }
    }

    /// The name in policies. `None`: it has only its number.
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(_, number)| *number == self.number()).map(|(name, _)| *name)
    }

    /// Whether it has ports.
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp)
    }

    /// Whether it is ICMP, of either address family.
    pub const fn is_icmp(self) -> bool {
        matches!(self, Self::Icmp | Self::Icmpv6)
    }
}

impl fmt::Display for Transport {
    /// The name, or the number where there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.number()),
        }
    }
}

/// The IP protocol that `value` names.
pub(super) fn transport(value: &Value<'_>, problems: &mut Problems) -> Option<Transport> {
    const KEY: &str = "transport";
    let help = || {
        "it is `tcp`, `udp`, `icmp`, `icmpv6`, another IP protocol's name such as `gre`, or a number from 0 to 255"
            .to_owned()
    };
    match value.get_ref() {
        DeValue::String(name) => {
            let found = NAMES.iter().find(|(known, _)| known == name);
            if found.is_none() {
                let known = NAMES.map(|(name, _)| name);
                let near = document::nearest(name, &known).and(help_for_name(name, &known, ""));
                let kind = ProblemKind::NotOneOf { what: KEY, value: quote(name) };
                problems.add(value.span(), kind, Some(near.unwrap_or_else(help)));
            }
            found.map(|(_, number)| Transport::from_number(*number))
        }
        DeValue::Integer(integer) => {
            let number = u8::try_from(saturating(integer)).ok();
            if number.is_none() {
                let value_shown = quote(&integer.to_string());
                let kind =
                    ProblemKind::OutOfRange { key: KEY, value: value_shown, min: 0, max: 255 };
                problems.add(value.span(), kind, Some(help()));
            }
            number.map(Transport::from_number)
        }
        _ => {
            wrong_type_with("`transport`", "a string or an integer", value, help(), problems);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for number in 0..=u8::MAX {
            assert_eq!(Transport::from_number(number).number(), number);
        }
        assert_eq!(Transport::from_number(6), Transport::Tcp);
        assert_eq!(Transport::from_number(47).to_string(), "gre");
        assert_eq!(Transport::from_number(253).to_string(), "253");
    }
}
