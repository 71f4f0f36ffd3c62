//! Where events meet those who want them: what is remembered, and what comes, for each at its own pace.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::Result;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::{
    event::{Captured, Event},
    events::Selection,
};

/// Events that the controller remembers.
const REMEMBERED: usize = 10_000;
/// Events that a slow reader may be behind before it loses some.
const BACKLOG: usize = 4_096;

/// The events that are remembered, and those who want more.
#[derive(Debug)]
pub struct Hub {
    remembered: VecDeque<Arc<Told>>,
    sender: broadcast::Sender<Arc<Told>>,
}

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
}

impl Default for Hub {
    fn default() -> Self {
        Self { remembered: VecDeque::new(), sender: broadcast::channel(BACKLOG).0 }
    }
}

impl Hub {
    /// Remembers an event and passes it on.
    pub fn publish(&mut self, mut event: Event) -> Result<()> {
        let packet = event.packet.take();
        let line = serde_json::to_string(&event)?;
        let told = Arc::new(Told { event, line, packet });
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back(Arc::clone(&told));
        // No receiver is no error.
        let _ = self.sender.send(told);
        Ok(())
    }

    /// The last `count` of the events that `selection` has, and all those to come from here on.
    pub fn subscribe(
        &self,
        count: Option<usize>,
        selection: &Selection,
    ) -> (Vec<Arc<Told>>, broadcast::Receiver<Arc<Told>>) {
        let newest_first = self.remembered.iter().rev().filter(|told| selection.has(&told.event));
        let mut last: Vec<_> = newest_first.take(count.unwrap_or(usize::MAX)).cloned().collect();
        last.reverse();
        (last, self.sender.subscribe())
    }

    /// Those of the events to come from here on that `selection` has.
    pub fn feed(&self, selection: Selection) -> Feed {
        Feed { receiver: self.sender.subscribe(), selection, lost: Arc::default() }
    }
}

/// Events as they come, for one reader, which loses its own when it falls behind and nobody else's.
#[derive(Debug)]
pub struct Feed {
    receiver: broadcast::Receiver<Arc<Told>>,
    selection: Selection,
    lost: Arc<AtomicU64>,
}

impl Feed {
    /// The next event. `None`: there will be none any more.
    ///
    /// May be cancelled without losing one.
    pub async fn next(&mut self) -> Option<Arc<Told>> {
        loop {
            match self.receiver.recv().await {
                Ok(told) if self.selection.has(&told.event) => return Some(told),
                Ok(_) => {}
                Err(RecvError::Lagged(count)) => {
                    self.lost.fetch_add(count, Relaxed);
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Counts the events that the reader was too slow for; those too that were not meant for it.
    pub fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }
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
        let mut hub = Hub::default();
        hub.publish(whole.clone()).unwrap();
        let (told, _) = hub.subscribe(None, &Selection::default());
        let read = |line: &str| serde_json::from_str::<Event>(line).unwrap();
        assert_eq!(read(&told[0].line_for(false)), event);
        assert_eq!(read(&told[0].line_for(true)), whole);
    }
}
