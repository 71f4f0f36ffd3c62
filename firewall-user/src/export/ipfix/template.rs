//! What a record consists of: one list, by which templates and records are written, so that they agree.
//!
//! Both directions are in one record (RFC 5103): what is about the reply has the number of what is about the original
//! direction, and the enterprise number that stands for the reverse. Numbers are those of IANA's "IPFIX Information
//! Elements".

use super::flow::{Addresses, Flow};

/// The set that holds templates (RFC 7011, section 3.3.2).
const TEMPLATE_SET: u16 = 2;
/// The enterprise number of elements about the reverse direction (RFC 5103, section 6.1).
const REVERSE: u32 = 29_305;
/// Says of an element that an enterprise number follows (RFC 7011, section 3.2).
const ENTERPRISE: u16 = 0x8000;
/// Says of an element that each value tells its own length.
const VARIABLE: u16 = u16::MAX;
/// Most bytes of a name. What is below 255 has a length of one byte (RFC 7011, section 7).
const NAME_MAX: usize = 64;

/// A template: which kind of flows a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Template {
    V4 = 256,
    V6 = 257,
}

/// One information element of a record.
struct Field {
    element: u16,
    /// Of one that is fixed; else [`VARIABLE`].
    length: u16,
    is_reverse: bool,
    write: fn(&Flow, &mut Vec<u8>),
}

const fn field(element: u16, length: u16, write: fn(&Flow, &mut Vec<u8>)) -> Field {
    Field { element, length, is_reverse: false, write }
}

const fn reverse(element: u16, length: u16, write: fn(&Flow, &mut Vec<u8>)) -> Field {
    Field { element, length, is_reverse: true, write }
}

/// sourceIPv4Address, destinationIPv4Address.
const ADDRESSES_V4: [Field; 2] =
    [field(8, 4, |flow, to| address(flow, 0, to)), field(12, 4, |flow, to| address(flow, 1, to))];
/// sourceIPv6Address, destinationIPv6Address.
const ADDRESSES_V6: [Field; 2] = [
    field(27, 16, |flow, to| address(flow, 0, to)),
    field(28, 16, |flow, to| address(flow, 1, to)),
];

/// What follows the addresses.
const FIELDS: [Field; 14] = [
    // flowStartMilliseconds, flowEndMilliseconds
    field(152, 8, |flow, to| to.extend(flow.times[0].to_be_bytes())),
    field(153, 8, |flow, to| to.extend(flow.times[1].to_be_bytes())),
    // sourceTransportPort, destinationTransportPort
    field(7, 2, |flow, to| to.extend(flow.ports[0].to_be_bytes())),
    field(11, 2, |flow, to| to.extend(flow.ports[1].to_be_bytes())),
    // protocolIdentifier
    field(4, 1, |flow, to| to.push(flow.ip_protocol)),
    // octetDeltaCount, packetDeltaCount
    field(1, 8, |flow, to| to.extend(flow.octets[0].to_be_bytes())),
    field(2, 8, |flow, to| to.extend(flow.packets[0].to_be_bytes())),
    reverse(1, 8, |flow, to| to.extend(flow.octets[1].to_be_bytes())),
    reverse(2, 8, |flow, to| to.extend(flow.packets[1].to_be_bytes())),
    // flowEndReason
    field(136, 1, |flow, to| to.push(flow.end_reason as u8)),
    // biflowDirection (RFC 5103, section 6.3): by the initiator, or arbitrary
    field(239, 1, |flow, to| to.push(flow.has_initiator.into())),
    // flowId
    field(148, 8, |flow, to| to.extend(flow.id.to_be_bytes())),
    // interfaceName, applicationName
    field(82, VARIABLE, |flow, to| name(&flow.interface, to)),
    field(96, VARIABLE, |flow, to| name(&flow.protocol, to)),
];

impl Template {
    /// All of them.
    const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// That of a flow's record.
    pub(super) const fn of(flow: &Flow) -> Self {
        match flow.addresses {
            Addresses::V4(_) => Self::V4,
            Addresses::V6(_) => Self::V6,
        }
    }

    /// Its number, which is that of the sets of its records too.
    pub(super) const fn number(self) -> u16 {
        self as u16
    }

    fn fields(self) -> impl Iterator<Item = Field> {
        let addresses = match self {
            Self::V4 => ADDRESSES_V4,
            Self::V6 => ADDRESSES_V6,
        };
        addresses.into_iter().chain(FIELDS)
    }
}

/// The set of all templates (RFC 7011, section 3.4.1).
pub(super) fn template_set() -> Vec<u8> {
    let mut templates = Vec::new();
    for template in Template::ALL {
        let count = template.fields().count() as u16;
        templates.extend(template.number().to_be_bytes());
        templates.extend(count.to_be_bytes());
        for Field { element, length, is_reverse, .. } in template.fields() {
            let enterprise = if is_reverse { ENTERPRISE } else { 0 };
            templates.extend((element | enterprise).to_be_bytes());
            templates.extend(length.to_be_bytes());
            if is_reverse {
                templates.extend(REVERSE.to_be_bytes());
            }
        }
    }
    let length = 4 + templates.len() as u16;
    [&TEMPLATE_SET.to_be_bytes()[..], &length.to_be_bytes(), &templates].concat()
}

/// The record of a flow by its template.
pub(super) fn record(flow: &Flow) -> Vec<u8> {
    let mut record = Vec::new();
    for field in Template::of(flow).fields() {
        (field.write)(flow, &mut record);
    }
    record
}

fn address(flow: &Flow, end: usize, to: &mut Vec<u8>) {
    match flow.addresses {
        Addresses::V4(ends) => to.extend(ends[end].octets()),
        Addresses::V6(ends) => to.extend(ends[end].octets()),
    }
}

/// A text of any length: as much of it as there is room for.
fn name(text: &str, to: &mut Vec<u8>) {
    let end = (0..=NAME_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let text = &text[..end];
    to.push(text.len() as u8);
    to.extend(text.as_bytes());
}
