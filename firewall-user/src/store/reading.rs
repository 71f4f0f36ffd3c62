//! The segments that are read, one after the other.

use std::{collections::VecDeque, io};

use firewall_common::reason::Reason;
use time::OffsetDateTime;

use super::{
    Meant, Segments, Stored,
    segments::{Opened, Segment, Sort},
};
use crate::event::{Event, rfc3339};

/// What is read at a time ends with so many bytes, or so many events that are meant.
const READ_MAX: usize = 4 << 20;
const FOUND_MAX: usize = 256;
/// To open a file counts as so many bytes read.
const OPENING: usize = 4096;

/// The events that are meant of some segments, the oldest first.
#[derive(Debug)]
pub(super) struct Reading {
    segments: Segments,
    meant: Meant,
    /// The files that have what is meant, and least else.
    sort: Sort,
    ahead: VecDeque<Ahead>,
    /// Those that are read if only the last events are wanted.
    counted: VecDeque<Ahead>,
    open: Option<Opened>,
    /// Whether of what comes before this place only the weighty events are left, or not even these.
    is_thin: bool,
}

/// A segment that is not read yet.
#[derive(Debug)]
struct Ahead {
    segment: Segment,
    /// It was opened already, and is read also if it makes room meanwhile.
    opened: Option<Opened>,
}

/// What a segment has.
#[derive(Debug)]
pub(super) struct Counted {
    /// Events that are meant.
    pub(super) events: usize,
    /// The time of its first event, meant or not.
    pub(super) begin: Option<String>,
}

impl Reading {
    /// Reads `there`, which are all segments. Those that were written last before the time of what is meant are not
    /// opened.
    pub(super) fn new(segments: Segments, there: Vec<Segment>, meant: Meant) -> Self {
        let sort = if meant.means_routine() { Sort::All } else { Sort::Weighty };
        let whole_from = there.iter().find(|segment| segment.len(Sort::All).is_some());
        let whole_from = whole_from.map(|segment| segment.number);
        let reaches =
            |segment: &Segment| meant.since.as_ref().is_none_or(|since| segment.may_reach(since));
        let ahead = there.into_iter().filter(reaches);
        let ahead: VecDeque<_> = ahead.map(|segment| Ahead { segment, opened: None }).collect();
        let first = ahead.front().map(|first| first.segment.number);
        let is_thin = first > Some(1) && first == whole_from;
        Self { segments, meant, sort, ahead, counted: VecDeque::new(), open: None, is_thin }
    }

    /// The next events, or for now none of what was read. `None`: that was all.
    pub(super) fn next_some(&mut self) -> io::Result<Option<Vec<Stored>>> {
        let mut found = Vec::new();
        let mut line = Vec::new();
        let mut read = 0;
        while found.len() < FOUND_MAX && read < READ_MAX {
            let Some(file) = &mut self.open else {
                read += OPENING;
                if let Some(Ahead { segment, opened }) = self.ahead.pop_front() {
                    let there = match opened {
                        None => segment.open(&self.segments, self.sort)?,
                        opened => opened,
                    };
                    found.extend(self.begin(there)?);
                } else if std::mem::take(&mut self.is_thin) {
                    let now = OffsetDateTime::now_utc().unix_timestamp_nanos();
                    found.extend(self.gap_before(rfc3339(now))?);
                } else {
                    return Ok((!found.is_empty()).then_some(found));
                }
                continue;
            };
            match file.next_line(&mut line)? {
                0 => self.open = None,
                len => read += len,
            }
            found.extend(self.meant.take(&line));
        }
        Ok(Some(found))
    }

    /// Has a segment's file read next, if it is still there. Returns what is to be told of those before it.
    fn begin(&mut self, there: Option<Opened>) -> io::Result<Option<Stored>> {
        let Some(mut opened) = there else {
            self.is_thin = true;
            return Ok(None);
        };
        let is_thin = opened.sort == Sort::Weighty;
        let ends_gap = std::mem::replace(&mut self.is_thin, is_thin) && !is_thin;
        let begin = if ends_gap { opened.begin()? } else { None };
        // Where no event is nothing can be told before it.
        self.is_thin |= ends_gap && begin.is_none();
        self.open = Some(opened);
        begin.map_or(Ok(None), |begin| self.gap_before(begin))
    }

    /// Tells that what came in masses before `timestamp` made room, to those who want it and what is so old, unless
    /// others tell all that they want.
    fn gap_before(&self, timestamp: String) -> io::Result<Option<Stored>> {
        let Meant { since, known_from, .. } = &self.meant;
        let is_wanted = since.as_ref().is_none_or(|since| since.is_reached_by(&timestamp));
        let is_known = since.as_ref().zip(known_from.as_deref());
        let is_known = is_known.is_some_and(|(since, from)| !since.is_reached_by(from));
        if self.sort == Sort::Weighty || !is_wanted || is_known {
            return Ok(None);
        }
        let message = format!(
            "drops, findings, and connections opened and closed before {timestamp} are missing here, but for those that \
             the controller remembers: they made room on disk for later ones"
        );
        let event = Event { timestamp, ..Event::control(0, None, 0, Reason::None, message) };
        Ok(Some(Stored { line: serde_json::to_string(&event)?, event, is_gap: true }))
    }
}

/// Reading from one of the last segments on.
impl Reading {
    /// Counts what the newest segment has of those that were not counted yet. `None`: there is no more.
    ///
    /// It stays open until the next is counted: what is read of the oldest is what was counted, also if it makes room
    /// meanwhile.
    pub(super) fn count_back(&mut self) -> io::Result<Option<Counted>> {
        let Some(Ahead { segment, .. }) = self.ahead.pop_back() else { return Ok(None) };
        let mut counted = Counted { events: 0, begin: None };
        let mut opened = segment.open(&self.segments, self.sort)?;
        if let Some(opened) = &mut opened {
            let mut line = Vec::new();
            while opened.next_line(&mut line)? > 0 {
                counted.events += usize::from(self.meant.take(&line).is_some());
            }
            counted.begin = opened.begin()?;
        }
        if let Some(later) = self.counted.front_mut() {
            later.opened = None;
        }
        self.counted.push_front(Ahead { segment, opened });
        Ok(Some(counted))
    }

    /// Has only those read that were counted. `are_enough`: nobody wants what is older, whether it made room or not.
    pub(super) fn go_to_counted(&mut self, are_enough: bool) {
        self.is_thin &= !are_enough;
        self.ahead = std::mem::take(&mut self.counted);
    }
}
