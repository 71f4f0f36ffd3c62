//! An event as it is told.

use std::borrow::Cow;

use firewall_common::event::EventKind;

use crate::event::{Captured, Event};

/// An event as it is told.
#[derive(Debug)]
pub struct Told {
    /// The event, without the packet behind it.
    pub event: Event,
    /// The same as a line of JSON, without the newline.
    pub line: String,
    /// The packet behind it.
    pub packet: Option<Captured>,
}

impl Told {
    /// The event, told.
    pub(super) fn new(mut event: Event) -> serde_json::Result<Self> {
        let packet = event.packet.take();
        Ok(Self { line: serde_json::to_string(&event)?, event, packet })
    }

    /// The line, with the packet in it for those who want it.
    pub fn line_for(&self, packets: bool) -> Cow<'_, str> {
        if packets { self.line_with_packet() } else { self.line.as_str().into() }
    }

    fn line_with_packet(&self) -> Cow<'_, str> {
        let packet = self.packet.as_ref().and_then(|packet| serde_json::to_string(packet).ok());
        match (packet, self.line.strip_suffix('}')) {
            (Some(packet), Some(open)) => format!("{open},\"packet\":{packet}}}").into(),
            _ => self.line.as_str().into(),
        }
    }

    /// See [`is_routine`].
    pub(crate) fn is_routine(&self) -> bool {
        is_routine(&self.event)
    }

    /// Bytes that it takes in memory, roughly: the texts of the event are about as long as its line.
    pub(super) fn size(&self) -> usize {
        let packet = self.packet.as_ref().map_or(0, |packet| packet.bytes.len());
        size_of::<Self>() + 2 * self.line.len() + packet
    }
}

/// Whether `event` is of a kind that comes in masses; what the controller says itself is not.
pub fn is_routine(event: &Event) -> bool {
    event.kind().is_some_and(is_routine_kind)
}

/// Whether events of `kind` come in masses, as many as a peer wants: drops, findings, and connections opened and closed.
pub fn is_routine_kind(kind: EventKind) -> bool {
    kind != EventKind::ConnectionKilled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Link;
    use firewall_common::reason::Reason;

    #[test]
    fn the_packet_is_told_to_those_who_want_it() {
        let packet = Captured { link: Link::Ip, length: 60, bytes: vec![0x45, 0xff] };
        let event = Event::control(1, None, 0, Reason::None, "}".to_owned());
        let whole = Event { packet: Some(packet), ..event.clone() };
        let told = Told::new(whole.clone()).unwrap();
        let read = |line: &str| serde_json::from_str::<Event>(line).unwrap();
        assert_eq!(read(&told.line_for(false)), event);
        assert_eq!(read(&told.line_for(true)), whole);
    }
}
