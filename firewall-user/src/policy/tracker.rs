//! What a policy says about how connections are tracked: `[tables]`, `[timeouts]` and `[limits]`.

use firewall_common::{
    flow::{Timeout, Timeouts},
    policy::SynAuthentication,
};

use super::{
    Limits, TableSizes,
    document::{self, Section},
    duration::{self, NANOSECONDS_PER_SECOND},
    error::Problems,
    number::Number,
};

/// Most flows without an answer that there may be room for, of one address family.
const HALF_OPEN_MAX: u32 = 4_194_304;
/// Largest limit of new flows a second: more than any gateway can begin.
const PER_SECOND_MAX: u32 = 10_000_000;
const NO_LIMIT: &str = "for no limit write 0, or leave it out";

pub(super) const COMPLETED: Number = Number {
    key: "completed",
    range: 1_024..=16_777_216,
    help: "flows with an answer, of each address family; 1048576 if left out",
};
pub(super) const HALF_OPEN: Number = Number {
    key: "half_open",
    range: 1_024..=HALF_OPEN_MAX,
    help: "flows without an answer, of each address family; 262144 if left out",
};
pub(super) const HALF_OPEN_PER_SOURCE: Number =
    Number { key: "half_open_per_source", range: 0..=HALF_OPEN_MAX, help: NO_LIMIT };
pub(super) const NEW_PER_SECOND_PER_SOURCE: Number =
    Number { key: "new_per_second_per_source", range: 0..=PER_SECOND_MAX, help: NO_LIMIT };
pub(super) const SYN_ATTACK: Number = Number {
    key: "syn_attack",
    range: 0..=PER_SECOND_MAX,
    help: "unanswered new TCP flows a second; 2000 if left out, and with 0 no attack is ever on",
};
pub(super) const REJECT_PER_SECOND: Number = Number {
    key: "reject_per_second",
    range: 1..=PER_SECOND_MAX,
    help: "ICMP errors a second that answer rejects; 100 if left out. For no answers let the rules `deny`",
};
/// Of a rule: most flows without an answer at a time.
pub(super) const RULE_HALF_OPEN: Number =
    Number { key: "half_open", range: 0..=HALF_OPEN_MAX, help: NO_LIMIT };
/// Of a rule: most new flows a second.
pub(super) const RULE_NEW_PER_SECOND: Number =
    Number { key: "new_per_second", range: 0..=PER_SECOND_MAX, help: NO_LIMIT };

/// How much room there is for flows.
pub(super) fn tables(root: &Section<'_, '_>, problems: &mut Problems) -> TableSizes {
    let default = TableSizes::default();
    let Some(section) = root.section("tables", problems) else { return default };
    section.deny_unknown_keys(&[COMPLETED.key, HALF_OPEN.key], problems);
    TableSizes {
        completed: COMPLETED.read(&section, problems).unwrap_or(default.completed),
        half_open: HALF_OPEN.read(&section, problems).unwrap_or(default.half_open),
    }
}

/// How long a flow may be silent.
pub(super) fn timeouts(root: &Section<'_, '_>, problems: &mut Problems) -> Timeouts {
    let mut timeouts = Timeouts::default();
    let Some(section) = root.section("timeouts", problems) else { return timeouts };
    section.deny_unknown_keys(&Timeout::ALL.map(|(_, name)| name), problems);
    for (timeout, name) in Timeout::ALL {
        let Some(value) = section.value(name) else { continue };
        if let Some(seconds) = duration::timeout(name, value, problems) {
            timeouts.set(timeout, seconds * NANOSECONDS_PER_SECOND);
        }
    }
    timeouts
}

/// What may begin, beside what the rules allow.
pub(super) fn limits(root: &Section<'_, '_>, problems: &mut Problems) -> Limits {
    let default = Limits::default();
    let Some(section) = root.section("limits", problems) else { return default };
    let known = [
        HALF_OPEN_PER_SOURCE.key,
        NEW_PER_SECOND_PER_SOURCE.key,
        SYN_ATTACK.key,
        "syn_authentication",
        REJECT_PER_SECOND.key,
    ];
    section.deny_unknown_keys(&known, problems);
    let choices = [SynAuthentication::Off, SynAuthentication::Auto, SynAuthentication::On];
    let choices = choices.map(|choice| (choice.name(), choice));
    let syn_authentication = section
        .value("syn_authentication")
        .and_then(|value| document::choice("syn_authentication", &choices, value, problems));
    let mut read = |number: &Number, default| number.read(&section, problems).unwrap_or(default);
    Limits {
        half_open_per_source: read(&HALF_OPEN_PER_SOURCE, default.half_open_per_source),
        new_per_second_per_source: read(
            &NEW_PER_SECOND_PER_SOURCE,
            default.new_per_second_per_source,
        ),
        syn_attack_per_second: read(&SYN_ATTACK, default.syn_attack_per_second),
        syn_authentication: syn_authentication.unwrap_or(default.syn_authentication),
        reject_per_second: read(&REJECT_PER_SECOND, default.reject_per_second),
    }
}
