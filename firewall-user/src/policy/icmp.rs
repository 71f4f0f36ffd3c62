//! The types of ICMP and ICMPv6 messages, by their names (IANA, "ICMP Type Numbers" and "ICMPv6 Parameters") and
//! numbers.

use std::{fmt, ops::RangeInclusive};

use super::{
    Transport,
    error::{ProblemKind, quote},
    value::{Refusal, decimal},
};

/// A type of ICMP message, with one of its codes or with all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IcmpType {
    /// The type.
    pub kind: u8,
    /// The code; `None`: any.
    pub code: Option<u8>,
}

impl IcmpType {
    /// What it comes to as [`asked_for`](firewall_common::classifier::asked_for) has it.
    pub fn range(self) -> RangeInclusive<u16> {
        let (first, last) = self.code.map_or((0, u8::MAX), |code| (code, code));
        u16::from_be_bytes([self.kind, first])..=u16::from_be_bytes([self.kind, last])
    }

    /// As policies write it, by its name if `transport` has one for it.
    pub fn shown(self, transport: Transport) -> Shown {
        let named = names(transport).iter().find(|(_, kind)| *kind == self.kind);
        Shown { name: named.map(|(name, _)| *name), icmp: self }
    }
}

/// A type as policies write it.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    name: Option<&'static str>,
    icmp: IcmpType,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => write!(f, "{name}")?,
            None => write!(f, "{}", self.icmp.kind)?,
        }
        self.icmp.code.map_or(Ok(()), |code| write!(f, "/{code}"))
    }
}

/// The types of `transport` that have names.
pub(super) const fn names(transport: Transport) -> &'static [(&'static str, u8)] {
    match transport {
        Transport::Icmp => &ICMP,
        Transport::Icmpv6 => &ICMPV6,
        _ => &[],
    }
}

const ICMP: [(&str, u8); 18] = [
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("information-request", 15),
    ("information-reply", 16),
    ("address-mask-request", 17),
    ("address-mask-reply", 18),
    ("photuris", 40),
    ("extended-echo-request", 42),
    ("extended-echo-reply", 43),
];

const ICMPV6: [(&str, u8); 22] = [
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("multicast-listener-query", 130),
    ("multicast-listener-report", 131),
    ("multicast-listener-done", 132),
    ("router-solicitation", 133),
    ("router-advertisement", 134),
    ("neighbor-solicitation", 135),
    ("neighbor-advertisement", 136),
    ("redirect", 137),
    ("router-renumbering", 138),
    ("node-information-query", 139),
    ("node-information-response", 140),
    ("inverse-neighbor-discovery-solicitation", 141),
    ("inverse-neighbor-discovery-advertisement", 142),
    ("version-2-multicast-listener-report", 143),
    ("extended-echo-request", 160),
    ("extended-echo-reply", 161),
];

/// The type written as a name or a number, maybe with `/CODE` behind it.
pub(super) fn written(text: &str, transport: Transport) -> Result<IcmpType, Refusal> {
    let (kind, code) = match text.split_once('/') {
        Some((kind, code)) => (kind, Some(code)),
        None => (text, None),
    };
    let named = names(transport).iter().find(|(name, _)| *name == kind);
    let kind = match (named, decimal(kind)) {
        (Some((_, kind)), _) => *kind,
        (None, Some(number)) => octet(text, number, "its number is larger than 255")?,
        (None, None) => return Err(unknown(kind, transport)),
    };
    let code = match code.map(decimal) {
        None => None,
        Some(Some(code)) => Some(octet(text, code, "its code is larger than 255")?),
        Some(None) => return Err(refusal(text, "its code is no number")),
    };
    Ok(IcmpType { kind, code })
}

/// The type that has this number.
pub(super) fn numbered(shown: &str, number: i64) -> Result<IcmpType, Refusal> {
    let kind =
        u8::try_from(number).map_err(|_| refusal(shown, "its number is not one from 0 to 255"))?;
    Ok(IcmpType { kind, code: None })
}

fn octet(shown: &str, number: u64, reason: &'static str) -> Result<u8, Refusal> {
    u8::try_from(number).map_err(|_| refusal(shown, reason))
}

fn refusal(shown: &str, reason: &'static str) -> Refusal {
    let help = "types are names or numbers from 0 to 255, with a code or without: \"echo-request\", 13 or \
                \"destination-unreachable/4\"";
    (ProblemKind::BadIcmpType { icmp_type: quote(shown), reason }, Some(help.to_owned()))
}

fn unknown(name: &str, transport: Transport) -> Refusal {
    let what = if transport == Transport::Icmpv6 { "ICMPv6 type" } else { "ICMP type" };
    let known: Vec<&str> = names(transport).iter().map(|(name, _)| *name).collect();
    let help = super::document::help_for_name(name, &known, "types that have names");
    (ProblemKind::UnknownName { what, name: quote(name) }, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_one_to_one_and_read_back() {
        for transport in [Transport::Icmp, Transport::Icmpv6] {
            for kind in 0..=u8::MAX {
                for code in [None, Some(0), Some(255)] {
                    let icmp = IcmpType { kind, code };
                    let shown = icmp.shown(transport).to_string();
                    assert_eq!(written(&shown, transport), Ok(icmp), "{shown}");
                }
            }
        }
    }

    #[test]
    fn a_type_without_a_code_has_all_codes() {
        let range = |text| written(text, Transport::Icmp).map(IcmpType::range);
        assert_eq!(range("destination-unreachable"), Ok(0x300..=0x3ff));
        assert_eq!(range("destination-unreachable/4"), Ok(0x304..=0x304));
        assert_eq!(range("255/255"), Ok(0xffff..=0xffff));
        assert_eq!(range("0"), Ok(0..=0xff));
    }

    #[test]
    fn what_is_no_type_is_refused() {
        for bad in ["", "/", "256", "8/256", "8/", "8/x", "8/0/0", "-1", "packet-too-big", "Echo"] {
            assert!(written(bad, Transport::Icmp).is_err(), "{bad}");
        }
        assert!(numbered("256", 256).is_err() && numbered("-1", -1).is_err());
    }
}
