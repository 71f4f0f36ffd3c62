//! Keeping a protocol's number when the policy changes.
//!
//! Live flows remember the number of the protocol they began under, and by it the filter that reads them. A
//! new policy that counted its protocols anew would hand them another protocol's filter. So a protocol keeps
//! its number for as long as it keeps its name, and the number of one that is gone stays free while any other
//! is to be had.

use anyhow::{Result, bail};
use firewall_common::policy::PROTOCOLS_MAX;

use crate::{instance::ProtocolState, policy::Compiled};

/// Gives the protocols of `policy`, which stand in `protocols` in the order they were numbered, the numbers
/// that those of the same name have in `old`. Returns the protocols by their new numbers; a number that is
/// not in use has a protocol without a name.
///
/// # Errors
///
/// More protocols than numbers.
pub fn keep_numbers(
    policy: &mut Compiled,
    protocols: Vec<ProtocolState>,
    old: &[ProtocolState],
) -> Result<Vec<ProtocolState>> {
    let mut by_number: Vec<Option<ProtocolState>> = vec![None; PROTOCOLS_MAX];
    let mut new_numbers = vec![0u8; protocols.len() + 1];
    let position = |name: &str| old.iter().position(|known| known.name == name);
    // Numbers never used come before those of protocols that are gone.
    let fresh = (old.len() + 1..PROTOCOLS_MAX).chain(1..=old.len());
    for (index, protocol) in protocols.iter().enumerate() {
        if let Some(number) = position(&protocol.name).map(|index| index + 1) {
            new_numbers[index + 1] = u8::try_from(number)?;
            by_number[number] = Some(protocol.clone());
        }
    }
    for (index, protocol) in protocols.into_iter().enumerate() {
        if new_numbers[index + 1] != 0 {
            continue;
        }
        let Some(number) = fresh.clone().find(|number| by_number[*number].is_none()) else {
            bail!("there are more protocols than {}", PROTOCOLS_MAX - 1);
        };
        new_numbers[index + 1] = u8::try_from(number)?;
        by_number[number] = Some(protocol);
    }
    let renumbered = |number: u8| new_numbers.get(usize::from(number)).copied().unwrap_or(0);

    for rule in &mut policy.rules {
        let before = std::mem::take(&mut rule.protocols);
        for number in 0..PROTOCOLS_MAX {
            if before[number / 64] >> (number % 64) & 1 == 1 {
                let new = usize::from(renumbered(u8::try_from(number)?));
                rule.protocols[new / 64] |= 1 << (new % 64);
            }
        }
    }
    for entry in &mut policy.protocol_by_port {
        entry.protocol = renumbered(entry.protocol);
    }
    for (number, _) in &mut policy.bindings {
        *number = renumbered(*number);
    }
    let used = by_number.iter().rposition(Option::is_some).unwrap_or(0);
    let nameless =
        || ProtocolState { name: String::new(), transport: String::new(), ports: Vec::new() };
    Ok(by_number.into_iter().take(used + 1).skip(1).map(|it| it.unwrap_or_else(nameless)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    fn state(names: &[&str]) -> Vec<ProtocolState> {
        let protocol = |name: &&str| ProtocolState {
            name: (*name).to_owned(),
            transport: "tcp".to_owned(),
            ports: Vec::new(),
        };
        names.iter().map(protocol).collect()
    }

    fn policy() -> Compiled {
        let text = "[gateway]\ninterfaces = [\"lan0\"]\n\
            [protocol.web]\ntransport = \"tcp\"\nports = [80]\n\
            [protocol.rtsp]\ntransport = \"tcp\"\nports = [554]\nfilter = \"rtsp\"\n\
            [[rule]]\nname = \"r\"\naction = \"allow\"\nprotocols = [\"rtsp\"]\n";
        Policy::parse("test", text).expect("a good policy").compile()
    }

    fn names(protocols: &[ProtocolState]) -> Vec<&str> {
        protocols.iter().map(|protocol| protocol.name.as_str()).collect()
    }

    #[test]
    fn a_protocol_keeps_its_number_and_what_hangs_on_it() {
        let mut compiled = policy();
        let protocols = state(&["web", "rtsp"]);
        let kept = keep_numbers(&mut compiled, protocols, &state(&["rtsp", "gone"])).unwrap();
        // rtsp was 1 and stays so; web gets 3, because flows may still have the 2 of what is gone.
        assert_eq!(names(&kept), ["rtsp", "", "web"]);
        let port =
            |port| compiled.protocol_by_port.iter().find(|e| e.port == port).unwrap().protocol;
        assert_eq!((port(554), port(80)), (1, 3));
        assert_eq!(compiled.rules[0].protocols[0], 1 << 1);
        let bound: Vec<_> =
            compiled.bindings.iter().filter(|(_, b)| b.filter != 0).map(|(n, _)| *n).collect();
        assert_eq!(bound, [1]);
    }

    #[test]
    fn without_an_old_policy_nothing_changes() {
        let (mut compiled, before) = (policy(), policy());
        let kept = keep_numbers(&mut compiled, state(&["web", "rtsp"]), &[]).unwrap();
        assert_eq!(names(&kept), ["web", "rtsp"]);
        assert_eq!(format!("{compiled:?}"), format!("{before:?}"));
    }
}
