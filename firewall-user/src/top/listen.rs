//! The controller's events for the log: asked for, and asked for again when the controller went away and came back.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    task::JoinHandle,
    time::sleep,
};

use super::data::{Heard, LOG_MAX};
use crate::{
    events::Criteria,
    instance::Instance,
    subscribe::{Events, Request},
};

/// How long after the controller was not there it is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// Events that are handed over at once, at most.
const AT_ONCE: usize = 256;
/// What may wait for the screen. A screen that is slower than that loses events at the controller, which says so.
const BACKLOG: usize = 8;

/// Events of which something holds, until this is dropped.
#[derive(Debug)]
pub struct Listening {
    receiver: Receiver<Heard>,
    task: JoinHandle<()>,
}

impl Listening {
    /// Begins to ask the controller of `instance`, whether there is one or not.
    pub fn begin(instance: &Instance, criteria: Criteria) -> Self {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let instance = instance.clone();
        let request = Request { follow: true, last: Some(LOG_MAX), criteria, ..Request::default() };
        let task = tokio::spawn(async move {
            loop {
                let why = match listen(&instance, &request, &sender).await {
                    // Nobody listens here.
                    Ok(None) => return,
                    Ok(Some(why)) => why,
                    Err(error) => format!("{error:#}"),
                };
                if sender.send(Heard::Ended(why)).await.is_err() {
                    return;
                }
                sleep(PAUSE).await;
            }
        });
        Self { receiver, task }
    }

    /// What is heard next. `None`: nothing any more.
    ///
    /// May be cancelled without losing anything.
    pub async fn next(&mut self) -> Option<Heard> {
        self.receiver.recv().await
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Hands events over. Returns why there are no more; `None`: nobody wants them.
async fn listen(
    instance: &Instance,
    request: &Request,
    to: &Sender<Heard>,
) -> anyhow::Result<Option<String>> {
    let mut events = Events::ask(instance, request).await?;
    if to.send(Heard::Taken).await.is_err() {
        return Ok(None);
    }
    loop {
        let mut batch = Vec::new();
        let mut next = Some(events.next().await?);
        while let Some(event) = next {
            let Some(event) = event else {
                let _ = to.send(Heard::Events(batch)).await;
                return Ok(Some("the controller ended; the log goes on when one runs".to_owned()));
            };
            batch.push(event);
            let more = if batch.len() < AT_ONCE { events.next().now_or_never() } else { None };
            next = more.transpose()?;
        }
        if to.send(Heard::Events(batch)).await.is_err() {
            return Ok(None);
        }
    }
}
