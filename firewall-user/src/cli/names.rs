//! Names that nothing has: who mistypes one is told, and not left with nothing.

use firewall_user::{
    event::{Names, transport},
    events::Criteria,
    instance::Instance,
};

/// Says on standard error which names of `criteria` nothing of the instance has, as far as that can be looked at.
pub(super) fn warn_of_unknown(instance: &Instance, criteria: &Criteria) {
    let Ok(Some(state)) = instance.state() else { return };
    for warning in unknown(criteria, &Names::of(instance, &state)) {
        eprintln!("fwx: {warning}");
    }
}

/// A sentence for each criterion with values that nothing has.
fn unknown(criteria: &Criteria, names: &Names) -> Vec<String> {
    let Criteria { rule, protocol, interface, .. } = criteria;
    let named = |list: &[String]| -> Vec<String> {
        list.iter().filter(|name| !name.is_empty()).cloned().collect()
    };
    let interfaces: Vec<_> = names.interfaces.iter().map(|(_, name)| name.clone()).collect();
    let rules = [named(&names.rules), vec!["default".to_owned()]].concat();
    [
        ("rule", rule, rules),
        ("protocol", protocol, named(&names.protocols)),
        ("interface", interface, interfaces),
    ]
    .into_iter()
    .filter_map(|(option, asked, known)| unknown_of(option, asked, &known))
    .collect()
}

fn unknown_of(option: &str, asked: &[String], known: &[String]) -> Option<String> {
    let is_known = |name: &&str| {
        known.iter().any(|it| it == name) || option == "protocol" && is_transport(name)
    };
    let names = asked.iter().map(|name| name.strip_prefix('!').unwrap_or(name));
    let missing: Vec<_> = names.filter(|name| !is_known(name)).collect();
    if missing.is_empty() {
        return None;
    }
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Some(format!("there is no {option} {}; there is: {known}", missing.join(", ")))
}

/// Whether an event may have it as its transport.
fn is_transport(name: &str) -> bool {
    (0..=u8::MAX).any(|number| transport(number) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nothing_has_are_told_with_those_that_there_are() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let names = Names {
            rules: list(&["cameras", "", "no-web"]),
            protocols: list(&["rtsp"]),
            interfaces: vec![(2, "lan0".to_owned())],
            ..Names::default()
        };
        let criteria = Criteria {
            rule: list(&["camera", "!default", "!no-wep"]),
            protocol: list(&["rtsp", "tcp", "47", "icmpv6"]),
            interface: list(&["wan0"]),
            ..Criteria::default()
        };
        assert_eq!(
            unknown(&criteria, &names),
            [
                "there is no rule camera, no-wep; there is: cameras, no-web, default",
                "there is no interface wan0; there is: lan0",
            ]
        );
        assert_eq!(unknown(&Criteria::default(), &Names::default()), [""; 0]);
    }
}
