//! Addresses as text, read byte by byte.
//!
//! IPv4 is four decimal numbers with dots between them (RFC 3986 §3.2.2). IPv6 is RFC 4291 §2.2, with the
//! brackets of RFC 3986 §3.2.2 and the zone of RFC 4007 §11 where they are written.

use bytemuck::{Pod, Zeroable};

use super::named::Named;

/// An address that is being read. All-zero is one of which nothing was read yet.
///
/// What stands before a `::` is put in its place counted from the front; what stands behind it is shifted in
/// from the end. So nothing has to be moved once it is known how many groups the `::` stands for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct AddressReader {
    /// Groups before the `::`: the address's two halves as numbers.
    front: [u64; 2],
    /// Groups behind it, likewise.
    back: [u64; 2],
    /// The numbers of a dotted quad that have ended.
    quad: u32,
    /// The number that is being read, if it is decimal.
    decimal: u16,
    /// The same, if it is hexadecimal.
    hex: u16,
    /// How many digits it has so far.
    digits: u8,
    /// Groups that have ended.
    groups: u8,
    dots: u8,
    reserved: u8,
    flags: Flags,
}

/// What is to be remembered, a bit each.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
struct Flags(u32);

impl Flags {
    /// Something was read.
    const BEGUN: Self = Self(1 << 0);
    /// It is no address.
    const BAD: Self = Self(1 << 1);
    const COLON: Self = Self(1 << 2);
    /// A single colon stands last.
    const AFTER_COLON: Self = Self(1 << 3);
    /// There was a `::`.
    const COMPRESSED: Self = Self(1 << 4);
    /// The number that is being read has hexadecimal digits.
    const LETTERS: Self = Self(1 << 5);
    /// A bracket was opened and not closed.
    const OPEN: Self = Self(1 << 6);
    const CLOSED: Self = Self(1 << 7);
    const ZONE: Self = Self(1 << 8);
}

/// Groups of an IPv6 address.
const GROUPS: u8 = 8;
/// Most digits of a group.
const GROUP_DIGITS: u8 = 4;
/// What the first 96 bits of an IPv4-mapped address end in (RFC 4291 §2.5.5.2).
const MAPPED: u64 = 0xffff;

impl AddressReader {
    /// Takes the next byte.
    #[inline(never)]
    pub fn push(&mut self, byte: u8) {
        let first = !self.has(Flags::BEGUN);
        self.set(Flags::BEGUN);
        match byte {
            _ if self.has(Flags::CLOSED) => self.set(Flags::BAD),
            b']' => self.close(),
            // A zone names an interface of whoever wrote it, and says nothing to anybody else.
            _ if self.has(Flags::ZONE) => {}
            b'[' if first => self.set(Flags::OPEN),
            b'%' if self.has(Flags::COLON) => self.set(Flags::ZONE),
            b':' => self.colon(),
            b'.' => self.dot(),
            b'0'..=b'9' => self.digit(byte.wrapping_sub(b'0')),
            b'a'..=b'f' | b'A'..=b'F' => {
                self.set(Flags::LETTERS);
                self.digit((byte | 0x20).wrapping_sub(b'a').wrapping_add(10));
            }
            _ => self.set(Flags::BAD),
        }
    }

    /// What was read, if nothing follows. An IPv4-mapped address is the IPv4 address that it stands for:
    /// a socket of both families writes it so.
    #[inline(always)]
    pub fn finish(&self) -> Named {
        let mut last = *self;
        if !last.has(Flags::BEGUN) {
            return named(0, 0, 0);
        }
        let quad = last.quad << 8 | u32::from(last.decimal) & 0xff;
        if last.dots > 0 {
            last.check_decimal();
            if last.dots != 3 {
                last.set(Flags::BAD);
            }
        }
        if !last.has(Flags::COLON) {
            let bad = last.dots == 0 || last.has(Flags::BAD) || last.has(Flags::OPEN);
            return named(if bad { Named::NO_ADDRESS } else { 4 }, 0, u64::from(quad) << 32);
        }
        if last.dots > 0 {
            last.push_group(quad >> 16);
            last.push_group(quad & 0xffff);
        } else if last.digits > 0 {
            last.end_group();
        }
        let compressed = last.has(Flags::COMPRESSED);
        // A `::` stands for one group at least.
        if last.has(Flags::AFTER_COLON)
            || last.has(Flags::OPEN)
            || compressed && last.groups >= GROUPS
            || !compressed && last.groups != GROUPS
        {
            last.set(Flags::BAD);
        }
        let ([high, low], [back_high, back_low]) = (last.front, last.back);
        let (high, low) = (high | back_high, low | back_low);
        if high == 0 && low >> 32 == MAPPED {
            return named(if last.has(Flags::BAD) { Named::NO_ADDRESS } else { 4 }, 0, low << 32);
        }
        named(if last.has(Flags::BAD) { Named::NO_ADDRESS } else { 6 }, high, low)
    }

