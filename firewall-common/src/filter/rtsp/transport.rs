//! The Transport header: over what, and between which ports (RFC 2326 §12.39, RFC 7826 §18.54).
//!
//! Alternatives stand between commas, each the name of a protocol and parameters behind semicolons. A request
//! wants the first of them that it can have; a reply names the one that was chosen.

use bytemuck::{Pod, Zeroable};

use super::super::address::AddressReader;
use super::super::parser::Scene;
use super::super::pinhole::PORT_MIN;
use super::super::token::{HT, SP, Token};
use super::header::Number;
use super::start_line::Kind;
use super::state::Due;
use super::{Finding, Flags, Parser};
use crate::words::clear;

/// A Transport header that is being read, and what the ones before it in the message said.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Transport {
    /// An address in a parameter.
    address: AddressReader,
    /// What is being read.
    current: Alternative,
    /// The alternative that counts.
    pub(super) chosen: Alternative,
    part: Part,
    parameter: Parameter,
    marks: Marks,
    /// Place in a parameter with several numbers: the first, or behind it.
    second: u8,
    reserved: [u8; 4],
}

/// One alternative.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Alternative {
    /// Where the requester is.
    pub(super) client: Ports,
    /// Where the other end is.
    pub(super) server: Ports,
    flags: u32,
}

impl Alternative {
    /// There is one.
    const GIVEN: u32 = 1 << 0;
    /// It goes through the connection itself.
    const TCP: u32 = 1 << 1;
    const MULTICAST: u32 = 1 << 2;
    /// It names an address of neither end.
    const FOREIGN: u32 = 1 << 3;
    /// It has a port that is no number.
    const BAD_PORT: u32 = 1 << 4;
    /// It has a port below [`PORT_MIN`].
    const LOW_PORT: u32 = 1 << 5;

    /// Whether something could be opened for it.
    #[inline(always)]
    pub(super) const fn is_usable(&self) -> bool {
        self.flags == Self::GIVEN
    }

    /// Whether an end has to be called, and not a group, nor the connection itself used.
    #[inline(always)]
    const fn calls(&self) -> bool {
        self.flags & (Self::TCP | Self::MULTICAST) == 0
    }
}

/// Ports of one end; 0: not named.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Ports {
    /// That of RTP.
    pub(super) first: u16,
    /// The last one, that of RTCP.
    last: u16,
}

impl Ports {
    /// The first one, and above it how many in a row: RTP and RTCP, or only one of which nothing else is known.
    #[inline(always)]
    pub(super) const fn packed(self) -> u32 {
        let pair = self.last as u32 == self.first as u32 + 1;
        self.first as u32 | (1 + pair as u32) << 16
    }

    #[inline(always)]
    const fn is_low(self) -> bool {
        let (first, last) = (self.first.wrapping_sub(1), self.last.wrapping_sub(1));
        first < PORT_MIN - 1 || last < PORT_MIN - 1
    }
}

/// What the next byte belongs to.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
struct Part(u8);

impl Part {
    /// The name of the protocol.
    const PROTOCOL: Self = Self(0);
    /// The name of a parameter.
    const NAME: Self = Self(1);
    const VALUE: Self = Self(2);
}

/// The parameters that are looked at.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
struct Parameter(u8);

impl Parameter {
    const OTHER: Self = Self(0);
    /// Ports of one end.
    const CLIENT_PORT: Self = Self(1);
    const SERVER_PORT: Self = Self(2);
    /// Addresses with ports.
    const DEST_ADDR: Self = Self(3);
    const SRC_ADDR: Self = Self(4);
    /// An address: `destination` or `source`.
    const ADDRESS: Self = Self(5);
    const INTERLEAVED: Self = Self(6);
    const MULTICAST: Self = Self(7);

    #[inline(always)]
    fn named(name: &Token) -> Self {
        if name.is(const { Token::of("client_port") }) {
            Self::CLIENT_PORT
        } else if name.is(const { Token::of("server_port") }) {
            Self::SERVER_PORT
        } else if name.is(const { Token::of("dest_addr") }) {
            Self::DEST_ADDR
        } else if name.is(const { Token::of("src_addr") }) {
            Self::SRC_ADDR
        } else if name.is(const { Token::of("destination") })
            || name.is(const { Token::of("source") })
        {
            Self::ADDRESS
        } else if name.is(const { Token::of("interleaved") }) {
            Self::INTERLEAVED
        } else if name.is(const { Token::of("multicast") }) {
            Self::MULTICAST
        } else {
            Self::OTHER
        }
    }
}

/// Where in a value the next byte is, a bit each.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
struct Marks(u8);

