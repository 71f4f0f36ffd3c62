//! Addresses as text, against what the standard library reads.

use std::net::IpAddr;

use firewall_common::filter::{address::AddressReader, named::Named};

/// Checks that an address is read as the standard library reads it.
///
/// # Panics
///
/// If it is not.
pub fn address(text: &[u8]) {
    let mut reader = AddressReader::default();
    text.iter().for_each(|byte| reader.push(*byte));
    let read = reader.finish();
    assert_eq!(reader.finish(), read, "to look changes nothing");
    let Some(expected) = by_the_standard_library(text) else {
        return;
    };
    assert_eq!(read, expected, "{}", text.escape_ascii());
}

/// `None`: the standard library has no say. It knows neither brackets nor zones, and refuses a number with zeros
/// before it, which devices send.
fn by_the_standard_library(text: &[u8]) -> Option<Named> {
    if text.is_empty() {
        return Some(Named::default());
    }
    let is_padded = |part: &[u8]| matches!(part, [b'0', b'0'..=b'9', ..]);
    let padded = text.contains(&b'.') && text.split(|byte| b".:".contains(byte)).any(is_padded);
    if padded || text.iter().any(|byte| b"[]%".contains(byte)) {
        return None;
    }
    let text = str::from_utf8(text).ok();
    Some(match text.and_then(|text| text.parse().ok()) {
        Some(address) => named(address),
        None => Named::new(Named::NO_ADDRESS, [0; 4]),
    })
}

fn named(address: IpAddr) -> Named {
    match address.to_canonical() {
        IpAddr::V4(address) => Named::new(4, [u32::from_ne_bytes(address.octets()), 0, 0, 0]),
        IpAddr::V6(address) => Named::new(6, bytemuck::cast(address.octets())),
    }
}
