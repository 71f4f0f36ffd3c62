//! Whether what was measured is what was meant: the firewall's own counters have to agree.

use anyhow::{Result, ensure};
use firewall_common::{
    layout::{Counter, FilterCounters},
    reason::Reason,
};
use firewall_user::tables::Tables;

use super::subject::{Outcome, Program, Subject};

/// Protocols of the policy that the programs have.
const PROTOCOLS: std::ops::RangeInclusive<u16> = 1..=3;

/// The counters that tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    packets: u64,
    opened: u64,
    completed: u64,
    filter: FilterCounters,
    /// Of each reason but "none", how often it was one.
    reasons: Vec<(Reason, u64)>,
}

impl Proof {
    pub(super) fn take(tables: &Tables) -> Result<Self> {
        let mut filter = FilterCounters::default();
        for protocol in PROTOCOLS {
            let of = tables.filter_counters(protocol)?;
            filter.segments += of.segments;
            filter.findings += of.findings;
            filter.kills += of.kills;
            filter.held += of.held;
        }
        let reasons = Reason::ALL.iter().filter(|reason| **reason != Reason::None);
        Ok(Self {
            packets: tables.counter(Counter::IngressPackets)?,
            opened: tables.counter(Counter::FlowsOpened)?,
            completed: tables.counter(Counter::FlowsCompleted)?,
            filter,
            reasons: reasons
                .map(|&reason| Ok((reason, tables.reason_count(reason)?)))
                .collect::<Result<_>>()?,
        })
    }

    /// Checks that since `before` nothing but `runs` runs of the subject happened, each as it had to.
    pub(super) fn check(&self, before: &Self, subject: Subject, runs: u32) -> Result<()> {
        let expected = before.after(subject, u64::from(runs));
        ensure!(
            *self == expected,
            "{runs} runs of \"{}\" did something else:\n{self:?}\nwhere this had to be:\n{expected:?}",
            subject.name()
        );
        Ok(())
    }

    fn after(&self, subject: Subject, runs: u64) -> Self {
        let Outcome { refused, opens, completes, is_read } = subject.outcome();
        let is_fwx = [Program::Ingress, Program::StepIngress].contains(&subject.program());
        let of_all = |all: bool| if all { runs } else { 0 };
        let mut after = self.clone();
        after.packets += of_all(is_fwx);
        after.opened += of_all(opens);
        after.completed += of_all(completes);
        after.filter.segments += of_all(is_read);
        for (reason, count) in &mut after.reasons {
            *count += of_all(refused == Some(*reason));
        }
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Proof {
        Proof {
            packets: 7,
            opened: 0,
            completed: 0,
            filter: FilterCounters::default(),
            reasons: vec![(Reason::TcpNotSyn, 0), (Reason::PolicyRulesDenied, 0)],
        }
    }

    #[test]
    fn a_drop_counts_by_its_reason_only() {
        let (before, mut now) = (nothing(), nothing());
        now.packets = 17;
        now.reasons = vec![(Reason::TcpNotSyn, 10), (Reason::PolicyRulesDenied, 0)];
        assert!(now.check(&before, Subject::NotSyn, 10).is_ok());
        assert!(now.check(&before, Subject::Denied, 10).is_err());
        assert!(now.check(&before, Subject::NotSyn, 11).is_err());
    }

    #[test]
    fn what_passes_must_not_leave_a_trace() {
        let (before, mut now) = (nothing(), nothing());
        now.packets = 17;
        assert!(now.check(&before, Subject::Ack, 10).is_ok());
        assert!(now.check(&before, Subject::Completion, 10).is_err(), "no flow was completed");
        assert!(now.check(&before, Subject::Floor, 10).is_err(), "the floor is not the firewall's");
        now.filter.held = 1;
        assert!(now.check(&before, Subject::Ack, 10).is_err());
    }
}
