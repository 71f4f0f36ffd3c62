//! A rule, as text to be pasted into a policy, that lets in what was refused.

use std::net::IpAddr;

use super::tell;
use crate::{event::Event, policy::Policy};

/// The lines that let in what `event` is of, and no more than what it says: one source, one destination, one protocol.
/// What `policy` has already is not repeated. `None`: the event does not say enough.
pub(super) fn rule(event: &Event, policy: Option<&Policy>) -> Option<String> {
    let [(source, _), (destination, port)] = tell::ends(event)?;
    let protocol = Protocol::of(event, port)?;
    let (from, to) = (network(source), network(destination));
    let mut lines = String::new();
    if let Some(rule) = &event.rule {
        lines += &format!("# It has to stand before the rule {rule:?}.\n");
    }
    let networks = policy.map_or(&[][..], Policy::networks);
    for (name, address) in [(&from, source), (&to, destination)] {
        let is_there = networks.iter().any(|known| known.name == *name);
        if !is_there && !lines.contains(&format!("[network.{name}]")) {
            lines += &format!("[network.{name}]\nprefixes = [\"{}\"]\n\n", prefix(address));
        }
    }
    let protocols = policy.map_or(&[][..], Policy::protocols);
    if !protocols.iter().any(|known| known.name == protocol.name) {
        lines += &protocol.table.unwrap_or_default();
    }
    let named = &protocol.name;
    lines += &format!(
        "[[rule]]\nname = \"{named} from {source} to {destination}\"\naction = \"allow\"\n\
         from = [\"{from}\"]\nto = [\"{to}\"]\nprotocols = [\"{named}\"]\n"
    );
    Some(lines)
}

/// An address as a prefix of it alone.
pub(super) fn prefix(address: IpAddr) -> String {
    ipnet::IpNet::from(address).to_string()
}

/// Whether policies can have such a name; what comes from a file may be anything.
pub(super) fn is_name(text: &str) -> bool {
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= 64 && !text.starts_with('-') && text.bytes().all(may_stand)
}

/// A name for the network of one address.
fn network(address: IpAddr) -> String {
    format!("host-{}", address.to_string().replace(['.', ':'], "-"))
}

struct Protocol {
    name: String,
    /// What declares it; `None`: the policy has it.
    table: Option<String>,
}

impl Protocol {
    fn of(event: &Event, port: Option<u16>) -> Option<Self> {
        if let Some(name) = event.protocol.as_ref().filter(|name| is_name(name)) {
            return Some(Self { name: name.clone(), table: None });
        }
        let transport = event.transport.as_deref()?;
        let (name, keys) = match (transport, port) {
            ("tcp" | "udp", Some(port @ 1..)) => (
                format!("{transport}-{port}"),
                format!("transport = \"{transport}\"\nports = [{port}]\n"),
            ),
            ("tcp" | "udp", _) => return None,
            ("icmp" | "icmpv6", _) => {
                (format!("any-{transport}"), format!("transport = \"{transport}\"\n"))
            }
            (number, _) => {
                let number: u8 = number.parse().ok()?;
                (format!("ip-{number}"), format!("transport = {number}\n"))
            }
        };
        let table = format!("[protocol.{name}]\n{keys}\n");
        Some(Self { name, table: Some(table) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::why::clean::clean;

    const DENYING: &str = "[gateway]\ninterfaces = [\"lan0\"]\ndefault = \"deny\"\n";

    fn refused(transport: &str, [source, destination]: [IpAddr; 2], port: Option<u16>) -> Event {
        let json = serde_json::json!({
            "timestamp": "2026-01-02T03:04:05.000000000Z", "event": "packet_dropped", "event_id": 1,
            "transport": transport, "src_ip": source, "dst_ip": destination, "dst_port": port,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn the_rule_lets_in_what_was_refused() {
        let v4 = ["10.1.0.2", "10.2.0.2"].map(|text| text.parse().unwrap());
        let v6 = ["fd00:1::2", "fd00:2::2"].map(|text| text.parse().unwrap());
        for (transport, ends, port, probe) in [
            ("tcp", v4, Some(80), "tcp 10.1.0.2:4000 -> 10.2.0.2:80"),
            ("udp", v6, Some(53), "udp [fd00:1::2]:4000 -> [fd00:2::2]:53"),
            ("icmp", v4, None, "icmp echo-request 10.1.0.2 -> 10.2.0.2"),
            ("47", v4, None, "47 10.1.0.2 -> 10.2.0.2"),
        ] {
            let before = Policy::parse("before", DENYING).unwrap();
            let probe = probe.parse().unwrap();
            assert_eq!(before.explain(&probe, &[]).decision, "deny");
            let lines = rule(&refused(transport, ends, port), Some(&before)).unwrap();
            let after = Policy::parse("after", &format!("{DENYING}\n{lines}"));
            let after = after.unwrap_or_else(|error| panic!("{lines}\n{}", error.render(false)));
            assert_eq!(after.explain(&probe, &[]).decision, "allow", "{lines}");
            let again = rule(&refused(transport, ends, port), Some(&after)).unwrap();
            assert!(!again.contains("[network.") && !again.contains("[protocol."), "{again}");
        }
    }

    #[test]
    fn a_protocol_of_the_policy_is_named_and_what_refused_it_is_said() {
        let ends = ["10.1.0.2", "10.2.0.2"].map(|text| text.parse().unwrap());
        let event = Event {
            protocol: Some("web".to_owned()),
            rule: Some("no-web".to_owned()),
            ..refused("tcp", ends, Some(80))
        };
        let lines = rule(&event, None).unwrap();
        assert!(lines.starts_with("# It has to stand before the rule \"no-web\".\n"), "{lines}");
        assert!(
            lines.contains("protocols = [\"web\"]") && !lines.contains("[protocol."),
            "{lines}"
        );
    }

    proptest! {
        #[test]
        fn whatever_an_event_holds_the_rule_is_one(
            transport in prop_oneof!["tcp|udp|icmp|icmpv6|47", any::<String>()],
            protocol in prop::option::of(any::<String>()),
            rule_name in prop::option::of(any::<String>()),
            source in any::<IpAddr>(),
            destination in any::<IpAddr>(),
            port in prop::option::of(any::<u16>()),
        ) {
            let event = clean(Event {
                protocol: protocol.clone(),
                rule: rule_name,
                ..refused(&transport, [source, destination], port)
            });
            let Some(lines) = rule(&event, None) else { return Ok(()) };
            let table: toml::Table = lines.parse().unwrap();
            prop_assert_eq!(table["rule"].as_array().unwrap().len(), 1);
            prop_assert!(table.keys().all(|key| ["network", "protocol", "rule"].contains(&key.as_str())));
        }
    }
}
