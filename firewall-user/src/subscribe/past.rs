//! What a subscriber gets of the past: what is remembered, and with it what only the disk has.

use anyhow::Result;
use time::OffsetDateTime;

use super::{Request, writer::Writer};
use crate::{
    events::{Moment, Selection},
    hub::{Subscription, Told},
    store::{Kept, Lookback, Meant, Stored},
};

/// Gives the past that `request` asks for to `writer`, all but what is remembered and comes behind the last event on
/// disk. `kept` is of before `subscription`: what was written to disk in between is remembered.
///
/// # Errors
///
/// The subscriber takes no more. Of a disk that cannot be read it is told, and gets what is remembered.
pub(super) async fn tell(
    request: &Request,
    selection: Selection,
    kept: Result<Kept>,
    subscription: &mut Subscription,
    writer: &mut Writer,
) -> Result<()> {
    let past = match kept {
        Ok(kept) => Past::new(request, selection, kept, subscription, writer).await,
        Err(error) => Err(error),
    };
    match past {
        Ok(None) => Ok(()),
        Ok(Some(past)) => past.tell(subscription, request.packets, writer).await,
        Err(error) => {
            subscription.keep_last(request.last);
            writer.add_control(missing(&error))
        }
    }
}

fn missing(error: &anyhow::Error) -> String {
    format!("events that are kept on disk are missing here: {error:#}")
}

/// The past of a subscription on its way to the subscriber. What memory has too is not read from disk.
#[derive(Debug)]
struct Past {
    lookback: Lookback,
    /// Events that come before those that were asked for.
    skip: usize,
}

impl Request {
    /// Whether it asks for more than what is remembered.
    pub(super) fn looks_back(&self) -> bool {
        self.last.is_some_and(|last| last > 0)
            || self.criteria.since.is_some()
            || self.criteria.until.is_some()
    }
}

impl Past {
    /// `None`: all that is asked for is remembered.
    async fn new(
        request: &Request,
        selection: Selection,
        kept: Kept,
        subscription: &mut Subscription,
        writer: &Writer,
    ) -> Result<Option<Self>> {
        if request.last.is_some_and(|last| last <= subscription.whole) {
            subscription.keep_last(request.last);
            return Ok(None);
        }
        let there = subscription.feed.there();
        let key = |told: &std::sync::Arc<Told>| (told.event.event_id, told.event.timestamp.clone());
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos();
        let moment = |text: &Option<String>| Moment::parse(text.as_deref()?, now);
        let mut lookback = kept.lookback(Meant {
            since: moment(&request.criteria.since),
            until: moment(&request.criteria.until),
            selection,
            known: there.iter().map(key).collect(),
            known_from: subscription.whole_from.clone(),
        });
        let mut skip = 0;
        if let Some(last) = request.last {
            let times: Vec<_> = there.iter().map(|told| told.event.timestamp.clone()).collect();
            let (found, before) = lookback.go_to_last(last, &times, || writer.is_gone()).await?;
            subscription.feed.skip(before);
            skip = found.saturating_sub(last);
        }
        Ok(Some(Self { lookback, skip }))
    }

    async fn tell(
        mut self,
        subscription: &mut Subscription,
        packets: bool,
        writer: &mut Writer,
    ) -> Result<()> {
        // Who asks for what there is not gets no line, by which it would be seen that nobody reads any more.
        while !writer.is_gone() {
            let some = match self.lookback.next_some().await {
                Ok(Some(some)) => some,
                Ok(None) => break,
                Err(error) => {
                    writer.add_control(missing(&error))?;
                    break;
                }
            };
            for stored in some {
                while let Some(told) = subscription.feed.next_before(&stored.event.timestamp) {
                    self.add(writer, &told.line_for(packets));
                    if writer.is_full() {
                        writer.flush().await?;
                    }
                }
                if stored.is_gap && self.skip > 0 {
                    continue;
                }
                self.add(writer, &line_of(stored, packets)?);
                if writer.is_full() {
                    writer.flush().await?;
                }
            }
        }
        subscription.feed.skip(self.skip);
        Ok(())
    }

    fn add(&mut self, writer: &mut Writer, line: &str) {
        match self.skip.checked_sub(1) {
            Some(fewer) => self.skip = fewer,
            None => writer.add(line),
        }
    }
}

fn line_of(Stored { mut event, line, .. }: Stored, packets: bool) -> Result<String> {
    if packets || event.packet.take().is_none() {
        return Ok(line);
    }
    Ok(serde_json::to_string(&event)?)
}
