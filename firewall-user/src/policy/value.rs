//! The values that are more than a TOML string or number: names, prefixes and ports.
//!
//! Each function takes the text of one value and gives what it stands for, or what is wrong with it
//! and what may cure it.

use std::{net::IpAddr, ops::RangeInclusive};

use ipnet::IpNet;

use super::error::{ProblemKind, quote};

/// Longest name of a network, protocol or rule, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Longest name of an interface, in bytes: IFNAMSIZ of linux/if.h less the NUL at its end.
const INTERFACE_BYTES_MAX: usize = 15;

/// What is wrong with a value, and what may cure it.
pub(super) type Refusal = (ProblemKind, Option<String>);

/// Checks the name of a network or protocol, which is written in headers and used in labels.
pub(super) fn check_section_name(what: &'static str, name: &str) -> Result<(), Refusal> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_BYTES_MAX {
        "it is longer than 64 bytes"
    } else if !name.chars().all(is_allowed) {
        "it has a character that is not an ASCII letter, a digit, `-`, `_` or `.`"
    } else {
        return Ok(());
    };
    Err((ProblemKind::BadName { what, name: quote(name), reason }, None))
}

/// Checks the name of a rule, which is free text of one line.
pub(super) fn check_rule_name(name: &str) -> Result<(), Refusal> {
    let reason = if name.trim().is_empty() {
        "it is empty"
    } else if name.len() > NAME_BYTES_MAX {
        "it is longer than 64 bytes"
    } else if name.chars().any(char::is_control) {
        "it has a control character"
    } else {
        return Ok(());
    };
    Err((ProblemKind::BadName { what: "rule", name: quote(name), reason }, None))
}

/// Checks the name of a group as groupadd(8) does.
pub(super) fn check_group_name(name: &str) -> Result<(), Refusal> {
    const BYTES_MAX: usize = 32;
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > BYTES_MAX {
        "it is longer than 32 bytes"
    } else if !name.bytes().all(good) || name.starts_with('-') {
        "it has a character that is not an ASCII letter, a digit, `-`, `_` or `.`, or begins with `-`"
    } else {
        return Ok(());
    };
    Err((ProblemKind::BadName { what: "group", name: quote(name), reason }, None))
}

/// Checks the name of an interface as the kernel does (`dev_valid_name` in net/core/dev.c).
pub(super) fn check_interface_name(name: &str) -> Result<(), Refusal> {
    let is_refused = |c: char| matches!(c, '/' | ':') || c.is_whitespace() || c.is_control();
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > INTERFACE_BYTES_MAX {
        "it is longer than 15 bytes, the most that Linux allows"
    } else if matches!(name, "." | "..") || name.chars().any(is_refused) {
        "Linux allows no such interface"
    } else {
        return Ok(());
    };
    Err((ProblemKind::BadName { what: "interface", name: quote(name), reason }, None))
}

/// The prefix written as `ADDRESS/LENGTH`.
pub(super) fn prefix(text: &str) -> Result<IpNet, Refusal> {
    let bad = |reason, help| (ProblemKind::BadPrefix { prefix: quote(text), reason }, help);
    let example = || Some("a prefix looks like `10.1.0.0/24` or `fd00:1::/64`".to_owned());
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| bad("what stands before `/` is no IPv4 or IPv6 address", example()))?;
    let length_max = if address.is_ipv4() { 32 } else { 128 };
    let Some(length) = length else {
        let help = format!("for this one address write `{address}/{length_max}`");
        return Err(bad("it has no prefix length", Some(help)));
    };
    let length = decimal(length)
        .and_then(|length| u8::try_from(length).ok())
        .filter(|length| *length <= length_max)
        .ok_or_else(|| {
            let help = format!("the length of this prefix is a number from 0 to {length_max}");
            bad("its length is out of range", Some(help))
        })?;
    let net = IpNet::new(address, length).map_err(|_| bad("its length is out of range", None))?;
    if net != net.trunc() {
        let help = format!(
            "for the whole network write `{}`, for this one address `{address}/{length_max}`",
            net.trunc()
        );
        return Err((ProblemKind::HostBits { prefix: quote(text) }, Some(help)));
    }
    Ok(net)
}

/// The port that an integer stands for. `digits` are in base `radix`, without underscores.
pub(super) fn port(shown: &str, digits: &str, radix: u32) -> Result<u16, Refusal> {
    checked_port(shown, u64::from_str_radix(digits, radix).ok())
}

/// The ports written as `FIRST-LAST`, or as one number.
pub(super) fn port_range(text: &str) -> Result<RangeInclusive<u16>, Refusal> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let first = checked_port(text, decimal(first))?;
    let last = checked_port(text, decimal(last))?;
    if first > last {
        let help = format!("write `{last}-{first}`");
        return Err((ProblemKind::ReversedRange { range: quote(text) }, Some(help)));
    }
    Ok(first..=last)
}

fn checked_port(shown: &str, number: Option<u64>) -> Result<u16, Refusal> {
    let reason = match number.map(u16::try_from) {
        Some(Ok(0)) => "0 is reserved",
        Some(Ok(port)) => return Ok(port),
        Some(Err(_)) => "it is larger than 65535",
        None => "it is no number",
    };
    let help = "ports are numbers from 1 to 65535, such as 554, or ranges, such as \"8000-8010\"";
    Err((ProblemKind::BadPort { port: quote(shown), reason }, Some(help.to_owned())))
}

/// The number that `text` writes in decimal digits; a number too large for 64 bits is `u64::MAX`.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let is_decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_decimal.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        for good in ["10.1.0.0/24", "0.0.0.0/0", "255.255.255.255/32", "::/0", "fd00:1::/64"] {
            assert_eq!(prefix(good).expect(good).to_string(), good);
        }
        for bad in
            ["", "/", "10.1.0.0", "10.1/16", "10.1.0.0/33", "::/129", "10.1.0.0/-1", "10.1.0.0/+8"]
        {
            assert!(matches!(prefix(bad), Err((ProblemKind::BadPrefix { .. }, _))), "{bad}");
        }
        assert!(matches!(prefix("10.1.0.1/31"), Err((ProblemKind::HostBits { .. }, _))));
    }

    #[test]
    fn ports() {
        assert_eq!(port_range("1-65535"), Ok(1..=65535));
        assert_eq!(port_range("554"), Ok(554..=554));
        assert_eq!(port("0x22a", "22a", 16), Ok(554));
        for bad in [
            "",
            "-",
            "1-",
            "-1",
            "0",
            "0-5",
            "65536",
            "99999999999999999999",
            "1-2-3",
            "+1",
            "1 - 2",
        ] {
            assert!(matches!(port_range(bad), Err((ProblemKind::BadPort { .. }, _))), "{bad}");
        }
        assert!(matches!(port_range("8010-8000"), Err((ProblemKind::ReversedRange { .. }, _))));
    }

    #[test]
    fn interface_names_are_those_of_linux() {
        for good in ["lan0", "wan0.100", "br-0123456789ab"] {
            assert_eq!(check_interface_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "eth0:1", "sixteen-bytes-xx"] {
            assert!(check_interface_name(bad).is_err(), "{bad}");
        }
    }
}
