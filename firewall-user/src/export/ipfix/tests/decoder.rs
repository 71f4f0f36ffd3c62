//! A collector's view of messages: strict, and knowing no more than they say.

use std::collections::HashMap;

/// An information element: its number, and the enterprise that defines it, 0 for IANA.
pub(super) type Element = (u16, u32);
/// The values of a record.
pub(super) type Record = HashMap<Element, Vec<u8>>;

/// What a collector remembers of one transport session.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    templates: HashMap<u16, Vec<(Element, u16)>>,
    sequence: u32,
}

/// A message, taken apart.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) seconds: u32,
    pub(super) domain: u32,
    pub(super) has_templates: bool,
    /// Each with the number of its template.
    pub(super) records: Vec<(u16, Record)>,
}

impl Decoder {
    /// Takes a message apart; panics about whatever is not as RFC 7011 wants it.
    pub(super) fn decode(&mut self, message: &[u8]) -> Decoded {
        let mut rest = message;
        assert_eq!(u16_of(&mut rest), 10, "the version");
        assert_eq!(usize::from(u16_of(&mut rest)), message.len(), "the message's length");
        let seconds = u32_of(&mut rest);
        assert_eq!(u32_of(&mut rest), self.sequence, "the records so far");
        let mut decoded =
            Decoded { seconds, domain: u32_of(&mut rest), has_templates: false, records: vec![] };
        while !rest.is_empty() {
            let set = u16_of(&mut rest);
            let length = usize::from(u16_of(&mut rest));
            assert!(length > 4, "a set without anything in it");
            let mut content = take(&mut rest, length - 4);
            match set {
                2 => {
                    decoded.has_templates = true;
                    self.templates(&mut content);
                }
                256.. => decoded.records.extend(self.records(set, &mut content)),
                other => panic!("a set {other}"),
            }
        }
        self.sequence = self.sequence.wrapping_add(decoded.records.len() as u32);
        decoded
    }

    fn templates(&mut self, content: &mut &[u8]) {
        while !content.is_empty() {
            let template = u16_of(content);
            assert!(template >= 256, "a template {template}");
            let count = u16_of(content);
            let fields = (0..count).map(|_| {
                let (element, length) = (u16_of(content), u16_of(content));
                let enterprise = if element & 0x8000 == 0 { 0 } else { u32_of(content) };
                ((element & 0x7fff, enterprise), length)
            });
            let fields: Vec<_> = fields.collect();
            self.templates.insert(template, fields);
        }
    }

    fn records(&self, template: u16, content: &mut &[u8]) -> Vec<(u16, Record)> {
        let fields = self.templates.get(&template).expect("a template before its records");
        let mut records = Vec::new();
        while !content.is_empty() {
            let mut record = Record::new();
            for (element, length) in fields {
                let length = match *length {
                    u16::MAX => match take(content, 1)[0] {
                        255 => panic!("a long name"),
                        length => length.into(),
                    },
                    fixed => fixed,
                };
                let value = take(content, length.into()).to_vec();
                assert!(record.insert(*element, value).is_none(), "{element:?} twice");
            }
            records.push((template, record));
        }
        records
    }
}

fn take<'a>(from: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = from.split_at_checked(count).expect("a length beyond the end");
    *from = rest;
    taken
}

fn u16_of(from: &mut &[u8]) -> u16 {
    u16::from_be_bytes(take(from, 2).try_into().unwrap())
}

fn u32_of(from: &mut &[u8]) -> u32 {
    u32::from_be_bytes(take(from, 4).try_into().unwrap())
}
