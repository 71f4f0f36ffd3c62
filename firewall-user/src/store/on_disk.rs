//! Events on disk for a reader without a controller: who may read the files needs none.

use anyhow::Result;
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::{Kept, Lookback, Meant, Segments};
use crate::{
    event::Event,
    events::{Criteria, Moment},
};

/// Events that are read before somebody asks for them.
const AHEAD: usize = 256;

/// The events of a directory that are meant, the oldest first.
#[derive(Debug)]
pub struct OnDisk {
    events: mpsc::Receiver<Result<Event>>,
}

impl OnDisk {
    /// The events in `segments` that `criteria` mean, or only the last so many of them. `None`: none lie there.
    ///
    /// # Errors
    ///
    /// Criteria that are none: bad input. The files cannot be read.
    pub async fn new(
        segments: Segments,
        criteria: &Criteria,
        last: Option<usize>,
    ) -> Result<Option<Self>> {
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos();
        let selection = criteria.selection(now)?;
        let moment = |text: &Option<String>| Moment::parse(text.as_deref()?, now);
        let kept = Kept::now(segments).await?;
        if kept.is_empty() {
            return Ok(None);
        }
        let mut lookback = kept.lookback(Meant {
            since: moment(&criteria.since),
            until: moment(&criteria.until),
            selection,
            ..Meant::default()
        });
        let skip = match last {
            Some(last) => lookback.go_to_last(last, &[], || false).await?.0.saturating_sub(last),
            None => 0,
        };
        let (to, events) = mpsc::channel(AHEAD);
        tokio::spawn(read(lookback, skip, to));
        Ok(Some(Self { events }))
    }

    /// The next event, with the packet behind it. `None`: there are no more.
    ///
    /// May be cancelled without losing one.
    ///
    /// # Errors
    ///
    /// The files cannot be read.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        self.events.recv().await.transpose()
    }
}

/// Reads until there are no more, or nobody wants them. The first `skip` are not meant.
async fn read(mut lookback: Lookback, mut skip: usize, to: mpsc::Sender<Result<Event>>) {
    loop {
        let some = match lookback.next_some().await {
            Ok(Some(some)) => some,
            Ok(None) => return,
            Err(error) => return to.send(Err(error)).await.unwrap_or_default(),
        };
        for stored in some {
            if stored.is_gap && skip > 0 {
                continue;
            }
            match skip.checked_sub(1) {
                Some(fewer) => skip = fewer,
                None if to.send(Ok(stored.event)).await.is_err() => return,
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::writer::{Lines, Writer};
    use firewall_common::reason::Reason;

    async fn numbers(segments: &Segments, criteria: &Criteria, last: Option<usize>) -> Vec<u64> {
        let mut events = OnDisk::new(segments.clone(), criteria, last).await.unwrap().unwrap();
        let mut numbers = Vec::new();
        while let Some(event) = events.next().await.unwrap() {
            numbers.push(event.event_id);
        }
        numbers
    }

    #[tokio::test]
    async fn what_is_kept_is_read_without_a_controller() {
        let directory = tempfile::tempdir().unwrap();
        let segments = Segments::at(directory.path().join("events"));
        let all = Criteria::default();
        assert!(OnDisk::new(segments.clone(), &all, None).await.unwrap().is_none());
        let mut writer = Writer::new(segments.clone());
        for number in 0..1_000 {
            let text = if number % 2 == 0 { "even" } else { "odd" };
            let time = i128::from(number) * 1_000_000_000;
            let event = Event::control(number, None, time, Reason::None, text.to_owned());
            let event = Event { rule: Some(text.to_owned()), ..event };
            let line = serde_json::to_string(&event).unwrap() + "\n";
            writer.append(&Lines::routine(line), 512 << 10).unwrap();
        }
        assert!(segments.list().unwrap().len() > 1);
        assert_eq!(numbers(&segments, &all, None).await, (0..1_000).collect::<Vec<_>>());
        let since = Some("1970-01-01T00:15:00Z".to_owned());
        let some = Criteria { since, rule: vec!["odd".to_owned()], ..Criteria::default() };
        let odd: Vec<_> = (901..1_000).step_by(2).collect();
        assert_eq!(numbers(&segments, &some, None).await, odd);
        assert_eq!(numbers(&segments, &some, Some(3)).await, [995, 997, 999]);
        assert_eq!(numbers(&segments, &some, Some(0)).await, [0; 0]);
        let none = Criteria { rule: vec!["default".to_owned()], ..Criteria::default() };
        assert_eq!(numbers(&segments, &none, Some(3)).await, [0; 0]);
    }
}
