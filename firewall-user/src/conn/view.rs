//! Connections as they are shown.

use std::net::{IpAddr, SocketAddr};

use firewall_common::flow::{Flow, Half, Timeout, Timeouts};
use serde::Serialize;

use super::Relations;
use crate::{
    event::{Names, named, transport},
    flows::Entry,
};

const SECOND: u64 = 1_000_000_000;

/// What is needed to show connections.
#[derive(Debug)]
pub struct Viewer {
    /// The names behind their numbers.
    pub names: Names,
    /// The timeouts in force.
    pub timeouts: Timeouts,
    /// The present, nanoseconds of the monotonic clock.
    pub now: u64,
}

/// A number for each direction.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct View<T> {
    /// From the end that began.
    pub original: T,
    /// Towards it.
    pub reply: T,
}

/// A connection. In JSON a field that does not apply is left out.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its number.
    pub flow_id: u64,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, or the number of the IP protocol.
    pub transport: String,
    /// Protocol by the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Its state.
    pub state: &'static str,
    /// The endpoints as the first packet had them.
    #[serde(flatten)]
    pub ends: Ends,
    /// ICMP echo: its identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_id: Option<u16>,
    /// Packets that passed.
    pub packets: View<u64>,
    /// Bytes of the IP packets that passed.
    pub bytes: View<u64>,
    /// Seconds since its first packet.
    pub age_s: u64,
    /// Seconds since its last packet that passed.
    pub idle_s: u64,
    /// Seconds until it is forgotten, if no packet comes.
    pub expires_in_s: u64,
    /// Rule that let it in; left out: the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Interface of its first packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// It was taken over in its midst.
    pub adopted: bool,
    /// The endpoints on the responder's side, where addresses are translated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub translated: Option<Ends>,
    /// Number of the connection that announced it to a filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<u64>,
}

/// Two endpoints, the originator first.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ends {
    /// Address of the end that began.
    pub src_ip: IpAddr,
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_port: Option<u16>,
    /// Address of the other.
    pub dst_ip: IpAddr,
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_port: Option<u16>,
}

/// A connection in full.
#[derive(Debug, Serialize)]
pub struct Details {
    /// What the list shows.
    #[serde(flatten)]
    pub row: Row,
    /// TCP: what each end said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<View<Window>>,
    /// Number of the event that tells of its kill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub killed_by: Option<u64>,
    /// Numbers of the connections that it announced to a filter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<u64>,
}

/// What one end of a TCP connection said. Sequence numbers as they stand in segments.
#[derive(Clone, Debug, Serialize)]
pub struct Window {
    /// One past the highest sequence number that it sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<u32>,
    /// The highest number that it acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acked: Option<u32>,
    /// One past the highest sequence number that it will take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<u32>,
    /// The largest window that it announced, in bytes.
    pub largest: u32,
    /// By how many bits its windows are shifted.
    pub scale: u8,
    /// It closed its side.
    pub closed: bool,
    /// Nothing is held against it yet, or ever: it was taken over, or is asymmetric.
    pub unjudged: bool,
}

/// Who holds how many connections.
#[derive(Debug, Serialize)]
pub struct Holder {
    /// The source address.
    pub src_ip: IpAddr,
    /// Connections that it began.
    pub connections: u64,
}

impl Viewer {
    /// How a connection is shown in a list.
    pub fn row(&self, entry: &Entry, relations: &Relations) -> Row {
        let flow = &entry.flow;
        let [original, reply] = &flow.tallies;
        let idle = self.now.saturating_sub(flow.last_seen);
        let ends = |ends| Ends::of(ends, entry.has_ports());
        let is_echo = matches!(flow.ip_protocol, 1 | 58);
        let [source, _] = entry.endpoints();
        Row {
            flow_id: flow.id,
            transport: transport(flow.ip_protocol),
            protocol: named(&self.names.protocols, usize::from(flow.protocol)),
            state: flow.state().name(),
            ends: ends(entry.endpoints()),
            icmp_id: is_echo.then_some(source.port()),
            packets: View { original: original.packets, reply: reply.packets },
            bytes: View { original: original.bytes, reply: reply.bytes },
            age_s: self.now.saturating_sub(flow.created) / SECOND,
            idle_s: idle / SECOND,
            expires_in_s: allowed_silence(flow, &self.timeouts).saturating_sub(idle) / SECOND,
            rule: named(&self.names.rules, flow.rule as usize),
            interface: self.names.interface(flow.interface),
            adopted: flow.flags & Flow::ADOPTED != 0,
            translated: relations.aliases.get(&flow.id).map(|alias| ends(*alias)),
            parent: relations.parents.get(&flow.id).copied(),
        }
    }