    #[inline(always)]
    fn digit(&mut self, value: u8) {
        // A single colon cannot stand first.
        if self.has(Flags::AFTER_COLON) && self.groups == 0 {
            self.set(Flags::BAD);
        }
        self.clear(Flags::AFTER_COLON);
        self.digits = self.digits.saturating_add(1);
        let decimal = u32::from(self.decimal).wrapping_mul(10).wrapping_add(u32::from(value));
        self.decimal = if decimal > 0xffff { 0xffff } else { decimal as u16 };
        self.hex = self.hex << 4 | u16::from(value);
    }

    #[inline(always)]
    fn colon(&mut self) {
        if self.dots > 0 {
            self.set(Flags::BAD);
        } else if self.digits > 0 {
            self.end_group();
            self.set(Flags::AFTER_COLON);
        } else if self.has(Flags::AFTER_COLON) && !self.has(Flags::COMPRESSED) {
            self.set(Flags::COMPRESSED);
            self.clear(Flags::AFTER_COLON);
        } else if self.has(Flags::COLON) {
            self.set(Flags::BAD);
        } else {
            self.set(Flags::AFTER_COLON);
        }
        self.set(Flags::COLON);
    }

    #[inline(always)]
    fn dot(&mut self) {
        self.check_decimal();
        self.quad = self.quad << 8 | u32::from(self.decimal) & 0xff;
        self.dots = self.dots.saturating_add(1);
        self.begin_number();
    }

    #[inline(always)]
    fn close(&mut self) {
        if !self.has(Flags::OPEN) {
            self.set(Flags::BAD);
        }
        self.clear(Flags::OPEN);
        self.set(Flags::CLOSED);
    }

    /// The number that is being read has to be one of a dotted quad. Zeros in front of it change nothing, as
    /// in FTP and unlike in C (RFC 6943 §3.1.1).
    #[inline(always)]
    fn check_decimal(&mut self) {
        if self.digits == 0 || self.has(Flags::LETTERS) || self.decimal > 0xff {
            self.set(Flags::BAD);
        }
    }

    #[inline(always)]
    fn end_group(&mut self) {
        if self.digits > GROUP_DIGITS {
            self.set(Flags::BAD);
        }
        self.push_group(u32::from(self.hex));
        self.begin_number();
    }

    #[inline(always)]
    fn push_group(&mut self, group: u32) {
        let group = u64::from(group);
        if self.has(Flags::COMPRESSED) {
            let [high, low] = self.back;
            self.back = [high << 16 | low >> 48, low << 16 | group];
        } else {
            let place = group << (48 - 16 * (u32::from(self.groups) & 3));
            match self.groups {
                0..4 => self.front[0] |= place,
                _ => self.front[1] |= place,
            }
        }
        self.groups = self.groups.saturating_add(1);
    }

    #[inline(always)]
    fn begin_number(&mut self) {
        self.decimal = 0;
        self.hex = 0;
        self.digits = 0;
        self.clear(Flags::LETTERS);
    }

    #[inline(always)]
    const fn has(&self, flag: Flags) -> bool {
        self.flags.0 & flag.0 != 0
    }

    #[inline(always)]
    const fn set(&mut self, flag: Flags) {
        self.flags.0 |= flag.0;
    }

    #[inline(always)]
    const fn clear(&mut self, flag: Flags) {
        self.flags.0 &= !flag.0;
    }
}

