//! Which connections are meant: what the filter options of the command line say.

use std::net::IpAddr;

use anyhow::Result;
use firewall_common::{flow::State, wire::ip_protocol};
use ipnet::IpNet;

use crate::{bad_input, event::Names, flows::Entry};

/// The filter options as they were given. They all have to hold.
#[derive(Clone, Debug, Default)]
pub struct Criteria {
    /// Prefixes or addresses, one of which has an end.
    pub networks: Vec<String>,
    /// Port of either end.
    pub port: Option<u16>,
    /// Protocol of the policy, `tcp`, `udp`, `icmp`, or an IP protocol's number.
    pub protocol: Option<String>,
    /// States, one of which it is in.
    pub states: Vec<String>,
    /// Silent for so many seconds or longer.
    pub idle: Option<u64>,
    /// Also connections without an answer.
    pub half_open: bool,
}

/// The same, understood.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    networks: Vec<IpNet>,
    port: Option<u16>,
    protocol: Option<Protocol>,
    states: Vec<State>,
    idle_ns: u64,
    half_open: bool,
}

#[derive(Clone, Debug)]
enum Protocol {
    /// Number of a protocol of the policy.
    Policy(u16),
    /// IP protocols.
    Ip(Vec<u8>),
}

impl Criteria {
    /// Whether they leave anything out, beside what has no answer.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
            && self.port.is_none()
            && self.protocol.is_none()
            && self.states.is_empty()
            && self.idle.is_none()
    }

    /// What they select, by the names of an instance.
    ///
    /// # Errors
    ///
    /// A network, protocol or state that is none: bad input.
    pub fn selection(&self, names: &Names) -> Result<Selection> {
        Ok(Selection {
            networks: self.networks.iter().map(|text| network(text)).collect::<Result<_>>()?,
            port: self.port,
            protocol: self.protocol.as_ref().map(|text| protocol(text, names)).transpose()?,
            states: self.states.iter().map(|text| state(text)).collect::<Result<_>>()?,
            idle_ns: self.idle.unwrap_or(0).saturating_mul(1_000_000_000),
            half_open: self.half_open,
        })
    }
}

impl Selection {
    /// Whether connections without an answer are meant too: asked for, or by a state that only they have.
    pub fn wants_half_open(&self) -> bool {
        self.half_open || self.states.iter().any(|state| state.is_half_open())
    }

    /// Whether the flow in `entry` is meant. `now`: nanoseconds of the monotonic clock.
    pub fn has(&self, entry: &Entry, now: u64) -> bool {
        let flow = &entry.flow;
        if entry.alias().is_some()
            || now.saturating_sub(flow.last_seen) < self.idle_ns
            || !self.states.is_empty() && !self.states.contains(&flow.state())
        {
            return false;
        }
        match &self.protocol {
            Some(Protocol::Policy(number)) if flow.protocol != *number => return false,
            Some(Protocol::Ip(numbers)) if !numbers.contains(&flow.ip_protocol) => return false,
            _ => {}
        }
        if self.networks.is_empty() && self.port.is_none() {
            return true;
        }
        let ends = entry.endpoints();
        let in_network = |address: IpAddr| {
            self.networks.is_empty() || self.networks.iter().any(|net| net.contains(&address))
        };
        let at_port =
            self.port.is_none_or(|port| entry.has_ports() && ends.iter().any(|e| e.port() == port));
        at_port && ends.iter().any(|end| in_network(end.ip()))
    }
}

fn network(text: &str) -> Result<IpNet> {
    let parsed = text.parse::<IpNet>().ok();
    let Some(network) = parsed.or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?))) else {
        bad_input!("--network {text}: not a prefix such as 10.1.0.0/24 and not an address");
    };
    Ok(network)
}

fn protocol(text: &str, names: &Names) -> Result<Protocol> {
    let named = names.protocols.iter().position(|name| name == text && !name.is_empty());
    if let Some(index) = named {
        return Ok(Protocol::Policy(u16::try_from(index + 1)?));
    }
    let Some(numbers) = ip_protocols(text) else {
        let known: Vec<_> =
            names.protocols.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        bad_input!(
            "--protocol {text}: neither a protocol of the policy ({known}), nor tcp, udp, icmp, or a number from \
             0 to 255"
        );
    };
    Ok(Protocol::Ip(numbers))
}

/// The IP protocols that `text` stands for.
pub(super) fn ip_protocols(text: &str) -> Option<Vec<u8>> {
    Some(match text {
        "tcp" => vec![ip_protocol::TCP],
        "udp" => vec![ip_protocol::UDP],
        "icmp" => vec![ip_protocol::ICMP, ip_protocol::ICMPV6],
        "icmpv6" => vec![ip_protocol::ICMPV6],
        number => vec![number.parse().ok()?],
    })
}

