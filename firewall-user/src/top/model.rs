//! The state of the screen: what there is to show, what of it is shown, and what a key changes. No terminal, no
//! kernel and no clock is asked here.

use std::collections::HashMap;

use firewall_common::{filter::FilterId, policy::Profile};

use super::{
    change::{Change, To},
    data::{Data, Heard},
    drops::DropRow,
    filter_line,
    keys::Action,
    look::{Look, Order, RatedFlow},
};
use crate::{event::Event, events::Criteria, status::FilterStatus};

/// Rows that a page moves by.
const PAGE: usize = 10;
/// Longest filter line, in characters.
const LINE_MAX: usize = 500;

/// A part of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pane {
    /// Flows.
    #[default]
    Flows,
    /// Drops by reason.
    Drops,
    /// Filters and how they are bound.
    Filters,
    /// Events.
    Log,
}

impl Pane {
    /// All of them, in the order of Tab.
    pub const ALL: [Self; 4] = [Self::Flows, Self::Drops, Self::Filters, Self::Log];

    /// What stands above it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Flows => "Flows",
            Self::Drops => "Drops",
            Self::Filters => "Filters",
            Self::Log => "Log",
        }
    }
}

/// What keys are for at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Looking around.
    #[default]
    Browse,
    /// Help lies over the screen.
    Help,
    /// The filter line is being written.
    Line,
    /// A change waits for yes or no.
    Question(Change),
    /// One event lies over the screen in full.
    Event(Box<Event>),
}

/// What the screen says at its lower end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// A sentence.
    pub text: String,
    /// Something failed.
    pub bad: bool,
}

/// What has to be done outside the screen.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// The end.
    Quit,
    /// The shell has the terminal for a while.
    Suspend,
    /// Everything is drawn anew.
    Redraw,
    /// Other flows come first.
    Order(Order),
    /// Other events are wanted.
    Subscribe(Box<Criteria>),
    /// A filter is bound otherwise.
    Change(Change),
}

/// The state of the screen.
#[derive(Debug, Default)]
pub struct Model {
    live: Data,
    /// What was there when the screen was stopped.
    frozen: Option<Data>,
    /// What comes first among the flows.
    pub order: Order,
    /// Where the keys act.
    pub pane: Pane,
    /// That pane alone is shown.
    pub zoomed: bool,
    /// What keys are for.
    pub mode: Mode,
    /// The filter line that is in force.
    pub line: String,
    /// The one that is being written, and what is wrong with it.
    pub draft: String,
    /// What is wrong with it.
    pub fault: Option<String>,
    /// What is said at the lower end.
    pub notice: Option<Notice>,
    /// The chosen row of each pane, counted from the first; of the log from the newest.
    cursors: [usize; Pane::ALL.len()],
    /// How filters were bound last.
    bound: HashMap<String, (FilterId, Profile)>,
}

impl Model {
    /// A screen that shows flows in this order first, and events by this line, which is a good one.
    pub fn new(order: Order, line: String) -> Self {
        Self { order, line, ..Self::default() }
    }

    /// What is to be shown.
    pub fn shown(&self) -> &Data {
        self.frozen.as_ref().unwrap_or(&self.live)
    }

    /// Whether the screen is stopped.
    pub const fn is_paused(&self) -> bool {
        self.frozen.is_some()
    }

    /// The flows, in their order.
    pub fn flows(&self) -> Vec<&RatedFlow> {
        let walked = self.shown().walked.iter();
        let mut flows: Vec<_> = walked.flat_map(|walked| &walked.flows).collect();
        // The walk had the order that was asked for when it began.
        flows.sort_by_key(|flow| {
            let row = &flow.row;
            std::cmp::Reverse(match self.order {
                Order::Rate => flow.rate.bits_per_s,
                Order::Packets => flow.rate.packets_per_s,
                Order::Bytes => row.bytes.original.saturating_add(row.bytes.reply),
                Order::Age => row.age_s,
            })
        });
        flows
    }

    /// Drops by reason.
    pub fn drops(&self) -> Vec<DropRow> {
        self.shown().drops.rows()
    }

    /// The bindings.
    pub fn filters(&self) -> &[FilterStatus] {
        self.shown().figures.as_ref().map_or(&[], |figures| &figures.filters)
    }

    /// The chosen row of `pane`, from the first; of the log from the newest. `None`: it has no rows.
    pub fn chosen(&self, pane: Pane) -> Option<usize> {
        let last = self.length(pane).checked_sub(1)?;
        Some(self.cursors[pane as usize].min(last))
    }

    fn length(&self, pane: Pane) -> usize {
        let data = self.shown();
        match pane {
            Pane::Flows => data.walked.as_ref().map_or(0, |walked| walked.flows.len()),
            Pane::Drops => data.drops.len(),
            Pane::Filters => self.filters().len(),
            Pane::Log => data.log.len(),
        }
    }

    /// Takes in a look.
    pub fn take_look(&mut self, look: Look) {
        self.live.take_look(look);
        for filter in self.live.figures.iter().flat_map(|figures| &figures.filters) {
            if let Some(bound) = Change::bound(filter) {
                self.bound.insert(filter.protocol.clone(), bound);
            }
        }
    }

    /// Takes in what the controller told.
    pub fn take_heard(&mut self, heard: Heard) {
        let new = self.live.take_heard(heard);
        let cursor = &mut self.cursors[Pane::Log as usize];
        // Who looks at something older goes on seeing it.
        if self.frozen.is_none() && *cursor > 0 {
            *cursor = cursor.saturating_add(new).min(self.live.log.len().saturating_sub(1));
        }
    }

