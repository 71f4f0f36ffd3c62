//! What fwx prints with `-o json`: the parts that tests look at. Other members may be there.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// `fwx status`.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// The instance's name.
    pub instance: String,
    /// Whether its programs are attached.
    pub attached: bool,
    /// Whether a controller runs.
    pub controller: Controller,
    /// The policy file.
    pub policy: Option<String>,
    /// A policy that waits for `fwx confirm`.
    pub pending: Option<Pending>,
    /// The interfaces of the policy.
    #[serde(default)]
    pub interfaces: Vec<InterfaceStatus>,
    /// Those of them that are not there.
    #[serde(default)]
    pub awaited: Vec<String>,
    /// Flows at this moment.
    #[serde(default)]
    pub flows: Flows,
    /// Packets dropped, by reason.
    #[serde(default)]
    pub drops: BTreeMap<String, u64>,
    /// Packets seen.
    #[serde(default)]
    pub packets: Packets,
    /// Pinholes so far.
    #[serde(default)]
    pub pinholes: Pinholes,
    /// The shortcut so far.
    #[serde(default)]
    pub shortcut: Shortcut,
    /// Where events and metrics go.
    #[serde(default)]
    pub exports: Vec<ExportStatus>,
}

/// An export and how it is doing.
#[derive(Clone, Debug, Deserialize)]
pub struct ExportStatus {
    /// Its name.
    pub name: String,
    /// What went out.
    pub sent: u64,
    /// What did not.
    pub failed: u64,
    /// What came faster than it went out.
    pub lost: u64,
    /// Why nothing can be sent now.
    pub failure: Option<String>,
}

/// A policy that waits for `fwx confirm`.
#[derive(Clone, Debug, Deserialize)]
pub struct Pending {
    /// What is in force until then.
    pub policy: String,
    /// What comes in force then.
    pub before: String,
    /// Seconds left.
    pub seconds_left: u64,
    /// Whether its own process looks after it.
    pub watched: bool,
}

/// The shortcut past the kernel's stack.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Shortcut {
    /// Whether the policy wants it.
    pub wanted: bool,
    /// Packets of proven flows that went the long way, by reason.
    pub long_ways: BTreeMap<String, u64>,
}

/// The shortcut at an interface.
#[derive(Clone, Debug, Deserialize)]
pub struct ShortcutThere {
    /// `tcp and udp`, `udp` or `none`.
    pub comes_in: String,
    /// Whether packets may leave there by it.
    pub goes_out: bool,
    /// Why not all.
    pub why: Vec<String>,
}

/// Pinholes, counted since the programs were attached.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Pinholes {
    /// Those that were opened.
    pub opened: u64,
    /// Those that found no room.
    pub refused: u64,
    /// Connections that came by one.
    pub flows: u64,
}

/// The controller of an instance.
#[derive(Clone, Debug, Deserialize)]
pub struct Controller {
    /// Whether there is one.
    pub running: bool,
    /// Its process id.
    pub pid: Option<u32>,
}

/// An interface of an instance.
#[derive(Clone, Debug, Deserialize)]
pub struct InterfaceStatus {
    /// The device's name.
    pub name: String,
    /// `native`, `generic` or `tc`.
    pub ingress: String,
    /// `tcx` or `clsact`.
    pub egress: String,
    /// Why this mode and not a better one.
    #[serde(default)]
    pub why: String,
    /// Where the policy wants it.
    pub shortcut: Option<ShortcutThere>,
}

/// Flows of both families.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Flows {
    /// IPv4.
    pub ipv4: FamilyFlows,
    /// IPv6.
    pub ipv6: FamilyFlows,
}

/// Flows of one family.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct FamilyFlows {
    /// Answered by the other side.
    pub completed: u64,
    /// Not answered yet.
    pub half_open: u64,
}

/// Packets seen since the programs were attached.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Packets {
    /// Coming in.
    pub ingress: u64,
    /// Going out.
    pub egress: u64,
}

/// A line of `fwx filter list`.
#[derive(Clone, Debug, Deserialize)]
pub struct Binding {
    /// The protocol's name in the policy.
    pub protocol: String,
    /// The filter bound to it; `None` when it is unbound.
    pub filter: Option<String>,
    /// `enforce`, `monitor` or `off`.
    pub mode: Option<String>,
    /// `standard` or `strict`.
    pub profile: Option<String>,
    /// Connections killed so far.
    #[serde(default)]
    pub kills: u64,
    /// Findings reported so far.
    #[serde(default)]
    pub findings: u64,
    /// Segments read so far.
    #[serde(default)]
    pub segments: u64,
    /// Segments held back so far.
    #[serde(default)]
    pub held: u64,
}

/// A line of `fwx conn list`.
#[derive(Clone, Debug, Deserialize)]
pub struct Connection {
    /// The flow's number.
    pub flow_id: u64,
    /// `tcp`, `udp` and so on.
    pub transport: String,
    /// The flow's state.
    pub state: String,
    /// Address of the end that began it.
    pub src_ip: IpAddr,
    /// Its port.
    pub src_port: Option<u16>,
    /// Address of the other end.
    pub dst_ip: IpAddr,
    /// Its port.
    pub dst_port: Option<u16>,
    /// Number of the connection that announced it.
    pub parent: Option<u64>,
}

