//! Where a data connection is to lead, as commands and replies say it.
//!
//! PORT and the reply to PASV have `h1,h2,h3,h4,p1,p2` (RFC 959 §4.1.2), EPRT has `|net-prt|net-addr|tcp-port|`
//! (RFC 2428 §2), and so has the reply to EPSV, of which only the port is given (RFC 2428 §3).

use bytemuck::{Pod, Zeroable};

use super::super::{address::AddressReader, named::Named};

/// An address and port that are being read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Endpoint {
    address: AddressReader,
    /// The numbers of `h1,h2,h3,h4,p1,p2` that have ended, one in each byte.
    six: u64,
    /// The number that is being read.
    number: u32,
    /// The protocol of the address, in the notation of RFC 2428.
    family: u32,
    /// Fields that have ended; in the notation of RFC 2428 with the delimiter before them.
    fields: u8,
    /// Digits of the number.
    digits: u8,
    delimiter: u8,
    /// 1: it is not as the grammar has it.
    bad: u8,
    reserved: u32,
}

/// Numbers of `h1,h2,h3,h4,p1,p2`.
const NUMBERS: u8 = 6;
/// Fields of `|net-prt|net-addr|tcp-port|`, and the nothing before the first delimiter.
const EXTENDED_FIELDS: u8 = 4;

impl Endpoint {
    /// Takes a byte of the argument of PORT.
    #[inline(never)]
    pub(super) fn port(&mut self, byte: u8) {
        match byte {
            b'0'..=b'9' if self.fields < NUMBERS => self.digit(byte),
            b',' if self.fields < NUMBERS - 1 && self.is_octet() => self.end_octet(),
            b' ' if self.fields == 0 && self.digits == 0 => {}
            b' ' if self.fields == NUMBERS => {}
            b' ' => {
                self.end_six();
            }
            _ => self.bad = 1,
        }
    }

    /// Takes a byte of the reply to PASV. Where in the text the numbers stand is left open (RFC 1123
    /// §4.1.2.6): clients take the first six.
    #[inline(never)]
    pub(super) fn scan_six(&mut self, byte: u8) {
        if self.fields == NUMBERS {
            return;
        }
        if byte.is_ascii_digit() {
            return self.digit(byte);
        }
        if self.fields == NUMBERS - 1 {
            self.end_six();
        } else if byte == b',' && self.is_octet() {
            self.end_octet();
        } else {
            self.bad = 1;
        }
        if self.bad != 0 {
            self.bad = 0;
            self.fields = 0;
            self.begin_number();
        }
    }

    /// Takes a byte of the argument of EPRT.
    #[inline(never)]
    pub(super) fn extended(&mut self, byte: u8) {
        let ends = byte == self.delimiter;
        match self.fields {
            0 if byte == b' ' => {}
            0 if is_delimiter(byte) => {
                self.delimiter = byte;
                self.fields = 1;
            }
            1 if ends => {
                self.family = self.number;
                self.begin_number();
                self.fields = 2;
            }
            2 if ends => self.fields = 3,
            2 => self.address.push(byte),
            3 if ends => self.fields = EXTENDED_FIELDS,
            1 | 3 if byte.is_ascii_digit() => self.digit(byte),
            EXTENDED_FIELDS if byte == b' ' => {}
            _ => self.bad = 1,
        }
    }

    /// Takes a byte of the reply to EPSV: what stands behind the first
    /// parenthesis.
    #[inline(always)]
    pub(super) fn scan_extended(&mut self, byte: u8) {
        if self.fields < EXTENDED_FIELDS {
            self.extended(byte);
        }
    }

    /// Ends `h1,h2,h3,h4,p1,p2`: nothing more comes. Returns whether it is all there.
    #[inline(always)]
    pub(super) fn end_six(&mut self) -> bool {
        if self.fields == NUMBERS - 1 && self.is_octet() {
            self.end_octet();
        }
        if self.fields != NUMBERS {
            self.bad = 1;
        }
        self.bad == 0
    }

    /// Whether `|net-prt|net-addr|tcp-port|` is all there.
    #[inline(always)]
    pub(super) fn is_extended(&self) -> bool {
        self.fields == EXTENDED_FIELDS && self.bad == 0 && self.digits > 0
    }

    /// Whether the address is one of the protocol that it is said to be of. An IPv4 address may be written as
    /// an IPv6 one.
    #[inline(always)]
    pub(super) fn has_family(&self, named: &Named) -> bool {
        match self.family {
            1 => named.version == 4,
            2 => named.version == 4 || named.version == 6,
            _ => false,
        }
    }

    /// Address of `h1,h2,h3,h4,p1,p2`.
    #[inline(always)]
    pub(super) const fn six_address(&self) -> Named {
        Named::new(4, [((self.six >> 16) as u32).to_be(), 0, 0, 0])
    }

    /// Its port.
    #[inline(always)]
    pub(super) const fn six_port(&self) -> u32 {
        self.six as u32 & 0xffff
    }

    /// Address of `|net-prt|net-addr|tcp-port|`.
    #[inline(always)]
    pub(super) fn extended_address(&self) -> Named {
        self.address.finish()
    }

    /// Its port, or a larger number.
    #[inline(always)]
    pub(super) const fn extended_port(&self) -> u32 {
        self.number
    }

    #[inline(always)]
    fn digit(&mut self, byte: u8) {
        let value = u32::from(byte.wrapping_sub(b'0'));
        let number = self.number.wrapping_mul(10).wrapping_add(value);
        // Below this no number of ten times as much overflows.
        self.number = if number > 0xff_ffff { 0xff_ffff } else { number };
        self.digits = self.digits.saturating_add(1);
    }

    #[inline(always)]
    const fn is_octet(&self) -> bool {
        self.digits > 0 && self.number <= 0xff
    }

    #[inline(always)]
    fn end_octet(&mut self) {
        self.six = self.six << 8 | u64::from(self.number & 0xff);
        self.fields = self.fields.wrapping_add(1);
        self.begin_number();
    }

    #[inline(always)]
    fn begin_number(&mut self) {
        self.number = 0;
        self.digits = 0;
    }
}

/// Whether it may delimit fields: any printable character, but none that may stand in them.
#[inline(always)]
const fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii_punctuation() && !matches!(byte, b'.' | b':' | b'%' | b'[' | b']')
}
