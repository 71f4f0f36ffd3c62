//! One picture and no screen: for scripts, and for where there is no terminal.

use std::{collections::BTreeMap, sync::Arc, thread};

use anyhow::{Context as _, Result};
use ratatui::{Terminal, backend::TestBackend};
use serde::Serialize;

use super::{
    Wanted,
    data::{Data, Heard, LOG_MAX, Passing},
    filter_line,
    look::{Figures, Look, Walked, Walker},
    model::Model,
    screen::{self, Theme},
};
use crate::{
    event::Event,
    instance::Instance,
    subscribe::{Events, Request},
};

/// What `fwx top` shows, but for the log.
#[derive(Debug, Serialize)]
pub struct Snapshot {
    /// Counters and bindings.
    #[serde(flatten)]
    figures: Figures,
    /// What passed between the two looks.
    traffic: Traffic,
    /// Packets dropped in a second between the two looks, by reason.
    drops_per_s: BTreeMap<&'static str, u64>,
    /// Tables and flows, the first of them.
    #[serde(flatten)]
    walked: Walked,
}

/// What passed, for each hook.
#[derive(Debug, Serialize)]
struct Traffic {
    /// Coming in.
    ingress: Passing,
    /// Going out.
    egress: Passing,
}

/// Looks twice, so that there are rates.
///
/// # Errors
///
/// The instance is not up.
pub fn look_twice(instance: &Instance, wanted: &Wanted) -> Result<[Look; 4]> {
    let mut walker = Walker::new(instance);
    let mut look = || -> Result<[Look; 2]> {
        let figures = Figures::read(instance)?;
        let walked = walker.walk(wanted.order)?;
        Ok([Look::Figures(Ok(figures)), Look::Walked(Ok(walked))])
    };
    let [figures, walked] = look()?;
    thread::sleep(wanted.period);
    let [later, walked_again] = look()?;
    Ok([figures, walked, later, walked_again])
}

/// What looks tell, for programs.
///
/// # Errors
///
/// There was no look that found something.
pub fn snapshot(looks: [Look; 4]) -> Result<Snapshot> {
    let mut data = Data::default();
    looks.into_iter().for_each(|look| data.take_look(look));
    let figures = data.figures.and_then(Arc::into_inner).context("nothing was read")?;
    let [ingress, egress] = data.traffic.context("nothing was read")?;
    Ok(Snapshot {
        figures,
        traffic: Traffic { ingress, egress },
        drops_per_s: data.drops.rows().into_iter().map(|row| (row.reason, row.per_s)).collect(),
        walked: data.walked.and_then(Arc::into_inner).context("nothing was read")?,
    })
}

/// What the controller remembers, for the log. That there is none is shown.
pub async fn remembered(instance: &Instance, wanted: &Wanted) -> Result<Vec<Heard>> {
    let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
    let criteria = filter_line::parse(&wanted.line, now)?;
    let request = Request { last: Some(LOG_MAX), criteria, ..Request::default() };
    match ask(instance, &request).await {
        Ok(events) => Ok(vec![Heard::Taken, Heard::Events(events)]),
        Err(error) => Ok(vec![Heard::Ended(format!("{error:#}"))]),
    }
}

async fn ask(instance: &Instance, request: &Request) -> Result<Vec<Event>> {
    let mut events = Events::ask(instance, request).await?;
    let mut told = Vec::new();
    while let Some(event) = events.next().await? {
        told.push(event);
    }
    Ok(told)
}

/// The screen as lines of text, `width` columns and `height` rows.
pub fn picture(
    looks: [Look; 4],
    heard: Vec<Heard>,
    wanted: &Wanted,
    [width, height]: [u16; 2],
) -> Result<String> {
    let mut model = Model::new(wanted.order, wanted.line.clone());
    looks.into_iter().for_each(|look| model.take_look(look));
    heard.into_iter().for_each(|heard| model.take_heard(heard));
    lines(&model, Theme::of_environment(), [width, height])
}

/// What would stand on the screen.
pub(super) fn lines(model: &Model, theme: Theme, [width, height]: [u16; 2]) -> Result<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height))?;
    terminal.draw(|frame| screen::draw(frame, model, theme))?;
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for row in buffer.area.rows() {
        let cells = row.columns().map(|cell| buffer[(cell.x, cell.y)].symbol());
        text += cells.collect::<String>().trim_end();
        text.push('\n');
    }
    Ok(text)
}
