//! Where events come from: the controller, and if one follows, the one after it; what is past may come from disk.

use std::{io, time::Duration};

use anyhow::Result;
use firewall_user::{
    event::{Event, epoch_ns, rfc3339},
    instance::Instance,
    subscribe::{Events, Request},
};

use crate::cli::told::{Told, is_without_controller};

/// How often a controller is looked for while there is none.
const RETRY: Duration = Duration::from_secs(1);

/// Events of an instance.
pub(super) struct Source<'a> {
    instance: &'a Instance,
    request: Request,
    /// `None`: the controller went away and another one is waited for.
    events: Option<Told>,
    /// When the last event was that came.
    newest: Option<i128>,
    /// Why there is no controller, as it was said last.
    said: String,
}

impl<'a> Source<'a> {
    /// Asks the controller; without one, what is on disk.
    ///
    /// # Errors
    ///
    /// There is none, or it may not be asked.
    pub(super) async fn ask(instance: &'a Instance, request: Request) -> Result<Self> {
        let events = Told::ask(instance, &request).await?;
        if let Some(notice) = events.notice() {
            eprintln!("fwx: {notice}");
        }
        Ok(Self { instance, request, events: Some(events), newest: None, said: String::new() })
    }

    pub(super) fn follows(&self) -> bool {
        self.request.follow
    }

    /// The next event. `None`: there are no more; who follows waits instead, also for another controller.
    ///
    /// May be cancelled without losing one.
    pub(super) async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            let Some(events) = &mut self.events else {
                tokio::time::sleep(RETRY).await;
                self.ask_again().await;
                continue;
            };
            match events.next().await {
                Ok(Some(event)) => {
                    self.newest = self.newest.max(place(&event));
                    return Ok(Some(event));
                }
                Ok(None) if !self.request.follow => return Ok(None),
                Ok(None) => {}
                // It was killed.
                Err(error) if self.request.follow && error.is::<io::Error>() => {}
                Err(error) => return Err(error),
            }
            self.events = None;
            eprintln!("fwx: the controller went away; waiting for the next one (Ctrl-C ends)");
        }
    }

    /// Asks whatever controller there is now for what came behind the newest event that was seen.
    async fn ask_again(&mut self) {
        if let Some(newest) = self.newest {
            self.request.last = None;
            self.request.criteria.since = Some(rfc3339(newest + 1));
        }
        match Events::ask(self.instance, &self.request).await {
            Ok(events) => {
                self.events = Some(Told::ByController(events));
                self.said.clear();
                eprintln!("fwx: there is a controller again");
            }
            // That was said when it went away.
            Err(_) if is_without_controller(self.instance) => {}
            Err(error) => {
                let reason = format!("{error:#}");
                if reason != self.said {
                    eprintln!("fwx: {reason}");
                    self.said = reason;
                }
            }
        }
    }
}

/// Where to go on behind `event`. `None`: the controller says it to this reader alone, which has no number and overtakes
/// what waits for the reader.
fn place(event: &Event) -> Option<i128> {
    epoch_ns(&event.timestamp).filter(|_| event.event_id != 0)
}

#[cfg(test)]
mod tests {
    use firewall_common::reason::Reason;

    use super::*;

    #[test]
    fn what_is_said_to_one_reader_is_no_place_to_go_on_from() {
        let event = |number| Event::control(number, None, 7, Reason::None, String::new());
        assert_eq!(place(&event(1)), Some(7));
        assert_eq!(place(&event(0)), None);
    }
}