/// A line of `fwx filter pinholes`.
#[derive(Clone, Debug, Deserialize)]
pub struct Pinhole {
    /// Number of the connection that announced it.
    pub parent: u64,
    /// `udp` or `tcp`.
    pub transport: String,
    /// Address that the first packet has to come from.
    pub src_ip: IpAddr,
    /// Port that it has to come from; `None`: any.
    pub src_port: Option<u16>,
    /// Address that it has to go to.
    pub dst_ip: IpAddr,
    /// Port that it has to go to.
    pub dst_port: u16,
    /// Seconds until it is closed.
    pub expires_in_s: u64,
}

/// A line of `fwx events`.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// `connection_killed` and so on.
    #[serde(rename = "event")]
    pub kind: String,
    /// Unique within the instance.
    pub event_id: u64,
    /// The name of a reason code.
    pub reason: Option<String>,
    /// The reason code itself.
    pub code: Option<String>,
    /// The instance that reports it.
    pub instance: Option<String>,
    /// The flow's number.
    pub flow_id: Option<u64>,
    /// Where the packet was seen.
    pub interface: Option<String>,
    /// The name of a protocol of the policy.
    pub protocol: Option<String>,
    /// The name of the rule that let the flow in or refused it; `None`: the default.
    pub rule: Option<String>,
    /// The packet's source port.
    pub src_port: Option<u16>,
    /// The packet's destination port.
    pub dst_port: Option<u16>,
    /// What the filter found.
    pub filter: Option<Finding>,
    /// The `event_id` of the kill that explains this drop.
    pub caused_by: Option<u64>,
    /// Whether it is about a flow whose beginning was not seen.
    #[serde(default)]
    pub adopted: bool,
    /// The whole line.
    #[serde(skip)]
    pub line: String,
}

/// What a filter found.
#[derive(Clone, Debug, Deserialize)]
pub struct Finding {
    /// The filter's name.
    pub name: String,
    /// The mode that it was in.
    pub mode: Option<String>,
    /// Which rule of the filter was broken, e.g. `missing-cseq`.
    pub finding: Option<String>,
    /// Where in the stream, in bytes.
    pub offset: Option<u64>,
    /// What stood there.
    pub excerpt: Option<String>,
}

impl Event {
    /// Whether it is a drop with `reason`.
    pub fn is_drop(&self, reason: &str) -> bool {
        self.kind == "packet_dropped" && self.reason.as_deref() == Some(reason)
    }

    /// Whether it is about a connection or packet between these two ports.
    pub fn is_between_ports(&self, a: u16, b: u16) -> bool {
        let ports = (self.src_port, self.dst_port);
        ports == (Some(a), Some(b)) || ports == (Some(b), Some(a))
    }

    pub(super) fn parse_lines(text: &str) -> Result<Vec<Self>> {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        lines
            .map(|line| {
                let event: Event =
                    serde_json::from_str(line).with_context(|| format!("not an event: {line}"))?;
                Ok(Event { line: line.to_owned(), ..event })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_of_the_documentation_is_understood() {
        let line = r#"{"timestamp":"2026-01-02T03:04:05.678901234Z","event":"connection_killed",
            "event_id":42,"reason":"FWX_E_CONNECTION_KILLED","code":"0x80074e24","flow_id":7,
            "interface":"lan0","direction":"original","protocol":"rtsp","transport":"tcp",
            "src_ip":"10.1.0.2","src_port":58907,"dst_ip":"10.2.0.2","dst_port":554,
            "tcp":{"flags":"PA","seq":1001,"ack":5,"window":64240,"expected":[1001,65001]},
            "filter":{"name":"rtsp","mode":"enforce","profile":"strict","finding":"missing-cseq",
                      "offset":128,"excerpt":"DESCRIBE rtsp://…"},
            "rule":"cameras","caused_by":null,"suppressed":0}"#
            .replace('\n', "");
        let events = Event::parse_lines(&line).unwrap();
        assert_eq!(events.len(), 1);
        assert!(events[0].is_between_ports(554, 58907));
        assert_eq!(events[0].filter.as_ref().unwrap().offset, Some(128));
        assert_eq!(events[0].line, line);
    }

    #[test]
    fn status_is_understood() {
        let status: Status = serde_json::from_str(
            r#"{"instance":"x","attached":true,"controller":{"running":true,"pid":1},
                "interfaces":[{"name":"lan0","index":3,"ingress":"tc","egress":"tcx","why":"veth"}],
                "flows":{"ipv4":{"completed":1,"half_open":0},"ipv6":{"completed":0,"half_open":2}},
                "drops":{"FWX_E_TCP_NOT_SYN_PACKET_DROPPED":1},
                "packets":{"ingress":5,"egress":4}}"#,
        )
        .unwrap();
        assert_eq!(status.flows.ipv6.half_open, 2);
        assert_eq!(status.drops["FWX_E_TCP_NOT_SYN_PACKET_DROPPED"], 1);
    }
}