impl Marks {
    const QUOTED: u8 = 1 << 0;
    /// In the brackets of an IPv6 address.
    const BRACKETS: u8 = 1 << 1;
    /// In the port behind an address.
    const PORT: u8 = 1 << 2;
}

impl Parser {
    /// The colon of a Transport header was read. Another one in the same message goes on with the list
    /// (RFC 2326 §4.2, which takes it from RFC 2068 §4.2).
    #[inline(always)]
    pub(super) fn begin_transport(&mut self) {
        if !self.has(Flags::HAS_TRANSPORT) {
            self.set(Flags::HAS_TRANSPORT);
            self.transport.chosen = Alternative::zeroed();
        }
        self.begin_alternative();
    }

    #[inline(always)]
    fn begin_alternative(&mut self) {
        clear(&mut self.token);
        self.transport.current = Alternative::zeroed();
        self.transport.part = Part::PROTOCOL;
        self.transport.marks = Marks(0);
    }

    /// A byte of the value, or the end of the header.
    #[inline(never)]
    pub(super) fn transport_byte(&mut self, scene: &Scene, byte: u8) {
        self.sort_byte(byte);
        if self.due.has(Due::PARAMETER_END) {
            self.end_parameter();
        }
        if self.due.has(Due::VALUE_BYTE) {
            self.value_byte(byte);
        }
        if self.due.has(Due::NAME_END) {
            self.end_parameter_name();
        }
        if self.due.has(Due::ADDRESS_BYTE) {
            self.transport.address.push(byte);
        }
        if self.due.has(Due::ADDRESS_END) {
            self.end_address(scene);
        }
        if self.due.has(Due::PORT_END) {
            self.end_port();
        }
        if self.due.has(Due::PART_BEGIN) {
            self.begin_part(byte);
        }
        if self.due.has(Due::ALTERNATIVE_END) {
            self.end_alternative();
            self.begin_alternative();
        }
    }

    #[inline(never)]
    fn sort_byte(&mut self, byte: u8) {
        let quoted = self.transport.marks.0 & Marks::QUOTED != 0;
        if self.due.has(Due::HEADER_END) {
            if quoted {
                self.pending |= Finding::MalformedTransport.bit();
            }
            self.make_due(Due::PARAMETER_END.with(Due::ALTERNATIVE_END));
            return;
        }
        match byte {
            b'"' => self.transport.marks.0 ^= Marks::QUOTED,
            b',' if !quoted => self.make_due(Due::PARAMETER_END.with(Due::ALTERNATIVE_END)),
            b';' if !quoted => self.make_due(Due::PARAMETER_END),
            b'=' if self.transport.part == Part::NAME => self.make_due(Due::NAME_END),
            _ if self.transport.part == Part::VALUE => self.make_due(Due::VALUE_BYTE),
            SP | HT => {}
            _ => self.token.push(byte.to_ascii_lowercase()),
        }
    }

    /// The name of a parameter has ended, and with it the parameter or not.
    #[inline(never)]
    fn end_parameter_name(&mut self) {
        let parameter = Parameter::named(&self.token);
        clear(&mut self.token);
        self.transport.current.flags |= match parameter {
            Parameter::INTERLEAVED => Alternative::TCP,
            Parameter::MULTICAST => Alternative::MULTICAST,
            _ => 0,
        };
        if !self.due.has(Due::PARAMETER_END) {
            self.transport.part = Part::VALUE;
            self.transport.parameter = parameter;
            self.make_due(Due::PART_BEGIN);
        }
    }

    /// A number or an address begins behind `byte`.
    #[inline(always)]
    fn begin_part(&mut self, byte: u8) {
        self.transport.second = if byte == b'=' { 0 } else { byte };
        self.transport.marks.0 &= Marks::QUOTED;
        clear(&mut self.transport.address);
        self.begin_number();
    }

    #[inline(never)]
    fn value_byte(&mut self, byte: u8) {
        match self.transport.parameter {
            Parameter::CLIENT_PORT | Parameter::SERVER_PORT => self.ports_byte(byte),
            Parameter::DEST_ADDR | Parameter::SRC_ADDR => self.addresses_byte(byte),
            Parameter::ADDRESS if !matches!(byte, SP | HT) => self.make_due(Due::ADDRESS_BYTE),
            _ => {}
        }
    }

    /// `x-y` is a range. Devices are seen to write `x/y`, for two ports that need not lie together.
    #[inline(always)]
    fn ports_byte(&mut self, byte: u8) {
        match byte {
            b'-' | b'/' => self.make_due(Due::PORT_END.with(Due::PART_BEGIN)),
            _ => self.number_byte(byte),
        }
    }