fn state(text: &str) -> Result<State> {
    let all = || (State::SynSent as u8..State::Alias as u8).map(State::from_raw);
    let Some(state) = all().find(|state| state.name().eq_ignore_ascii_case(text)) else {
        let known: Vec<_> = all().map(State::name).collect();
        bad_input!("--state {text}: there is no such state; there are {}", known.join(", "));
    };
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::Key;
    use firewall_common::flow::{Flow, KeyV4};

    const SECOND: u64 = 1_000_000_000;

    fn entry(state: State, ip_protocol: u8, protocol: u16) -> Entry {
        let address = |bytes: [u8; 4]| u32::from_ne_bytes(bytes);
        let key = KeyV4 {
            addresses: [address([10, 1, 0, 2]), address([10, 2, 0, 2])],
            ports: [40_000, 554],
            protocol: ip_protocol.into(),
        };
        let flow = Flow {
            state: state as u8,
            ip_protocol,
            protocol,
            last_seen: 50 * SECOND,
            ..Flow::default()
        };
        Entry { key: Key::V4(key), flow }
    }

    fn criteria() -> Criteria {
        Criteria::default()
    }

    fn names() -> Names {
        Names { protocols: vec!["web".into(), String::new(), "rtsp".into()], ..Names::default() }
    }

    #[test]
    fn every_criterion_has_to_hold() {
        let text = |text: &str| Some(text.to_owned());
        let networks = |list: &[&str]| list.iter().map(|net| (*net).to_owned()).collect();
        for (criteria, expected) in [
            (criteria(), true),
            (Criteria { networks: networks(&["10.2.0.0/24"]), ..criteria() }, true),
            (Criteria { networks: networks(&["10.1.0.2"]), ..criteria() }, true),
            (Criteria { networks: networks(&["10.3.0.0/24"]), ..criteria() }, false),
            (Criteria { networks: networks(&["10.3.0.0/24", "10.0.0.0/8"]), ..criteria() }, true),
            (Criteria { port: Some(554), ..criteria() }, true),
            (Criteria { port: Some(555), ..criteria() }, false),
            (Criteria { protocol: text("rtsp"), ..criteria() }, true),
            (Criteria { protocol: text("web"), ..criteria() }, false),
            (Criteria { protocol: text("tcp"), ..criteria() }, true),
            (Criteria { protocol: text("6"), ..criteria() }, true),
            (Criteria { protocol: text("udp"), ..criteria() }, false),
            (Criteria { states: networks(&["established"]), ..criteria() }, true),
            (Criteria { states: networks(&["CLOSE", "fin_wait"]), ..criteria() }, false),
            (Criteria { idle: Some(10), ..criteria() }, true),
            (Criteria { idle: Some(11), ..criteria() }, false),
            (Criteria { port: Some(554), idle: Some(11), ..criteria() }, false),
        ] {
            let selection = criteria.selection(&names()).unwrap();
            let entry = entry(State::Established, ip_protocol::TCP, 3);
            assert_eq!(selection.has(&entry, 60 * SECOND), expected, "{criteria:?}");
        }
    }

    #[test]
    fn an_alias_is_no_connection_and_an_identifier_no_port() {
        let selection = criteria().selection(&names()).unwrap();
        assert!(!selection.has(&entry(State::Alias, 0, 0), 0));
        let by_port = Criteria { port: Some(40_000), ..criteria() }.selection(&names()).unwrap();
        assert!(!by_port.has(&entry(State::Assured, ip_protocol::ICMP, 0), 0));
    }

    #[test]
    fn what_is_none_is_bad_input() {
        for wrong in [
            Criteria { networks: vec!["10.1.0.0/33".into()], ..criteria() },
            Criteria { protocol: Some("ftp".into()), ..criteria() },
            Criteria { protocol: Some("256".into()), ..criteria() },
            Criteria { states: vec!["open".into()], ..criteria() },
            Criteria { states: vec!["ALIAS".into()], ..criteria() },
        ] {
            let error = wrong.selection(&names()).unwrap_err();
            assert!(error.is::<crate::error::BadInput>(), "{wrong:?}");
        }
        assert!(criteria().is_empty() && Criteria { half_open: true, ..criteria() }.is_empty());
    }

    #[test]
    fn a_state_of_those_without_an_answer_asks_for_them() {
        let wants = |state: &str| {
            let criteria = Criteria { states: vec![state.into()], ..criteria() };
            criteria.selection(&names()).unwrap().wants_half_open()
        };
        assert!(wants("syn_sent") && wants("UNREPLIED") && !wants("ESTABLISHED"));
    }
}
