//! Shorter timeouts while the tables are full: see [`Timeouts::shortened`].

use firewall_common::flow::Timeouts;

use crate::sweep::Fill;

/// How full the tables are, as far as it matters to the timeouts.
#[derive(Debug)]
pub struct Pressure {
    whole: Timeouts,
    percent: u64,
}

/// What has to be done as tables fill or empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The timeouts from now on.
    pub timeouts: Timeouts,
    /// Whether that is worth telling.
    pub told: Option<Told>,
}

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Timeouts begin to be shortened.
    Begins,
    /// They are whole again.
    Ends,
}

impl Pressure {
    /// The policy's timeouts are `whole`, and in force.
    pub const fn new(whole: Timeouts) -> Self {
        Self { whole, percent: Timeouts::WHOLE_PERCENT }
    }

    /// Whether the timeouts have to change, now that the fuller table is as full as that. They do with every
    /// percent.
    pub fn look(&mut self, fill: Fill) -> Option<Change> {
        let percent = fill.percent().max(Timeouts::WHOLE_PERCENT);
        let before = std::mem::replace(&mut self.percent, percent);
        if percent == before {
            return None;
        }
        if percent == Timeouts::WHOLE_PERCENT {
            return Some(Change { timeouts: self.whole, told: Some(Told::Ends) });
        }
        let timeouts = self.whole.shortened(fill.entries, fill.size);
        let told = (before == Timeouts::WHOLE_PERCENT).then_some(Told::Begins);
        Some(Change { timeouts, told })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::FlowTable;
    use firewall_common::flow::Timeout;

    #[test]
    fn timeouts_shorten_as_the_table_fills_and_are_whole_again() {
        let whole = Timeouts::default();
        let mut pressure = Pressure::new(whole);
        let mut at =
            |entries| pressure.look(Fill { table: FlowTable::CompletedV4, entries, size: 1000 });
        assert_eq!(at(10), None);
        assert_eq!(at(609), None, "no whole percent yet");
        let begins = at(800).unwrap();
        assert_eq!(begins.told, Some(Told::Begins));
        let established = whole.get(Timeout::Established);
        assert_eq!(begins.timeouts.get(Timeout::Established), established / 2);
        assert_eq!(at(805), None, "the same percent");
        assert_eq!(at(900).map(|change| change.told), Some(None));
        assert_eq!(at(10), Some(Change { timeouts: whole, told: Some(Told::Ends) }));
        assert_eq!(at(10), None);
    }
}