    /// RFC 7826 §18.54: `"host:port"/"host:port"`, each without the host if it is the speaker's.
    #[inline(always)]
    fn addresses_byte(&mut self, byte: u8) {
        let marks = self.transport.marks.0;
        match byte {
            b'/' if marks & Marks::QUOTED == 0 => {
                self.end_address_and_port();
                self.make_due(Due::PART_BEGIN);
            }
            b':' if marks & (Marks::BRACKETS | Marks::PORT) == 0 => {
                self.transport.marks.0 |= Marks::PORT;
            }
            _ if marks & Marks::PORT != 0 => self.number_byte(byte),
            SP | HT => {}
            _ => {
                self.transport.marks.0 = match byte {
                    b'[' => marks | Marks::BRACKETS,
                    b']' => marks & !Marks::BRACKETS,
                    _ => marks,
                };
                self.make_due(Due::ADDRESS_BYTE);
            }
        }
    }

    #[inline(never)]
    fn end_parameter(&mut self) {
        match self.transport.part {
            Part::PROTOCOL => self.end_protocol(),
            Part::NAME => self.make_due(Due::NAME_END),
            _ => self.end_value(),
        }
        self.transport.part = Part::NAME;
    }

    /// Whatever does not say TCP goes over UDP: that is what RTP/AVP stands for, and what profiles of one
    /// vendor are seen to mean.
    #[inline(always)]
    fn end_protocol(&mut self) {
        if self.token != Token::EMPTY {
            self.transport.current.flags |= Alternative::GIVEN;
        }
        if self.token.ends_in(*b"/tcp") {
            self.transport.current.flags |= Alternative::TCP;
        }
        clear(&mut self.token);
    }

    #[inline(always)]
    fn end_value(&mut self) {
        match self.transport.parameter {
            Parameter::CLIENT_PORT | Parameter::SERVER_PORT => self.make_due(Due::PORT_END),
            Parameter::DEST_ADDR | Parameter::SRC_ADDR => self.end_address_and_port(),
            Parameter::ADDRESS => self.make_due(Due::ADDRESS_END),
            _ => {}
        }
    }

    #[inline(always)]
    fn end_address_and_port(&mut self) {
        self.make_due(Due::ADDRESS_END);
        if self.transport.marks.0 & Marks::PORT != 0 {
            self.make_due(Due::PORT_END);
        }
    }

    #[inline(never)]
    fn end_port(&mut self) {
        let (number, state) = (self.number, self.number_state);
        if !state.is_good() || number > u32::from(u16::MAX) {
            self.pending |= Finding::MalformedTransport.bit();
            // What was left out is not wrong.
            if state != Number::NONE {
                self.transport.current.flags |= Alternative::BAD_PORT;
            }
            return;
        }
        let number = number as u16;
        let second = self.transport.second;
        let ports = match self.transport.parameter {
            Parameter::CLIENT_PORT | Parameter::DEST_ADDR => &mut self.transport.current.client,
            _ => &mut self.transport.current.server,
        };
        let first = ports.first;
        match second {
            0 => ports.first = number,
            b'-' if number > first => ports.last = first.wrapping_add(1),
            _ => ports.last = number,
        }
        if second == b'-' && number < first {
            self.pending |= Finding::MalformedTransport.bit();
        }
    }

    /// What is opened always lies between the two ends; an address can only contradict that.
    #[inline(never)]
    fn end_address(&mut self, scene: &Scene) {
        let named = self.transport.address.finish();
        // A group is no host, and nobody's. `destination` names one even without the word `multicast`, which is
        // the default.
        if named.is_multicast() {
            self.transport.current.flags |= Alternative::MULTICAST;
        } else if !named.may_be_speaker(scene) && !named.may_be_listener(scene) {
            self.transport.current.flags |= Alternative::FOREIGN;
        }
    }

    #[inline(never)]
    fn end_alternative(&mut self) {
        let current = &mut self.transport.current;
        if current.calls() {
            if current.flags & Alternative::FOREIGN != 0 {
                self.pending |= Finding::ForeignAddress.bit();
            }
            if current.client.is_low() || current.server.is_low() {
                current.flags |= Alternative::LOW_PORT;
                self.pending |= Finding::LowPort.bit();
            }
        }
        let wanted = current.is_usable() && current.client.first != 0;
        let counts = match self.kind {
            Kind::RESPONSE => current.flags & Alternative::GIVEN != 0,
            _ => wanted,
        };
        let chosen = &mut self.transport.chosen;
        if counts && chosen.flags & Alternative::GIVEN == 0 {
            *chosen = *current;
        } else if wanted && current.client.first == chosen.client.first {
            // Another protocol on the same port may need the one above it.
            chosen.client.last = chosen.client.last.max(current.client.last);
        }
    }
}
