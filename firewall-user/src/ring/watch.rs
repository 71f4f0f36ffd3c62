//! When there is something in the rings.

use std::{
    future::poll_fn,
    os::fd::{AsFd as _, OwnedFd},
    task::{Context, Poll},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    io::unix::AsyncFd,
    time::{Instant, sleep_until},
};

use super::{Buffer, Rings};

/// How long after a look the next one is, while there is something to come. It bounds how late an event is told, and how
/// often the controller wakes up in a flood.
const PERIOD: Duration = Duration::from_millis(5);

/// Wakes up when it is time for a look.
///
/// The kernel wakes whoever waits for a ring with every record that it puts there. For kills that is wanted. Of other
/// events only the first one wakes: from then on the rings are looked at every [`PERIOD`], and nobody waits for them until
/// a look finds them empty.
///
/// To begin to wait is not enough: that a record is there already, the kernel says to whoever asks first, once
/// (`perf_poll`). With epoll(7) that is the registration itself, and the wait that follows is told nothing. So what came
/// before it takes another look.
pub struct Watch {
    kills: Vec<AsyncFd<OwnedFd>>,
    /// `None`: they are looked at without being waited for.
    events: Option<Vec<AsyncFd<OwnedFd>>>,
    /// How many looks there had been when the waiting for events began or ended. Until the next one nobody may wait: what
    /// came before, the kernel will not say again.
    turned_at: u64,
    /// When the next look is, once that is known.
    next: Option<Instant>,
}

impl Watch {
    /// Watches `rings`. Needs a tokio runtime.
    pub fn new(rings: &Rings) -> Result<Self> {
        let (kills, events) = (wait_for(&rings.kills)?, Some(wait_for(&rings.events)?));
        Ok(Self { kills, events, turned_at: rings.looks(), next: None })
    }

    /// Returns when `rings` should be looked at. May be cancelled.
    pub async fn due(&mut self, rings: &Rings) -> Result<()> {
        if self.events.is_none() && rings.looks() > self.turned_at && rings.is_calm() {
            // Where too many files are open they are looked at without, and it is tried again.
            self.events = wait_for(&rings.events).ok();
            self.turned_at = rings.looks();
        }
        if self.events.is_some() && rings.looks() > self.turned_at && !rings.has_unsettled() {
            let is_kill = poll_fn(|context| self.poll(context)).await?;
            if is_kill {
                return Ok(());
            }
            self.events = None;
            self.turned_at = rings.looks();
        }
        // Who cancels this over and over does not put the look off.
        let next = *self.next.get_or_insert_with(|| Instant::now() + PERIOD);
        tokio::select! {
            killed = poll_fn(|context| poll_any(&self.kills, context)) => killed.context(FAILED)?,
            () = sleep_until(next) => {}
        }
        self.next = None;
        Ok(())
    }

    /// Whether it is a kill that there is.
    fn poll(&self, context: &mut Context<'_>) -> Poll<Result<bool>> {
        // All of them are asked, so that each wakes this task.
        let kills = poll_any(&self.kills, context);
        let events = poll_any(self.events.as_deref().unwrap_or_default(), context);
        match (kills, events) {
            (Poll::Ready(ready), _) => Poll::Ready(ready.map(|()| true).context(FAILED)),
            (_, Poll::Ready(ready)) => Poll::Ready(ready.map(|()| false).context(FAILED)),
            _ => Poll::Pending,
        }
    }
}

const FAILED: &str = "cannot wait for events";

fn wait_for(buffers: &[Buffer]) -> Result<Vec<AsyncFd<OwnedFd>>> {
    let wait = |buffer: &Buffer| {
        let fd = buffer.as_fd().try_clone_to_owned()?;
        // SAFETY: an OwnedFd is one descriptor for all of its life.
        unsafe { AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE) }
            .map_err(std::io::Error::from)
    };
    buffers.iter().map(wait).collect::<Result<_, _>>().context("cannot watch the event rings")
}

fn poll_any(rings: &[AsyncFd<OwnedFd>], context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
    let mut any = Poll::Pending;
    for ring in rings {
        if let Poll::Ready(ready) = ring.poll_read_ready(context) {
            ready?.clear_ready();
            any = Poll::Ready(Ok(()));
        }
    }
    any
}
