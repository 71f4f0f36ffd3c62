//! An event as one line for people: what came of it first, then what says why, then the rest.

use anstyle::{AnsiColor, Style};
use firewall_common::event::EventKind;

use super::{
    columns::{Cell, Columns},
    words::{endpoint, finding, rule, segment, short_kind, short_reason},
};
use crate::event::Event;

/// Lines of one output. They carry colours, which whoever prints them takes out where there are none.
#[derive(Clone, Debug)]
pub struct Compact {
    columns: Columns<6>,
    /// Of what is about no packet and no flow.
    remarks: Columns<3>,
}

/// `2026-01-02 03:04:05.678`.
const TIME_WIDTH: usize = 23;
/// `finding`.
const KIND_WIDTH: usize = 7;
/// `POLICY_RULES_DENIED`; few are longer.
const REASON_WIDTH: usize = 19;
/// `tcp/rtsp`.
const PROTOCOL_WIDTH: usize = 8;
/// An IPv4 address of full length and a port.
const END_WIDTH: usize = 21;

impl Default for Compact {
    fn default() -> Self {
        Self {
            columns: Columns::new([
                TIME_WIDTH,
                KIND_WIDTH,
                REASON_WIDTH,
                PROTOCOL_WIDTH,
                END_WIDTH,
                "-> ".len() + END_WIDTH,
            ]),
            remarks: Columns::new([TIME_WIDTH, KIND_WIDTH, REASON_WIDTH]),
        }
    }
}

impl Compact {
    /// `event` as a line, without the newline.
    pub fn line(&mut self, event: &Event) -> String {
        let style = style(event);
        let time = Cell::new(time(&event.timestamp), Style::new().dimmed());
        let kind = Cell::new(short_kind(&event.event), style);
        let reason = event.reason.as_deref().map_or("", short_reason);
        let reason = Cell::new(reason, style);
        let rest = rest(event);
        if event.src_ip.is_none() && event.transport.is_none() {
            return self.remarks.line([time, kind, reason], &rest);
        }
        let source = endpoint(event.src_ip, event.src_port);
        let destination = format!("-> {}", endpoint(event.dst_ip, event.dst_port));
        let [protocol, source, destination] =
            [protocol(event), source, destination].map(Cell::plain);
        self.columns.line([time, kind, reason, protocol, source, destination], &rest)
    }
}

fn style(event: &Event) -> Style {
    let colour = |colour: AnsiColor| colour.on_default();
    match event.kind() {
        Some(EventKind::ConnectionOpened) => colour(AnsiColor::Green),
        Some(EventKind::ConnectionClosed) => Style::new().dimmed(),
        Some(EventKind::ConnectionKilled) => KILL,
        Some(EventKind::PacketDropped) => colour(AnsiColor::Yellow),
        Some(EventKind::FilterFinding) => colour(AnsiColor::Magenta),
        None => colour(AnsiColor::Cyan),
    }
}

/// How a kill looks, and whatever speaks of it.
const KILL: Style = AnsiColor::Red.on_default().bold();

/// To the millisecond. What is no time stays what it is.
fn time(timestamp: &str) -> String {
    match timestamp.split_once('T') {
        Some((date, clock)) if timestamp.is_ascii() && clock.len() > 12 => {
            format!("{date} {}", &clock[..12])
        }
        _ => timestamp.to_owned(),
    }
}

fn protocol(event: &Event) -> String {
    let transport = event.transport.as_deref().unwrap_or("?");
    match &event.protocol {
        Some(protocol) => format!("{transport}/{protocol}"),
        None => transport.to_owned(),
    }
}

fn rest(event: &Event) -> Vec<Cell> {
    let is_kill = event.kind() == Some(EventKind::ConnectionKilled);
    let kill = is_kill.then(|| format!("  kill {}", event.event_id));
    let cause = event.caused_by.map(|cause| format!("← kill {cause}"));
    let said = [
        event.message.clone(),
        finding(event),
        rule(event),
        event.interface.clone(),
        event.tcp.as_ref().map(segment),
        event.totals.as_ref().map(|totals| {
            let ([sent, answered], [sent_bytes, answered_bytes]) = (totals.packets, totals.bytes);
            format!("{sent}+{answered} packets, {sent_bytes}+{answered_bytes} bytes")
        }),
        event.flow_id.map(|flow| format!("flow {flow}")),
        event.parent.map(|parent| format!("announced by flow {parent}")),
        event.adopted.then(|| "adopted".to_owned()),
        event
            .suppressed
            .filter(|count| *count > 0)
            .map(|count| format!("({count} more before it)")),
    ];
    let kills = kill.into_iter().chain(cause).map(|text| Cell::new(text, KILL));
    kills.chain(said.into_iter().flatten().map(Cell::plain)).collect()
}
