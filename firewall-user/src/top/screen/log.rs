//! The pane of the log: events as they come, the newest at the lower end.

use firewall_common::event::EventKind;
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
};

use super::{
    super::{
        data::Source,
        model::{Model, Pane},
    },
    instead,
    table::first_shown,
    text,
    theme::Theme,
};
use crate::{
    event::Event,
    events::{endpoint, printable, short_kind, short_reason},
};

pub(super) fn about(model: &Model) -> String {
    let back = match model.chosen(Pane::Log) {
        None | Some(0) => String::new(),
        Some(back) => format!(", {back} newer below"),
    };
    match (&model.shown().source, model.line.as_str()) {
        (Source::Absent(_), _) => "not told".to_owned(),
        (Source::Asked, _) => "asking the controller".to_owned(),
        (Source::Tells, "") => format!("all events{back}"),
        (Source::Tells, line) => format!("{}{back}", printable(line)),
    }
}

pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &Model, focused: bool, theme: Theme) {
    let data = model.shown();
    let absent = match &data.source {
        Source::Absent(why) => Some(printable(why)),
        _ => None,
    };
    // Why there are no more stands where the next one would.
    let area = match &absent {
        Some(why) if !data.log.is_empty() => {
            if let Some(row) = area.rows().next_back() {
                text::put(buffer, row, why, false, theme.alert(), theme);
            }
            Rect { height: area.height.saturating_sub(1), ..area }
        }
        _ => area,
    };
    let Some(back) = model.chosen(Pane::Log) else {
        instead(buffer, area, absent.as_deref().unwrap_or("no events"), theme);
        return;
    };
    let room = usize::from(area.height);
    let chosen = data.log.len() - 1 - back;
    // At its end the log follows; else the chosen one stands in the middle.
    let first = if back == 0 {
        data.log.len().saturating_sub(room)
    } else {
        first_shown(data.log.len(), room, Some(chosen))
    };
    for ((index, event), row) in data.log.iter().enumerate().skip(first).zip(area.rows()) {
        let marked = focused && index == chosen;
        draw_event(buffer, row, event, marked, theme);
    }
}

fn draw_event(buffer: &mut Buffer, row: Rect, event: &Event, marked: bool, theme: Theme) {
    let mark = if marked { Modifier::REVERSED } else { Modifier::empty() };
    buffer.set_style(row, Style::new().add_modifier(mark));
    let time = event.timestamp.get(11..19).unwrap_or("");
    let style = style(event, theme).add_modifier(mark);
    let (kind_at, text_at) = (9.min(row.width), 17.min(row.width));
    let cell = |from: u16, to: u16| Rect { x: row.x + from, width: to - from, ..row };
    text::put(buffer, cell(0, kind_at), time, false, theme.faint().add_modifier(mark), theme);
    text::put(
        buffer,
        cell(kind_at, text_at),
        &printable(short_kind(&event.event)),
        false,
        style,
        theme,
    );
    let told = told(event, theme);
    text::put(buffer, cell(text_at, row.width), &told, false, style, theme);
}

fn style(event: &Event, theme: Theme) -> Style {
    match event.kind() {
        Some(EventKind::PacketDropped) => theme.coloured(Color::Yellow),
        Some(EventKind::ConnectionKilled) => theme.alert(),
        Some(EventKind::FilterFinding) => theme.coloured(Color::Magenta),
        Some(EventKind::ConnectionOpened) => theme.coloured(Color::Green),
        Some(EventKind::ConnectionClosed) => theme.faint(),
        None if event.is_control() => theme.coloured(Color::Cyan),
        None => Style::new(),
    }
}

/// What there is to say in one line, what matters most first.
fn told(event: &Event, theme: Theme) -> String {
    let mut parts = Vec::new();
    // What a filter found says more than that it did.
    if let (Some(reason), None) = (&event.reason, &event.filter) {
        parts.push(short_reason(reason).to_owned());
    }
    if let Some(transport) = &event.transport {
        let source = endpoint(event.src_ip, event.src_port);
        let destination = endpoint(event.dst_ip, event.dst_port);
        parts.push(format!("{transport} {source} {} {destination}", theme.arrow()));
    }
    if let Some(filter) = &event.filter {
        // The excerpt is escaped already.
        parts.push(format!(
            "{} {} at byte {}: \"{}\"",
            filter.name, filter.finding, filter.offset, filter.excerpt
        ));
    }
    if let Some(tcp) = &event.tcp {
        parts.push(format!("[{}]", tcp.flags));
    }
    parts.extend(event.message.clone());
    parts.extend(event.caused_by.map(|cause| format!("because of event {cause}")));
    parts.extend(event.rule.as_ref().map(|rule| format!("rule {rule}")));
    if let Some(count @ 1..) = event.suppressed {
        parts.push(format!("({count} more before it)"));
    }
    printable(&parts.join(" ")).into_owned()
}
