//! Events as the log viewer of ISA Server 2006 lists them, column for column and word for word, for those who know their
//! way around there.

use firewall_common::{event::EventKind, reason::Reason};

use super::{
    columns::{Cell, Columns},
    words::{NOTHING, endpoint},
};
use crate::event::{End, Event};

/// The log viewer's names of its columns.
const HEADER: [&str; 7] = [
    "Log Time",
    "Client IP and Port",
    "Destination IP",
    "Destination Port",
    "Protocol",
    "Action",
    "Rule",
];
const RESULT: &str = "Result Code";

/// Lines of one output.
#[derive(Clone, Debug)]
pub struct Isa {
    columns: Columns<7>,
}

impl Default for Isa {
    fn default() -> Self {
        Self { columns: Columns::new([23, 21, 15, 16, 8, 25, 12]) }
    }
}

impl Isa {
    /// The names of the columns.
    pub fn header(&mut self) -> String {
        self.columns.line(HEADER.map(Cell::plain), &[Cell::plain(RESULT)])
    }

    /// `event` as a line, without the newline. What is no packet and no connection has its message behind the columns.
    pub fn line(&mut self, event: &Event) -> String {
        let [client, server] = ends(event);
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| NOTHING.to_owned());
        let cells = [
            event.timestamp.replacen('T', " ", 1).chars().take(23).collect(),
            endpoint(client.0, client.1),
            endpoint(server.0, None),
            server.1.map_or_else(|| NOTHING.to_owned(), |port| port.to_string()),
            text(&event.protocol.clone().or_else(|| event.transport.clone())),
            action(event).to_owned(),
            rule(event),
        ];
        let result = match (&event.code, &event.reason) {
            (Some(code), Some(reason)) => format!("{code} {reason}"),
            _ if action(event) != NOTHING => "0x0 ERROR_SUCCESS".to_owned(),
            _ => NOTHING.to_owned(),
        };
        let rest = [Some(result), event.message.clone()];
        let rest: Vec<_> = rest.into_iter().flatten().map(Cell::plain).collect();
        self.columns.line(cells.map(Cell::plain), &rest)
    }
}

/// The client and the server of a connection, whichever of them sent the packet; of a packet that is refused, where it
/// comes from and where it goes.
fn ends(event: &Event) -> [End; 2] {
    match event.kind() {
        Some(EventKind::PacketDropped) => {
            [(event.src_ip, event.src_port), (event.dst_ip, event.dst_port)]
        }
        _ => event.client_and_server(),
    }
}

/// FpcAction, as the log viewer words it.
fn action(event: &Event) -> &'static str {
    match event.kind() {
        Some(EventKind::ConnectionOpened) => "Initiated Connection",
        Some(EventKind::ConnectionClosed) if event.reason() == Some(Reason::TcpNoServerReply) => {
            "Failed Connection Attempt"
        }
        Some(EventKind::ConnectionClosed | EventKind::ConnectionKilled) => "Closed Connection",
        Some(EventKind::PacketDropped) => "Denied Connection",
        Some(EventKind::FilterFinding) => "Connection Status",
        None => NOTHING,
    }
}

/// "Default rule" is the one behind all others; it decides about flows. A packet that is refused before has none.
fn rule(event: &Event) -> String {
    let decided = event.flow_id.is_some() || event.reason() == Some(Reason::PolicyRulesDenied);
    let default = if decided { "Default rule" } else { NOTHING };
    event.rule.clone().unwrap_or_else(|| default.to_owned())
}
