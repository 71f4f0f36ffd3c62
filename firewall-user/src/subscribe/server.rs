//! The controller's end of the socket.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    net::{UnixStream, unix::OwnedReadHalf},
    time::{sleep, timeout},
};

use super::{
    Answer, Request, past,
    protocol::{LINE_MAX, REQUEST_TIMEOUT, VALUES_MAX},
    writer::Writer,
};
use crate::{
    event::Event,
    events::Selection,
    export::Board,
    hub::{Feed, Hub, SEATS, Seat},
    store::Kept,
};

/// How often it is looked whether a subscriber that says no more is still there.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// Gives a subscriber its place, at once, and serves it there until it or the controller has enough.
pub fn serve(
    stream: UnixStream,
    hub: Arc<Mutex<Hub>>,
    board: Arc<Board>,
) -> impl Future<Output = Result<()>> + Send {
    let admitted = admit(&stream, &hub);
    async move {
        let (is_root, seat) = admitted?;
        let (reader, writer) = stream.into_split();
        let mut subscriber =
            Subscriber { reader: BufReader::new(reader), writer: Writer::new(writer), is_root };
        let served = match seat {
            // Held until the subscriber has its answer.
            Some(_seat) => subscriber.serve(&hub, &board).await,
            None => Err(refusal(format!(
                "too many programs read events already ({SEATS}, some of them kept free for root): end one that is not needed"
            ))),
        };
        match served {
            Err(error) if error.is::<Refusal>() => {
                subscriber.writer.add_json(&Answer::Refused { error: error.to_string() })?;
                subscriber.writer.flush().await
            }
            other => other,
        }
    }
}

/// Whether root asks, and the place, if there is one.
fn admit(stream: &UnixStream, hub: &Mutex<Hub>) -> Result<(bool, Option<Seat>)> {
    let is_root = stream.peer_cred().context("a subscriber of no user")?.uid() == 0;
    Ok((is_root, locked(hub)?.seats().take(is_root)))
}

/// What is wrong with what a subscriber said, for itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

fn refusal(what: impl Into<String>) -> anyhow::Error {
    Refusal(what.into()).into()
}

fn locked(hub: &Mutex<Hub>) -> Result<MutexGuard<'_, Hub>> {
    hub.lock().map_err(|_| anyhow!("the controller is ending"))
}

struct Subscriber {
    reader: BufReader<OwnedReadHalf>,
    writer: Writer,
    is_root: bool,
}

impl Subscriber {
    async fn serve(&mut self, hub: &Mutex<Hub>, board: &Board) -> Result<()> {
        let request = self.request().await?;
        if request.exports {
            self.writer.add_json(&Answer::Exports { exports: board.read() })?;
            return self.writer.flush().await;
        }
        if request.publish {
            let published = self.take_events(hub).await?;
            self.writer.add_json(&Answer::Published { published })?;
            return self.writer.flush().await;
        }
        let values = request.criteria.values();
        if values > VALUES_MAX {
            return Err(refusal(format!(
                "`where` has {values} values, and {VALUES_MAX} are the most"
            )));
        }
        let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
        let selection =
            request.criteria.selection(now).map_err(|error| refusal(error.to_string()))?;
        self.tell(&request, selection, hub).await
    }

    async fn request(&mut self) -> Result<Request> {
        let line = timeout(REQUEST_TIMEOUT, self.line()).await.map_err(|_| {
            refusal(format!("no request came within {} s", REQUEST_TIMEOUT.as_secs()))
        })??;
        let Some(line) = line else { return Err(refusal("no request came")) };
        serde_json::from_slice(&line)
            .map_err(|error| refusal(format!("this is no request: {error}")))
    }

    /// The next line; `None`: there is none.
    async fn line(&mut self) -> Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        (&mut self.reader).take(LINE_MAX).read_until(b'\n', &mut line).await?;
        if line.len() as u64 == LINE_MAX && !line.ends_with(b"\n") {
            return Err(refusal(format!("a line has at most {LINE_MAX} bytes")));
        }
        Ok((!line.is_empty()).then_some(line))
    }

    /// Publishes the events that come, one a line. Returns how many.
    async fn take_events(&mut self, hub: &Mutex<Hub>) -> Result<u64> {
        if !self.is_root {
            return Err(refusal("only root may publish events"));
        }
        let mut published = 0;
        while let Some(line) = self.line().await? {
            let event: Event = serde_json::from_slice(&line)
                .map_err(|error| refusal(format!("event {} is none: {error}", published + 1)))?;
            locked(hub)?.publish(event)?;
            published += 1;
        }
        Ok(published)
    }

    /// Tells the past, and if it is asked for, what comes.
    async fn tell(
        &mut self,
        request: &Request,
        selection: Selection,
        hub: &Mutex<Hub>,
    ) -> Result<()> {
        let store = locked(hub)?.store().filter(|_| request.looks_back());
        // In this order: what is written in between is remembered.
        let kept = match store {
            Some(store) => Some(Kept::now(store).await),
            None => None,
        };
        let begun = locked(hub)?.subscribe(request.follow, selection.clone());
        // Without the lock: what reads the rings needs it for each event.
        let mut subscription = begun.select();
        match kept {
            Some(kept) => {
                past::tell(request, selection, kept, &mut subscription, &mut self.writer).await?
            }
            None => subscription.keep_last(request.last),
        }
        self.writer.flush().await?;
        self.pass_on(subscription.feed, request.packets).await
    }

    async fn pass_on(&mut self, mut feed: Feed, packets: bool) -> Result<()> {
        loop {
            let told = tokio::select! {
                biased;
                told = feed.next() => told,
                () = gone(&mut self.reader, &self.writer) => return Ok(()),
            };
            if let Some(missing) = feed.take_missing() {
                self.writer.add_control(format!("this subscriber was too slow: {missing}"))?;
            }
            let Some(told) = told else { return self.writer.flush().await };
            self.writer.add(&told.line_for(packets));
            while !self.writer.is_full()
                && let Some(told) = feed.next_there()
            {
                self.writer.add(&told.line_for(packets));
            }
            self.writer.flush().await?;
        }
    }
}

/// Returns when the subscriber is gone. What it says behind its request is of no interest.
async fn gone(reader: &mut BufReader<OwnedReadHalf>, writer: &Writer) {
    let mut scrap = [0; 1_024];
    while matches!(reader.read(&mut scrap).await, Ok(1..)) {}
    while !writer.is_gone() {
        sleep(LOOK_PERIOD).await;
    }
}
