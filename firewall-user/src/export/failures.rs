//! Which exports began to fail and which work again, told once.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::ExportStatus;

/// An export is told of no more often: to tell of it may be what fails next.
const PERIOD: Duration = Duration::from_secs(60);

/// What was told.
#[derive(Debug, Default)]
pub struct Failures(BTreeMap<String, Told>);

#[derive(Debug)]
struct Told {
    fails: bool,
    at: Instant,
}

impl Failures {
    /// What there is to tell at `now`: a sentence for each export that does not do as it was told last.
    pub fn news(&mut self, exports: &[ExportStatus], now: Instant) -> Vec<String> {
        self.0.retain(|name, _| exports.iter().any(|export| export.name == *name));
        exports.iter().filter_map(|export| self.look(export, now)).collect()
    }

    fn look(&mut self, export: &ExportStatus, now: Instant) -> Option<String> {
        let failure = export.condition.failure.as_deref();
        let fails = failure.is_some();
        match self.0.get(&export.name) {
            None if !fails => return None,
            Some(told) if told.fails == fails => return None,
            Some(told) if now.duration_since(told.at) < PERIOD => return None,
            _ => {}
        }
        self.0.insert(export.name.clone(), Told { fails, at: now });
        let ExportStatus { name, kind, to, .. } = export;
        Some(match failure {
            Some(failure) => format!("export {name} ({kind} {to}) cannot send: {failure}"),
            None => format!("export {name} ({kind} {to}) sends again"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::Condition;

    fn export(failure: Option<&str>) -> ExportStatus {
        ExportStatus {
            name: "siem".to_owned(),
            kind: "syslog".to_owned(),
            to: "udp://192.0.2.7:514".to_owned(),
            lost: 0,
            condition: Condition { sent: 1, failed: 2, failure: failure.map(str::to_owned) },
        }
    }

    #[test]
    fn a_failure_is_told_once_and_so_is_its_end() {
        let mut failures = Failures::default();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let none: [&str; 0] = [];
        assert_eq!(failures.news(&[export(None)], at(0)), none);
        let told = ["export siem (syslog udp://192.0.2.7:514) cannot send: refused"];
        assert_eq!(failures.news(&[export(Some("refused"))], at(1)), told);
        assert_eq!(failures.news(&[export(Some("timed out"))], at(2)), none);
        assert_eq!(failures.news(&[export(None)], at(3)), none, "it may fail again at once");
        let told = ["export siem (syslog udp://192.0.2.7:514) sends again"];
        assert_eq!(failures.news(&[export(None)], at(61)), told);
        assert_eq!(failures.news(&[export(Some("refused"))], at(62)), none);
        assert_eq!(failures.news(&[], at(63)), none);
        assert_eq!(
            failures.news(&[export(Some("refused"))], at(64)).len(),
            1,
            "another of its name"
        );
    }
}
