//! Which exports run: those of the policy in force, each in a task of its own.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Result, bail};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::{
    Export, Health, Target,
    board::{Board, Entry},
    ipfix, json, otlp, prometheus, syslog,
    waiting::Waiting,
};
use crate::{hub::Hub, metrics::Source};

/// How long exports may take to send what waits when the controller ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// The exports that run.
#[derive(Debug)]
pub struct Exports {
    /// Name of the instance.
    instance: String,
    hub: Arc<Mutex<Hub>>,
    source: Source,
    board: Arc<Board>,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    entry: Entry,
    task: JoinHandle<()>,
}

impl Exports {
    /// None yet. They read events from `hub` and metrics from `source`; `board` is told how they are doing.
    pub fn new(instance: String, hub: Arc<Mutex<Hub>>, source: Source, board: Arc<Board>) -> Self {
        Self { instance, hub, source, board, running: Vec::new() }
    }

    /// Has those run that are `wanted` and no others. One that is as it was goes on with what waits in it.
    ///
    /// # Errors
    ///
    /// None can run any more, because a task failed while it held the events.
    pub fn set(&mut self, wanted: &[Export]) -> Result<()> {
        let mut before = std::mem::take(&mut self.running);
        for export in wanted {
            let known = before.iter().position(|it| it.entry.export == *export);
            let running = match known {
                Some(index) => before.swap_remove(index),
                None => self.start(export)?,
            };
            self.running.push(running);
        }
        // A place that one of them had may be another's now.
        before.iter().for_each(|gone| gone.task.abort());
        self.board.set(self.running.iter().map(|running| running.entry.clone()).collect());
        Ok(())
    }

    /// Lets them send what waits, once the hub has no more for them, and ends them.
    pub async fn end(&mut self) {
        let end = Instant::now() + FAREWELL;
        for mut running in self.running.drain(..) {
            // Whatever it waits for, the controller ends. Prometheus is told nothing that could be waited for.
            let has_events = !matches!(running.entry.export.target, Target::Prometheus { .. });
            if !has_events || timeout_at(end, &mut running.task).await.is_err() {
                running.task.abort();
                // It is over when it has said what it leaves.
                let _ = running.task.await;
            }
        }
    }

    fn start(&self, export: &Export) -> Result<Running> {
        let Ok(hub) = self.hub.lock() else {
            bail!("a subscriber's task failed while it held the events");
        };
        let criteria = match export.target {
            Target::Ipfix { .. } => &ipfix::criteria(),
            _ => &export.criteria,
        };
        let selection = criteria.selection(0)?;
        let feed = hub.named_feed(&export.name, selection);
        let entry = Entry { export: export.clone(), health: Arc::default(), lost: feed.lost() };
        let waiting = Waiting::new(export.name.clone(), feed);
        let task = self.spawn(&export.target, waiting, Arc::clone(&entry.health));
        Ok(Running { entry, task })
    }

    fn spawn(&self, target: &Target, mut waiting: Waiting, health: Arc<Health>) -> JoinHandle<()> {
        let source = self.source.clone();
        match target.clone() {
            // It fetches, and is told no events.
            Target::Prometheus { listen } => tokio::spawn(prometheus::run(listen, source, health)),
            Target::Json { file } => {
                tokio::spawn(async move { json::run(file, waiting.feed(), health).await })
            }
            Target::Syslog { to, facility } => tokio::spawn(async move {
                syslog::run(to, facility, waiting.feed(), health).await;
            }),
            Target::Otlp { to, interval_s } => {
                let instance = self.instance.clone();
                let interval = Duration::from_secs(interval_s);
                let read = move || {
                    let source = source.clone();
                    async move { source.read().await }
                };
                let told = Arc::clone(&health);
                tokio::spawn(async move {
                    let feed = waiting.feed();
                    note(otlp::run(instance, to, interval, feed, read, health).await, &told);
                })
            }
            Target::Ipfix { to, domain } => {
                let told = Arc::clone(&health);
                tokio::spawn(async move {
                    note(ipfix::run(to, domain, waiting.feed(), health).await, &told);
                })
            }
        }
    }
}

/// Has `health` say why an export cannot run at all.
fn note(ended: Result<()>, health: &Health) {
    if let Err(error) = ended {
        health.failed(0, format!("{error:#}"));
    }
}
