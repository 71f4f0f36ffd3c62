//! The pane of flows.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{
    super::{
        look::RatedFlow,
        model::{Model, Pane},
    },
    instead,
    table::{self, Column, Line},
    text::{self, grouped, short},
    theme::Theme,
};
use crate::{conn::duration, events::printable};

const COLUMNS: [Column; 10] = [
    Column::left("SOURCE", 21, 0),
    Column::left("DESTINATION", 21, 0),
    Column::left("PROTOCOL", 10, 0),
    Column::left("STATE", 11, 0),
    Column::right("BIT/S", 5, 0),
    Column::right("PKT/S", 5, 0),
    Column::right("BYTES", 5, 4),
    Column::right("AGE", 4, 3),
    Column::left("RULE", 8, 1),
    Column::left("FILTER", 12, 2),
];
/// From so many rows on the last one tells of the chosen flow.
const HEIGHT_WITH_DETAILS: u16 = 5;

pub(super) fn about(model: &Model) -> String {
    let Some(walked) = &model.shown().walked else { return String::new() };
    let mut text = format!(
        "{} of {} by {}",
        grouped(walked.flows.len() as u64),
        grouped(walked.flows_met),
        model.order.name()
    );
    if walked.flows_without_rate > 0 {
        text += &format!(", {} without a rate yet", grouped(walked.flows_without_rate));
    }
    let tenths = walked.took.as_millis() / 100;
    if tenths > 2 {
        text += &format!(", walk {}.{} s", tenths / 10, tenths % 10);
    }
    text
}

pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &Model, focused: bool, theme: Theme) {
    let flows = model.flows();
    let chosen = model.chosen(Pane::Flows);
    let Some(of_chosen) = chosen.and_then(|chosen| flows.get(chosen)) else {
        let data = model.shown();
        let why = match (&data.walk_problem, &data.walked) {
            (Some(problem), _) => &*printable(problem),
            (None, Some(_)) => "no flows",
            (None, None) => "reading the flow tables",
        };
        instead(buffer, area, why, theme);
        return;
    };
    let detailed = focused && area.height >= HEIGHT_WITH_DETAILS;
    let rows = Rect { height: area.height - u16::from(detailed), ..area };
    let lines: Vec<_> = flows.iter().map(|flow| line(flow, theme)).collect();
    table::draw(buffer, rows, &COLUMNS, &lines, chosen, focused, theme);
    if detailed && let Some(row) = area.rows().next_back() {
        text::put(buffer, row, &details(of_chosen), false, theme.faint(), theme);
    }
}

fn line(flow: &RatedFlow, theme: Theme) -> Line {
    let row = &flow.row;
    let [source, destination] = row.ends.texts();
    let bytes = row.bytes.original.saturating_add(row.bytes.reply);
    let cells = vec![
        source,
        destination,
        protocol(flow),
        row.state.to_owned(),
        short(flow.rate.bits_per_s),
        short(flow.rate.packets_per_s),
        short(bytes),
        duration(row.age_s),
        printable(row.rule.as_deref().unwrap_or("-")).into_owned(),
        filter(flow).unwrap_or_else(|| "-".to_owned()),
    ];
    let style = match row.state {
        "KILLED" => theme.alert(),
        _ if flow.rate.packets_per_s == 0 => theme.faint(),
        _ => Style::new(),
    };
    Line { cells, style }
}

/// `tcp/rtsp`, or the transport alone where the policy has no name for it.
fn protocol(flow: &RatedFlow) -> String {
    match &flow.row.protocol {
        Some(protocol) => format!("{}/{}", flow.row.transport, printable(protocol)),
        None => flow.row.transport.clone(),
    }
}

fn filter(flow: &RatedFlow) -> Option<String> {
    Some(format!("{} {}", flow.filter.as_ref()?, flow.mode.as_deref().unwrap_or("")))
}

/// What there is no room for in a row.
fn details(flow: &RatedFlow) -> String {
    let row = &flow.row;
    let packets = row.packets.original.saturating_add(row.packets.reply);
    let bytes = row.bytes.original.saturating_add(row.bytes.reply);
    let mut text = format!(
        "flow {}: rule {}, filter {}, {} packets, {} bytes, age {}, idle {}",
        row.flow_id,
        printable(row.rule.as_deref().unwrap_or("-")),
        filter(flow).unwrap_or_else(|| "-".to_owned()),
        short(packets),
        short(bytes),
        duration(row.age_s),
        duration(row.idle_s),
    );
    if let Some(interface) = &row.interface {
        text += &format!(", {}", printable(interface));
    }
    if row.adopted {
        text += ", adopted";
    }
    text
}
