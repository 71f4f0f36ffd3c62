//! How events are printed, one a line.

use anyhow::Result;

use super::{Compact, Fields, Isa, printable_json};
use crate::event::Event;

/// One of the ways to print events.
#[derive(Clone, Debug)]
pub enum Printer {
    /// Aligned and coloured, for people.
    Compact(Compact),
    /// As the log viewer of ISA Server lists them.
    Isa(Isa),
    /// Fields by choice.
    Fields(Fields),
    /// An object a line, for programs.
    Json,
}

impl Printer {
    /// What stands above all events, without the newline, if they are told without it.
    pub fn header(&mut self) -> Option<String> {
        match self {
            Self::Isa(isa) => Some(isa.header()),
            Self::Fields(fields) => Some(fields.header()),
            Self::Compact(_) | Self::Json => None,
        }
    }

    /// `event` as a line, without the newline. Whatever the event holds, it is one line and nothing that a terminal
    /// obeys but its colours.
    pub fn line(&mut self, event: &Event) -> Result<String> {
        Ok(match self {
            Self::Compact(compact) => compact.line(event),
            Self::Isa(isa) => isa.line(event),
            Self::Fields(fields) => fields.line(event)?,
            Self::Json => printable_json(&serde_json::to_string(event)?).into_owned(),
        })
    }
}