    /// A connection in full.
    pub fn details(&self, entry: &Entry, relations: &Relations, children: Vec<u64>) -> Details {
        let flow = &entry.flow;
        let is_tcp = flow.ip_protocol == firewall_common::wire::ip_protocol::TCP;
        let [original, reply] = &flow.halves;
        Details {
            row: self.row(entry, relations),
            windows: is_tcp
                .then(|| View { original: Window::of(original), reply: Window::of(reply) }),
            killed_by: (flow.killed_by() != 0).then_some(flow.killed_by()),
            children,
        }
    }
}

/// How long the flow may be silent, nanoseconds.
fn allowed_silence(flow: &Flow, timeouts: &Timeouts) -> u64 {
    let whole = timeouts.of(flow.state(), flow.ip_protocol);
    let unacknowledged = timeouts.get(Timeout::Unacknowledged);
    let then = flow.last_seen.saturating_add(unacknowledged).saturating_add(1);
    if flow.expired(then, timeouts) { whole.min(unacknowledged) } else { whole }
}

impl Ends {
    fn of([source, destination]: [SocketAddr; 2], has_ports: bool) -> Self {
        Self {
            src_ip: source.ip(),
            src_port: has_ports.then_some(source.port()),
            dst_ip: destination.ip(),
            dst_port: has_ports.then_some(destination.port()),
        }
    }

    /// Both as text: `10.1.0.2:40000`, `[fd00::1]:554`, without a port where there is none.
    pub fn texts(&self) -> [String; 2] {
        [(self.src_ip, self.src_port), (self.dst_ip, self.dst_port)].map(|(address, port)| {
            match port {
                Some(port) => SocketAddr::new(address, port).to_string(),
                None => address.to_string(),
            }
        })
    }
}

impl Window {
    fn of(half: &Half) -> Self {
        let known = |flag, number| (half.flags & flag != 0).then_some(number);
        Self {
            end: known(Half::SPOKE, half.end),
            acked: known(Half::ACKED, half.acked),
            edge: known(Half::ACKED, half.edge),
            largest: half.window(),
            scale: half.shift(),
            closed: half.flags & Half::FIN != 0,
            unjudged: half.flags & (Half::LEARNING | Half::UNJUDGED) != 0,
        }
    }

    fn text(&self) -> String {
        let number = |number: Option<u32>| number.map_or("?".to_owned(), |n| n.to_string());
        let mut text = format!(
            "end {}, acked {}, edge {}, largest window {} (scale {})",
            number(self.end),
            number(self.acked),
            number(self.edge),
            self.largest,
            self.scale
        );
        for (said, what) in [(self.closed, ", closed"), (self.unjudged, ", not judged")] {
            if said {
                text += what;
            }
        }
        text
    }
}

impl Row {
    /// The head of the table for people.
    pub fn heading() -> String {
        line([
            "ID",
            "TRANSPORT",
            "STATE",
            "SOURCE",
            "DESTINATION",
            "PACKETS",
            "BYTES",
            "AGE",
            "IDLE",
            "EXPIRES",
            "PARENT",
            "PROTOCOL",
            "RULE",
        ])
    }

    /// A line of the table for people.
    pub fn line(&self) -> String {
        let [source, destination] = self.ends.texts();
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        line([
            &self.flow_id.to_string(),
            &self.transport,
            self.state,
            &source,
            &destination,
            &(self.packets.original + self.packets.reply).to_string(),
            &(self.bytes.original + self.bytes.reply).to_string(),
            &duration(self.age_s),
            &duration(self.idle_s),
            &duration(self.expires_in_s),
            &or_none(&self.parent.map(|parent| parent.to_string())),
            &or_none(&self.protocol),
            &or_none(&self.rule),
        ])
    }
}

impl Details {
    /// The connection for people.
    pub fn text(&self) -> String {
        let Self { row, windows, killed_by, children } = self;
        let [source, destination] = row.ends.texts();
        let mut lines = vec![
            ("flow", row.flow_id.to_string()),
            ("ends", format!("{} {source} -> {destination}", row.transport)),
            ("state", row.state.to_owned()),
        ];
        let mut add = |name, text: Option<String>| lines.extend(text.map(|text| (name, text)));
        add("translated", row.translated.map(|ends| ends.texts().join(" -> ")));
        add("identifier", row.icmp_id.map(|id| id.to_string()));
        add("protocol", row.protocol.clone());
        add("rule", Some(row.rule.clone().unwrap_or_else(|| "the default".to_owned())));
        add("interface", row.interface.clone());
        add("adopted", row.adopted.then(|| "its beginning was not seen".to_owned()));
        let both = |what: &View<u64>| format!("{} original, {} reply", what.original, what.reply);
        add("packets", Some(both(&row.packets)));
        add("bytes", Some(both(&row.bytes)));
        add("age", Some(duration(row.age_s)));
        add("idle", Some(duration(row.idle_s)));
        add("expires", Some(format!("in {}", duration(row.expires_in_s))));
        add("announced", row.parent.map(|parent| format!("by flow {parent}")));
        let numbers: Vec<_> = children.iter().map(ToString::to_string).collect();
        add("announces", (!numbers.is_empty()).then(|| format!("flows {}", numbers.join(", "))));
        add("killed by", killed_by.map(|event| format!("event {event}")));
        add("original", windows.as_ref().map(|windows| windows.original.text()));
        add("reply", windows.as_ref().map(|windows| windows.reply.text()));
        lines.iter().map(|(name, text)| format!("{name:<11} {text}\n")).collect()
    }
}

