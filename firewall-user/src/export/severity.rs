//! How grave an event is, for receivers that ask: one table for syslog and OpenTelemetry.

use firewall_common::{event::EventKind, reason::Reason};

use crate::event::Event;

/// How grave an event is, by the names and numbers of syslog (RFC 5424, table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The firewall refuses what it was meant to let pass: a table is full, a part of it is missing.
    Error = 3,
    /// Something that its owner did not wish for: an attack, a connection that was killed.
    Warning = 4,
    /// The firewall does what it is there for, or was told to do something else.
    Notice = 5,
    /// What passes, and ends.
    Informational = 6,
}

impl Severity {
    /// How grave `event` is. A kind that is not known is a [`Severity::Notice`].
    pub fn of(event: &Event) -> Self {
        if let Some(severity) = event.reason().and_then(by_reason) {
            return severity;
        }
        match event.kind() {
            Some(EventKind::ConnectionOpened | EventKind::ConnectionClosed) => Self::Informational,
            Some(EventKind::ConnectionKilled) => Self::Warning,
            Some(EventKind::PacketDropped | EventKind::FilterFinding) | None => Self::Notice,
        }
    }

    /// Its number in syslog, 0 to 7.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its name in syslog.conf(5).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "err",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Informational => "info",
        }
    }
}

/// Reasons that say more about it than the kind of event does.
fn by_reason(reason: Reason) -> Option<Severity> {
    match reason {
        Reason::OutOfResources
        | Reason::FilterUnavailable
        | Reason::Internal
        | Reason::NoPolicy => Some(Severity::Error),
        Reason::SynAttackStart | Reason::LandAttack | Reason::Spoofing => Some(Severity::Warning),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn severity(kind: &str, reason: Reason) -> Severity {
        let event = Event::control(1, None, 0, reason, String::new());
        Severity::of(&Event { event: kind.to_owned(), ..event })
    }

    #[test]
    fn a_kill_is_graver_than_a_drop_and_a_drop_than_an_end() {
        let killed = severity("connection_killed", Reason::ConnectionKilled);
        let dropped = severity("packet_dropped", Reason::PolicyRulesDenied);
        let closed = severity("connection_closed", Reason::GracefulShutdown);
        assert_eq!([killed.number(), dropped.number(), closed.number()], [4, 5, 6]);
    }

    #[test]
    fn what_the_firewall_fails_at_is_an_error() {
        assert_eq!(severity("packet_dropped", Reason::OutOfResources), Severity::Error);
        assert_eq!(severity("packet_dropped", Reason::Internal).name(), "err");
    }

    #[test]
    fn what_the_controller_says_is_a_notice_unless_it_is_an_attack() {
        assert_eq!(severity("control", Reason::None), Severity::Notice);
        assert_eq!(severity("control", Reason::SynAttackStart), Severity::Warning);
        assert_eq!(severity("control", Reason::SynAttackEnd), Severity::Notice);
        assert_eq!(severity("of a later version", Reason::None), Severity::Notice);
    }
}