/// The address with these halves; IPv4 stands on top of the second. What is no address has none.
#[inline(always)]
const fn named(version: u64, high: u64, low: u64) -> Named {
    match version {
        6 => Named::of_words(version, [high.to_be(), low.to_be()]),
        4 => Named::of_words(version, [(low >> 32).swap_bytes() >> 32, 0]),
        _ => Named::of_words(version, [0; 2]),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Named {
        let mut reader = AddressReader::default();
        text.bytes().for_each(|byte| reader.push(byte));
        reader.finish()
    }

    /// The same by the standard library.
    fn known(address: IpAddr) -> Named {
        match address.to_canonical() {
            IpAddr::V4(address) => Named::new(4, [u32::from_ne_bytes(address.octets()), 0, 0, 0]),
            IpAddr::V6(address) => Named::new(6, bytemuck::cast(address.octets())),
        }
    }

    fn parsed(text: &str) -> Named {
        text.parse().map_or(Named::new(Named::NO_ADDRESS, [0; 4]), known)
    }

    #[test]
    fn nothing_is_no_address_and_names_nobody() {
        assert_eq!(read(""), Named::default());
    }

    #[test]
    fn addresses_are_read_as_the_standard_library_reads_them() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "255.255.255.255",
            "256.1.1.1",
            "1.2.3",
            "1.2.3.",
            ".1.2.3",
            "1..2.3",
            "1.2.3.4.5",
            "1.2.3.4.",
            "1.2.3.a",
            "1.2.3.4 ",
            "1234",
            "::",
            "::1",
            "1::",
            ":",
            ":::",
            ":1",
            "1:",
            ":1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7:8:",
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7:8:9",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
            "1:2:3:4::5:6:7:8",
            "1:2:3::6:7:8",
            "1::2::3",
            "::1:",
            "1:::2",
            "fe80::dead:BEEF",
            "12345::",
            "::fffg",
            "1:2:3:4:5:6:7.8.9.10",
            "1:2:3:4:5:6:7:7.8.9.10",
            "1:2:3:4:5:7.8.9.10",
            "64:ff9b::192.0.2.33",
            "::ffff:10.1.2.3",
            "::ffff:a01:203",
            "::10.1.2.3",
            "::1.2.3",
            "::1.2.3.4:5",
            "1.2.3.4::",
            "camera.local",
            "face",
            "-1.2.3.4",
        ] {
            assert_eq!(read(text), parsed(text), "{text}");
        }
    }

    #[test]
    fn brackets_zones_and_leading_zeros_change_nothing() {
        for (text, same) in [
            ("[2001:db8::1]", "2001:db8::1"),
            ("[::]", "::"),
            ("[10.0.0.1]", "10.0.0.1"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25eth0.1]", "fe80::1"),
            ("fe80::1%", "fe80::1"),
            ("010.001.000.0009", "10.1.0.9"),
            ("::ffff:010.1.2.3", "::ffff:10.1.2.3"),
            ("[::1", "no"),
            ("::1]", "no"),
            ("[::1]]", "no"),
            ("[::1]:554", "no"),
            ("[[::1]]", "no"),
            ("[]", "no"),
            ("[", "no"),
            ("10.0.0.1%eth0", "no"),
            ("%eth0", "no"),
        ] {
            assert_eq!(read(text), parsed(same), "{text}");
        }
    }

    fn groups() -> impl Strategy<Value = Ipv6Addr> {
        // Zeros are frequent, so that every place of a `::` comes up.
        let group = prop_oneof![Just(0), Just(0xffff), any::<u16>()];
        any::<[bool; 8]>().prop_flat_map(move |zeros| {
            prop::array::uniform8(group.clone()).prop_map(move |mut groups| {
                groups.iter_mut().zip(zeros).filter(|(_, zero)| *zero).for_each(|(g, _)| *g = 0);
                Ipv6Addr::from(groups)
            })
        })
    }

    /// Every notation of it that has no `::`.
    fn long_forms(address: Ipv6Addr) -> [String; 3] {
        let groups = address.segments();
        let [.., c, d] = groups;
        let tail = Ipv4Addr::from(u32::from(c) << 16 | u32::from(d));
        let short = groups.map(|group| format!("{group:x}"));
        let quad = format!("{}:{tail}", short[..6].join(":"));
        [short.join(":"), groups.map(|group| format!("{group:04X}")).join(":"), quad]
    }

    proptest! {
        #[test]
        fn printed_addresses_are_read(v4 in any::<Ipv4Addr>(), v6 in groups()) {
            let octets = v4.octets().map(|octet| format!("{octet:03}")).join(".");
            for text in [v4.to_string(), octets] {
                prop_assert_eq!(read(&text), known(v4.into()), "{}", text);
            }
            let [short, long, quad] = long_forms(v6);
            for text in [v6.to_string(), format!("[{v6}]"), short, long, quad] {
                prop_assert_eq!(read(&text), known(v6.into()), "{}", text);
            }
        }

        #[test]
        fn what_looks_like_an_address_is_judged_as_the_library_does(text in "[0-9a-f:.]{1,40}") {
            prop_assume!(!text.split(['.', ':']).any(|part| part.len() > 1 && part.starts_with('0')));
            prop_assert_eq!(read(&text), parsed(&text));
        }

        #[test]
        fn what_is_nearly_an_address_is_judged_as_the_library_does(
            v6 in groups(),
            at in any::<prop::sample::Index>(),
            byte in "[0-9a-f:.]",
            insert in any::<bool>(),
        ) {
            let mut text = v6.to_string();
            let at = at.index(text.len());
            text.replace_range(at..at + usize::from(!insert), &byte);
            prop_assume!(!text.split(['.', ':']).any(|part| part.len() > 1 && part.starts_with('0')));
            prop_assert_eq!(read(&text), parsed(&text), "{}", text);
        }

        #[test]
        fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut reader = AddressReader::default();
            bytes.iter().for_each(|byte| reader.push(*byte));
            reader.finish();
        }
    }
}