fn line(cells: [&str; 13]) -> String {
    let [
        id,
        transport,
        state,
        source,
        destination,
        packets,
        bytes,
        age,
        idle,
        expires,
        parent,
        protocol,
        rule,
    ] = cells;
    let line = format!(
        "{id:<12} {transport:<9} {state:<11} {source:<26} {destination:<26} {packets:>9} {bytes:>12} \
         {age:>7} {idle:>7} {expires:>7}  {parent:<10} {protocol:<10} {rule}"
    );
    line.trim_end().to_owned() + "\n"
}

/// Seconds in the unit that leaves no more than four digits or so: `59s`, `12m`, `47h`, `9d`.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::Key;
    use firewall_common::{
        flow::{KeyV6, State},
        wire::ip_protocol,
    };

    fn entry() -> Entry {
        let address = |last: u8| {
            let mut bytes = [0; 16];
            (bytes[0], bytes[1], bytes[15]) = (0xfd, 0, last);
            bytemuck::cast(bytes)
        };
        let key = KeyV6 {
            addresses: [address(1), address(2)],
            ports: [554, 40_000],
            protocol: ip_protocol::TCP.into(),
        };
        let mut flow = Flow {
            id: 1025,
            state: State::Established as u8,
            ip_protocol: ip_protocol::TCP,
            originator_is_second: 1,
            protocol: 1,
            rule: 1,
            interface: 7,
            created: 10 * SECOND,
            last_seen: 40 * SECOND,
            flags: Flow::TRANSLATED,
            ..Flow::default()
        };
        flow.halves[0] = Half {
            end: 5,
            acked: 9,
            edge: 100,
            flags: Half::SPOKE | Half::ACKED,
            ..Half::default()
        };
        flow.halves[1] = Half {
            end: 9,
            acked: 5,
            edge: 200,
            flags: Half::SPOKE | Half::ACKED,
            ..Half::default()
        };
        Entry { key: Key::V6(key), flow }
    }

    fn viewer() -> Viewer {
        let names = Names {
            protocols: vec!["rtsp".into()],
            rules: vec!["cameras".into()],
            interfaces: vec![(7, "lan0".into())],
            ..Names::default()
        };
        Viewer { names, timeouts: Timeouts::default(), now: 60 * SECOND }
    }

    #[test]
    fn a_connection_reads_as_it_began() {
        let alias = ["[fd00::9]:1".parse().unwrap(), "[fd00::1]:554".parse().unwrap()];
        let relations = Relations { aliases: [(1025, alias)].into(), parents: [(1025, 7)].into() };
        let details = viewer().details(&entry(), &relations, vec![2049, 3073]);
        let json = serde_json::to_value(&details).unwrap();
        assert_eq!(json["src_ip"], "fd00::2");
        assert_eq!((&json["src_port"], &json["dst_port"]), (&40_000.into(), &554.into()));
        assert_eq!((&json["age_s"], &json["idle_s"]), (&50.into(), &20.into()));
        assert_eq!(json["expires_in_s"], 5 * 86_400 - 20);
        assert_eq!((&json["rule"], &json["interface"]), (&"cameras".into(), &"lan0".into()));
        assert_eq!(json["translated"]["src_ip"], "fd00::9");
        assert_eq!(json["windows"]["reply"]["acked"], 5);
        assert_eq!(json["parent"], 7);
        assert_eq!(json["children"], serde_json::json!([2049, 3073]));
        assert!(details.text().contains("flows 2049, 3073"), "{}", details.text());
        assert!(json.get("killed_by").is_none() && json.get("icmp_id").is_none());
        assert!(details.text().contains("[fd00::2]:40000 -> [fd00::1]:554"), "{}", details.text());
        assert!(details.row.line().starts_with("1025 "), "{}", details.row.line());
    }

    #[test]
    fn what_waits_for_an_acknowledgment_goes_sooner() {
        let mut entry = entry();
        entry.flow.halves[0].end = 6;
        let row = viewer().row(&entry, &Relations::default());
        assert_eq!(row.expires_in_s, 300 - 20);
        entry.flow.state = State::FinWait as u8;
        assert_eq!(viewer().row(&entry, &Relations::default()).expires_in_s, 120 - 20);
    }

    #[test]
    fn durations_are_short() {
        let texts = [0, 119, 120, 7_199, 7_200, 172_800].map(duration);
        assert_eq!(texts, ["0s", "119s", "2m", "119m", "2h", "2d"]);
    }
}