    /// Takes in what became of a change.
    pub fn take_outcome(&mut self, outcome: Result<String, String>) {
        let bad = outcome.is_err();
        let (Ok(text) | Err(text)) = outcome;
        self.notice = Some(Notice { text, bad });
    }

    /// Does what a key stands for. `now`: nanoseconds since 1970, for times in the filter line.
    pub fn act(&mut self, action: Action, now: i128) -> Option<Effect> {
        self.notice = None;
        match action {
            Action::Quit => return Some(Effect::Quit),
            Action::Suspend => return Some(Effect::Suspend),
            Action::Redraw => return Some(Effect::Redraw),
            Action::Help => self.mode = Mode::Help,
            Action::Close => self.close(),
            Action::NextPane => self.pane = neighbour(self.pane, 1),
            Action::PreviousPane => self.pane = neighbour(self.pane, Pane::ALL.len() - 1),
            Action::Zoom => self.zoomed = !self.zoomed,
            Action::Pause => self.pause(),
            Action::Up => self.go(1, false),
            Action::Down => self.go(1, true),
            Action::PageUp => self.go(PAGE, false),
            Action::PageDown => self.go(PAGE, true),
            Action::Top => self.go(usize::MAX, false),
            Action::Bottom => self.go(usize::MAX, true),
            Action::NextOrder => {
                self.order = self.order.next();
                return Some(Effect::Order(self.order));
            }
            Action::Enter => self.enter(),
            Action::Bind(to) => self.ask(to),
            Action::Yes => return self.answer_yes(),
            Action::EditLine => {
                self.draft.clone_from(&self.line);
                self.fault = None;
                self.mode = Mode::Line;
            }
            Action::Type(character) => self.write(character),
            Action::Erase => drop(self.draft.pop()),
            Action::EraseWord => {
                let kept = self.draft.trim_end();
                let kept = kept.rfind(' ').map_or(0, |blank| blank + 1);
                self.draft.truncate(kept);
            }
            Action::EraseLine => self.draft.clear(),
            Action::Submit => return self.submit(now),
        }
        None
    }

    /// Leaves what lies over the screen, else the zoom.
    fn close(&mut self) {
        if self.mode == Mode::Browse {
            self.zoomed = false;
        }
        self.mode = Mode::Browse;
        self.fault = None;
    }

    fn pause(&mut self) {
        self.frozen = match self.frozen {
            Some(_) => None,
            None => Some(self.live.clone()),
        };
    }

    fn go(&mut self, by: usize, down: bool) {
        let last = self.length(self.pane).saturating_sub(1);
        let from = self.chosen(self.pane).unwrap_or(0);
        // The log's newest is its lowest.
        let adds = down != (self.pane == Pane::Log);
        self.cursors[self.pane as usize] =
            if adds { from.saturating_add(by).min(last) } else { from.saturating_sub(by) };
    }

    fn enter(&mut self) {
        match self.pane {
            Pane::Filters => {
                if let Some(next) = self.chosen_filter().map(To::next_of) {
                    self.ask(next);
                }
            }
            Pane::Log => {
                let log = &self.shown().log;
                let event = self.chosen(Pane::Log).and_then(|back| log.iter().nth_back(back));
                if let Some(event) = event {
                    self.mode = Mode::Event(Box::new(event.as_ref().clone()));
                }
            }
            Pane::Flows | Pane::Drops => self.zoomed = !self.zoomed,
        }
    }

    /// How commands for the instance begin.
    pub fn fwx(&self) -> String {
        self.shown().figures.as_ref().map_or_else(|| "fwx".to_owned(), |figures| figures.fwx())
    }

    fn chosen_filter(&self) -> Option<&FilterStatus> {
        self.filters().get(self.chosen(Pane::Filters)?)
    }

    /// Asks whether the chosen filter is to be bound so.
    fn ask(&mut self, to: To) {
        if self.pane != Pane::Filters {
            let text = "choose a protocol first: Tab leads to the filters".to_owned();
            self.notice = Some(Notice { text, bad: true });
            return;
        }
        let Some(filter) = self.chosen_filter() else { return };
        let last = self.bound.get(&filter.protocol).copied();
        match Change::new(&self.fwx(), filter, to, last) {
            Ok(change) => self.mode = Mode::Question(change),
            Err(error) => self.take_outcome(Err(error.to_string())),
        }
    }

    fn answer_yes(&mut self) -> Option<Effect> {
        match std::mem::take(&mut self.mode) {
            Mode::Question(change) => Some(Effect::Change(change)),
            other => {
                self.mode = other;
                None
            }
        }
    }

    fn write(&mut self, character: char) {
        self.fault = None;
        if !character.is_control() && self.draft.chars().count() < LINE_MAX {
            self.draft.push(character);
        }
    }

    /// Puts the line in force that was written, if it is a good one.
    fn submit(&mut self, now: i128) -> Option<Effect> {
        match filter_line::parse(&self.draft, now) {
            Ok(criteria) => {
                self.line = self.draft.trim().to_owned();
                self.mode = Mode::Browse;
                self.live.forget_log();
                // Who asks for other events wants to see them.
                if let Some(frozen) = &mut self.frozen {
                    frozen.forget_log();
                }
                self.cursors[Pane::Log as usize] = 0;
                self.pane = Pane::Log;
                Some(Effect::Subscribe(Box::new(criteria)))
            }
            Err(error) => {
                self.fault = Some(error.to_string());
                None
            }
        }
    }
}

fn neighbour(pane: Pane, by: usize) -> Pane {
    Pane::ALL[(pane as usize + by) % Pane::ALL.len()]
}

#[cfg(test)]
mod tests;
